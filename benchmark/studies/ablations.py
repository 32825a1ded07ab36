"""What each method's own idea adds: variants that differ in it alone, compared replicate by replicate, as a page.

    python -m cat_bench.benchmark.studies.ablations --replicates 5

The same command again goes on where it stopped; when nothing is left to do it only writes the page.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cat_bench.benchmark.errors import CatBenchError
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning.events import CellEnded, Ended, Message, Planned, StageEnded
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.store.files import plain_errors, write_bytes
from cat_bench.benchmark.studies.answers import page
from cat_bench.benchmark.studies.pairs import PAIRS, TWINS, Asked, labels
from cat_bench.benchmark.text_to_image.models import TextToImage

INTERRUPTED = 130


@dataclass(frozen=True)
class Ablations:
    """What is asked on a backbone, and the two variants that must agree, by what runs call them."""

    asked: tuple[Asked, ...]
    twins: tuple[str, str]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Ablations:
        """Resolved against the presets of a run's backbone. Raises MethodError, SpecError or BackboneError."""
        domain = TextToImage()
        presets = domain.identity(domain.settled(resolve(given))).presets
        one, other = (variant.label(presets) for variant in TWINS)
        return cls(tuple(pair.on(presets) for pair in PAIRS), (one, other))


def carry_out(spec: RunSpec, runs: Path, name: str, crew: Crew) -> Path:
    """Run it, a line for each stage. Raises CatBenchError if a cell has no result."""
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


def main(
    replicates: Annotated[int, typer.Option(min=1, help="Cells of each variant: order r with seed r.")] = 5,
    sequence: Annotated[str, typer.Option(help="Name or TOML file of a sequence.")] = "faces5",
    stages: Annotated[
        str, typer.Option(help="Which stages are sampled: all, diagonal+last or last.")
    ] = "diagonal+last",
    backbone: Annotated[str, typer.Option(help="Name or diffusers folder.")] = "avatars64.v2",
    workers: Annotated[int, typer.Option(min=0, help="How many stages are made at once; 0: as many as pay.")] = 0,
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.")] = Path("runs"),
    name: Annotated[str, typer.Option(help="Name of the run.")] = "ablations",
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/ablations.md"),
) -> None:
    """Run the variants and write the page."""
    given: dict[str, Any] = {"sequence": sequence, "stages": stages, "backbone": backbone}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped either way, what is finished is kept
    try:
        found = Ablations.of(given)
        every = resolve(given, {"methods": labels(found.asked), "replicates": replicates})
        folder = carry_out(every, runs, name, Crew(workers or None))
        twin = carry_out(resolve(given, {"methods": found.twins, "replicates": 1}), runs, f"{name}-twins", Crew(1))
    except KeyboardInterrupt:
        say("interrupted: what is finished is kept; to go on, repeat the command")
        sys.exit(INTERRUPTED)
    with plain_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out, page(found.asked, folder, found.twins, twin).encode())
    typer.echo(f"written: {out}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CatBenchError, ValueError) as error:
        say(f"ablations: {error}")
        sys.exit(2)
