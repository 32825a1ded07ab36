"""The commands about runs that were made: report, show, clean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run.  [default: the latest]")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(report)
    app.command()(show)
    app.command()(clean)


def report(
    run: Run = None,
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: report/ in the run's folder]")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write tables, plots, image grids and one HTML file of a run."""
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.store.record import find_run

    folder = find_run(run, runs)
    from cat_bench.results.report.report import write_report

    with plain_errors(out or folder):
        paths = write_report(folder, out)
    typer.echo(f"report: {paths.html}")


def show(
    run: Run = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show a run's settings and the state of its cells."""
    from rich.console import Console

    from cat_bench.benchmark.cli.listing import show_run
    from cat_bench.benchmark.store.record import find_run

    folder = find_run(run, runs)
    console = Console()
    console.print(f"[bold]{folder}[/]", highlight=False)
    for table in show_run(folder):
        console.print(table, highlight=False)


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Delete the stages that other settings replaced. They are kept to be used again if those settings come back."""
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.store.library import empty_kept, kept

    stages, size = kept(runs)
    if not stages:
        typer.echo(f"{runs} keeps no replaced stages")
        return
    what = f"{stages} replaced stage{'' if stages == 1 else 's'} in {runs}, {size / 2**20:.1f} MiB"
    if not yes:
        typer.confirm(f"delete {what}?", abort=True)
    with plain_errors(runs):
        empty_kept(runs)
    typer.echo(f"deleted {what}")
