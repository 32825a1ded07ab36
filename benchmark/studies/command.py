"""What the studies that run methods have in common: a run with a line a stage, and how a command ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from cat_bench.benchmark.errors import CatBenchError
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning.events import CellEnded, Ended, Message, Planned, StageEnded
from cat_bench.benchmark.planning.spec import RunSpec


def start(command: Callable[..., None], name: str) -> None:
    """Run what the command line asks for.

    What is wrong is told in one line, with exit code 2. Stopped by Ctrl-C or SIGTERM, what is finished is kept.
    """

    @wraps(command)
    def told(**given: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            command(**given)
        except KeyboardInterrupt:
            say("interrupted: what is finished is kept; to go on, repeat the command")
            raise typer.Exit(130) from None
        except ValueError as error:
            say(f"{name}: {error}")
            raise typer.Exit(2) from None

    typer.run(told)


def carry_out(spec: RunSpec, runs: Path, name: str, crew: Crew) -> Path:
    """Run it, a line for each stage; the run's folder. Raises CatBenchError if a cell has no result."""
    done, count, ended = 0, 0, None
    with closing(run(spec, runs, name, crew=crew)) as events:
        for event in events:
            match event:
                case Planned(cells=cells, stages=count, ready=done):
                    say(f"{runs / name}: {cells} cells, {count} stages, {done} of them ready")
                case Message(text):
                    say(text)
                case StageEnded(cell=cell, origin=origin) if cell is not None and origin != "ready":
                    done += 1
                    say(f"{cell.path}/{event.number:02d}-{event.concept}: {event.seconds:.0f} s ({done} of {count})")
                case CellEnded(status=status) if status != "ok":
                    say(f"{event.cell.path}: {status}: {event.reason}")
                case Ended():
                    ended = event
    assert ended is not None
    if ended.troubled:
        raise CatBenchError(
            f"{ended.troubled} of {ended.ok + ended.troubled} cells have no result: repeat to try again"
        )
    return ended.folder


def say(text: str) -> None:
    """A line for whoever watches."""
    typer.echo(text, err=True)
