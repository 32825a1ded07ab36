"""The command line. Heavy imports are inside the commands, so that --help answers at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cat_bench.benchmark.cli import instrument, photos, run, runs

app = typer.Typer(
    name="cat-bench",
    help="A continual personalization benchmark for text-to-image diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    sequences = "sequences"
    backbones = "backbones"
    metrics = "metrics"


def list_(what: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List methods, sequences, backbones or metrics."""
    from rich.console import Console

    from cat_bench.benchmark.cli.listing import LISTS

    Console().print(LISTS[what.value](), highlight=False, markup=False)


def doctor(
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")] = Path("runs"),
) -> None:
    """Look whether everything is there that a run needs."""
    from cat_bench.benchmark.cli.doctor import examine

    troubles = 0
    for finding in examine(runs):
        troubles += finding.trouble is not None
        mend = f"  → {finding.trouble}" if finding.trouble else ""
        typer.echo(f"{'!!' if mend else 'ok'}  {finding.what}: {finding.found}{mend}")
    raise typer.Exit(1 if troubles else 0)


# In the order in which --help shows them.
app.command()(run.run)
app.command()(run.tune)
runs.register(app)
app.command("list")(list_)
app.command()(instrument.pretrain)
app.command()(instrument.validate)
app.command()(doctor)
photos.register(app)


def main() -> None:
    """The console script: user errors are one line on stderr and exit code 2; Ctrl-C is 130."""
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
    sys.exit(code or 0)


def _explain(error: Exception) -> int | None:
    """Say what the user can mend, in one line; None if the error is the program's own."""
    if type(error).__name__ == "Abort":
        return 130
    usage = getattr(error, "format_message", None)  # the command line's own errors: unknown options and the like
    if usage is not None:
        typer.echo(f"cat-bench: {' '.join(usage().split())} (cat-bench --help shows what there is)", err=True)
        return 2
    own = any(cls.__module__.startswith("cat_bench.") for cls in type(error).__mro__)
    if isinstance(error, ValueError) and own:
        typer.echo(f"cat-bench: {' '.join(str(error).split())}", err=True)
        return 2
    return None
