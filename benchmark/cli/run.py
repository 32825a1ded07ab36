"""What the long commands do around their work: show it, stop when told to, sum up at the end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console
from rich.table import Table

from cat_bench.benchmark.cli.progress import Display
from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.planning.events import Ended, Planned, StageEnded
from cat_bench.benchmark.planning.spec import RunSpec, suggestion
from cat_bench.benchmark.store.files import plain_errors

INTERRUPTED = 130


def run_to_the_end(spec: RunSpec, runs: Path, name: str | None) -> int:
    """Run, show, sum up. The exit code: 0, 1 if a cell has no result, 130 if interrupted."""
    stages = ready = 0
    ended: Ended | None = None
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with Display(Console(stderr=True)) as display, closing(run(spec, runs, name)) as events:
            for event in events:
                display.show(event)
                if isinstance(event, Planned):
                    stages, ready = event.stages, event.ready
                elif isinstance(event, StageEnded) and event.cell is not None and event.origin != "ready":
                    ready += 1
                elif isinstance(event, Ended):
                    ended = event
    except KeyboardInterrupt:
        kept = f"{ready} of {stages} stages are finished and kept; " if stages else ""
        typer.echo(f"interrupted: {kept}to go on, repeat: {_command()}", err=True)
        return INTERRUPTED
    assert ended is not None
    _summary(Console() if sys.stdout.isatty() else Console(width=140), ended.folder)
    if ended.troubled:
        typer.echo(
            f"{ended.troubled} of {ended.ok + ended.troubled} cells have no result; repeat to try them again",
            err=True,
        )
    return 1 if ended.troubled else 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _command() -> str:
    import shlex

    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


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
        table.add_row(*(f"[bold]{entry.text}[/]" if entry.mark else entry.text for entry in row[:shown]))
    console.print(table)
    if left := [" ".join(head) for head in words[shown:]]:
        console.print(f"No room here for {', '.join(left)}: see the report.", style="dim", highlight=False)
    console.print(found.note, style="dim", highlight=False)
    report = folder / "report" / "report.html"
    if report.is_file() and report.stat().st_mtime >= (folder / "run.json").stat().st_mtime:
        typer.echo(f"report: {report}")
    else:
        typer.echo(f"tables, plots and image grids: cat-bench report {folder} (writes {report})")


def pretrain_parts(out: Path, parts: Sequence[str] | None, minutes: str | None, resume: bool, device: str) -> int:
    """Make the parts in order, each going on where it stopped. The exit code: 0, or 130 if interrupted."""
    from cat_bench.benchmark.pretrain.make import PARTS, SHARDS, Update, Workshop, parse_minutes
    from cat_bench.benchmark.system.device import resolve_device

    for part in parts or ():
        if part not in PARTS:
            raise SpecError(f"--part {part!r}: there is no such part{suggestion(part, list(PARTS))}")
    workshop = Workshop(out / "work", str(resolve_device(device)), parse_minutes(minutes), SHARDS)
    console = Console(stderr=True)
    news = Update("", 0.0)
    try:
        with plain_errors(out):
            for part in [part for part in PARTS if part in (parts or PARTS)]:
                if not resume:
                    (workshop.folder / f"{part}.ckpt").unlink(missing_ok=True)
                shown = -1
                for news in workshop.make(part, out):
                    if (percent := int(news.share * 100)) > shown:
                        shown = percent
                        loss = f", step {news.step}, loss {news.loss:.4f}" if news.loss is not None else ""
                        console.print(f"{part}: {percent} %{loss}", highlight=False)
    except KeyboardInterrupt:
        typer.echo(f"interrupted in {news.part or 'the beginning'}; to go on, repeat: {_command()}", err=True)
        return INTERRUPTED
    if not parts or "save" in parts:
        typer.echo(f"written: {out / 'avatars64'} and {out / 'avatars64-clip'}; measure them with --evaluate")
    return 0


def evaluate_models(out: Path, device: str) -> int:
    """Measure the models in `out`, or the shipped ones if there are none. The exit code: 1 if a figure is missed."""
    from cat_bench.benchmark.backbones.folders import WEIGHTS
    from cat_bench.benchmark.pretrain.evaluate import evaluate
    from cat_bench.benchmark.pretrain.make import NAME

    folder = out if (out / NAME).is_dir() else WEIGHTS
    typer.echo(f"{folder / NAME}, judged by {NAME}-clip")
    missed = 0
    for figure in evaluate(folder / NAME, folder / f"{NAME}-clip", device):
        missed += not figure.reached
        verdict = "reached" if figure.reached else "MISSED"
        goal = f"at least {figure.at_least:g}{figure.unit}: {verdict}"
        typer.echo(f"{figure.title}: {figure.value:.3f}{figure.unit} (n = {figure.n}; {goal})")
    return 1 if missed else 0
