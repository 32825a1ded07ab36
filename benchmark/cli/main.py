"""The command line. Heavy imports are inside the commands, so that --help answers at once."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cat_bench.benchmark.cli import instrument, outside, run, runs

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


def compare(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    other: Annotated[str | None, typer.Argument(help="The run that it is compared with.")] = None,
    against: Annotated[
        str | None, typer.Option(help="'reference': the results that ship for its sequence.", metavar="reference")
    ] = None,
    figure: Annotated[
        list[str] | None, typer.Option(help="Only this figure; again or with commas for more.", metavar="FIGURE")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Only this method of the run.", metavar="METHOD")] = None,
    to: Annotated[
        str | None,
        typer.Option(help="With this method of the other.  [default: the same, else its first]", metavar="METHOD"),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")] = Path("runs"),
) -> None:
    """Compare methods of two runs: by replicate where they share noise, orders and seeds, else as two groups."""
    from rich.console import Console

    from cat_bench.benchmark.cli.flags import words
    from cat_bench.benchmark.cli.listing import show_between

    ours, theirs, names = _two_runs(run, other, against, runs)
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for part in show_between(ours, theirs, names, words(figure) or (), method, to):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


def _two_runs(run: str, other: str | None, against: str | None, runs: Path) -> tuple[Path, Path, tuple[str, str]]:
    """Both folders, and what they are called."""
    from cat_bench.benchmark.errors import SpecError
    from cat_bench.benchmark.store.record import find_run

    if (other is None) == (against is None) or against not in (None, "reference"):
        raise SpecError("compare: give two runs, or one and --against reference")
    ours = find_run(run, runs)
    if other is not None:
        theirs = find_run(other, runs)
        if ours.resolve() == theirs.resolve():
            raise SpecError(f"compare: {ours} is given twice; its methods among each other: cat-bench report")
        return ours, theirs, _apart(ours.resolve(), theirs.resolve())
    from cat_bench.results.records.packed import reference_folder
    from cat_bench.results.records.run_folder import Run

    theirs = reference_folder(Run.open(ours).sequence)
    return ours, theirs, (ours.resolve().name, "reference")


def _apart(one: Path, other: Path) -> tuple[str, str]:
    """The last parts of two paths, as few as tell them apart."""
    for size in range(1, max(len(one.parts), len(other.parts))):
        first, second = (Path(*path.parts[-size:]).as_posix() for path in (one, other))
        if first != second:
            return first, second
    return str(one), str(other)


# In the order in which --help shows them.
app.command()(run.run)
app.command()(run.tune)
runs.register(app)
app.command()(compare)
app.command("list")(list_)
app.command()(instrument.pretrain)
app.command()(instrument.validate)
app.command()(doctor)
outside.register(app)


def main() -> None:
    """The console script: user errors are one line on stderr and exit code 2; Ctrl-C is 130."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a sign shows another
    try:
        _check_text(sys.argv[1:])
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = _unheard() or _explain(error)
        if code is None:
            raise
    sys.exit(_unheard() or code or 0)


def _check_text(arguments: Sequence[str]) -> None:
    """Raises SpecError for one that is no text: it cannot be recorded, and libraries cannot open what it names."""
    from cat_bench.benchmark.errors import SpecError, not_text

    if shown := next(filter(None, map(not_text, arguments)), None):
        raise SpecError(f"{shown}: this is not UTF-8: rename what it names, or write it in UTF-8")


def _unheard() -> int | None:
    """The exit code if the output can go nowhere, which is said unless nobody reads on; None if all is written."""
    try:
        if sys.stdout is not None:  # it is None where the command was started without one
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"cat-bench: the output cannot be written ({error.strerror})", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if isinstance(error, BrokenPipeError) else 2
    return None


def _explain(error: Exception) -> int | None:
    """Say what the user can mend, in one line; None if the error is the program's own."""
    if type(error).__name__ == "Abort":
        return 130
    usage = getattr(error, "format_message", None)  # the command line's own errors: unknown options and the like
    if usage is not None:
        typer.echo(f"cat-bench: {' '.join(usage().split())} (cat-bench --help shows what there is)", err=True)
        return 2
    own = any(cls.__module__.startswith("cat_bench.") for cls in type(error).__mro__)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        typer.echo(f"cat-bench: no space left to write {error.filename or 'the output'}: free some", err=True)
        return 2
    if isinstance(error, ValueError) and own:
        typer.echo(f"cat-bench: {' '.join(str(error).split())}", err=True)
        return 2
    return None
