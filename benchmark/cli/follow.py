"""A run shown while it goes on, stopped when told to, summed up at the end."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cat_bench.benchmark.cli.flags import as_given
from cat_bench.benchmark.cli.progress import Display
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.execution.until_decided import run_until_decided
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning.events import Ended, Planned, StageEnded
from cat_bench.benchmark.planning.spec import RunSpec


class Stopped(KeyboardInterrupt):
    """A signal came; its number is the argument."""


def follow(spec: RunSpec, runs: Path, name: str | None, crew: Crew = Crew()) -> int:
    """Run, show, sum up. The exit code: 0, 1 if a cell has no result, 130 after Ctrl-C and 143 after SIGTERM."""
    code, folder = carry_out(spec, runs, name, crew)
    if folder is not None:
        _summary(Console() if sys.stdout.isatty() else Console(width=140), folder)
    return code


def carry_out(spec: RunSpec, runs: Path, name: str | None, crew: Crew = Crew()) -> tuple[int, Path | None]:
    """Run and show; the exit code as of `follow`, and the run's folder unless it was stopped."""
    stages = ready = 0
    ended: Ended | None = None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        going = run(spec, runs, name, crew=crew)
        if spec.until_decided is not None:
            going = run_until_decided(spec, runs, name, crew=crew)
        with Display(Console(stderr=True)) as display, closing(going) as events:
            for event in events:
                display.show(event)
                if isinstance(event, Planned):
                    stages, ready = event.stages, event.ready
                elif isinstance(event, StageEnded) and event.cell is not None and event.origin != "ready":
                    ready += 1
                elif isinstance(event, Ended):
                    ended = event
    except KeyboardInterrupt as stopped:
        kept = f"{ready} of {stages} stages are finished and kept; " if stages else ""
        typer.echo(f"interrupted: {kept}to go on, repeat: {as_given()}", err=True)
        return 128 + (stopped.args[0] if isinstance(stopped, Stopped) else signal.SIGINT), None
    assert ended is not None
    if ended.troubled:
        cells = f"{ended.troubled} of {ended.ok + ended.troubled} cells"
        typer.echo(f"{cells} have no result; repeat to try them again", err=True)
    return (1 if ended.troubled else 0), ended.folder


def leave(code: int) -> None:
    """End the process now: all is recorded, and libraries take a second or two to take themselves apart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop, so that what is finished is kept and the rest recorded; a second signal ends the process there and then."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, _end)
    raise Stopped(number)


def _end(number: int, frame: FrameType | None) -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # the live display had hidden the cursor
    os._exit(128 + number)


def _summary(console: Console, folder: Path) -> None:
    from cat_bench.results.errors import ResultError
    from cat_bench.results.tables.formats import summary_table

    try:
        found = summary_table(folder)
    except ResultError as error:
        typer.echo(str(error), err=True)
        return
    # A number that is broken in two is worse than one that is left out: as many columns as fit, values whole.
    values = [[row[number].text for row in found.rows] for number in range(len(found.columns))]
    words = [head.split() for head in found.columns]
    widths = [max(map(len, [*column, *head])) for column, head in zip(values, words, strict=True)]
    fitting = [n for n in range(1, len(widths) + 1) if sum(widths[:n]) + 2 * n - 2 <= console.width]
    shown = max(fitting, default=1)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, column in enumerate(found.columns[:shown]):
        table.add_column(column, justify="right" if number else "left", width=widths[number])
    for row in found.rows:
        table.add_row(*(Text(entry.text, "bold" if entry.mark else "") for entry in row[:shown]))
    console.print(table, markup=False)
    if left := [" ".join(head) for head in words[shown:]]:
        console.print(
            f"No room here for {', '.join(left)}: see the report.", style="dim", highlight=False, markup=False
        )
    for text in (found.note, *found.doubts):
        console.print(text, style="dim", highlight=False, markup=False)
    report = folder / "report" / "report.html"
    if report.is_file() and report.stat().st_mtime >= (folder / "run.json").stat().st_mtime:
        typer.echo(f"report: {report}")
    else:
        typer.echo(f"tables, plots and image grids: cat-bench report {folder} (writes {report})")
