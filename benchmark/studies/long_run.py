"""A run of many concepts, two training steps each: is its memory flat, and does its time grow only where it must?

    python -m cat_bench.benchmark.studies.long_run --concepts 50 --method lora,merge,ortho

What a stage learns is the same work however many came before; what it draws grows with them, so seconds an image
should stay as they are. Memory is what the process holds when a stage has ended, not its peak.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated

import typer

from cat_bench.benchmark.errors import CatBenchError
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.planning.events import Ended, StageEnded
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.store.files import read_json
from cat_bench.tasks.avatars.drawing import draw_look
from cat_bench.tasks.avatars.inhabitants import draw_name
from cat_bench.tasks.avatars.vocabulary import vocabulary

SETTLED = 10  # stages after which nothing may grow any more
_HEAD = """id = "{name}"
version = "1"
title = "People drawn at random"
license = "CC0 1.0 (arrangement); artwork: Avataaars by Pablo Stanley, free for personal and commercial use"
citation = "cat-bench"
prompts = {{ person = ["a {{}}", "a {{}} on a navy background"] }}
preservation = {{ class = ["a person"], other = ["a robot", "a planet"] }}
"""


@dataclass(frozen=True)
class Stage:
    """What a stage took. memory: bytes that the process held at its end."""

    method: str
    number: int
    train: float  # seconds
    sample: float
    images: int
    memory: int


def sequence(concepts: int) -> str:
    """A sequence of so many people, in TOML; the same ones each time."""
    rng, names, person = Random("long"), dict[str, str](), vocabulary().kind("person")
    while len(names) < concepts:
        look = draw_look(person, rng, held_out=True)
        parts = ", ".join(f'{part} = "{variant}"' for part, variant in look.parts.items() if variant)
        colors = ", ".join(f'{slot} = "{color}"' for slot, color in look.colors.items())
        names[draw_name(rng)] = f"parts = {{ {parts} }}\ncolors = {{ {colors} }}\n"
    entries = (f'\n[[concept]]\nid = "{name}"\nkind = "person"\n{look}' for name, look in names.items())
    return _HEAD.format(name=f"long{concepts}") + "".join(entries)


def stages(methods: tuple[str, ...], concepts: int, steps: int, backbone: str | None, folder: Path) -> Iterator[Stage]:
    """Run it in `folder`, in this process; each stage as it ends."""
    path = folder / f"long{concepts}.toml"
    path.write_text(sequence(concepts), encoding="utf-8")
    given = {"sequence": str(path), "methods": methods, "images_per_prompt": 1, "preservation_images": 1}
    overrides = {method: {"steps": steps} for method in methods}
    spec = resolve(given, {"overrides": overrides, "sampler": {"steps": 1}}, {"backbone": backbone} if backbone else {})
    for event in run(spec, folder / "runs"):
        match event:
            case StageEnded(cell=cell) if cell is not None:
                place = folder / "runs" / f"long{concepts}" / cell.path / f"{event.number:02d}-{event.concept}"
                record = read_json(place / "stage.json")
                assert record is not None
                drawn = 2 * event.number + 3 + spec.diversity_images
                seconds = record["seconds"]
                yield Stage(cell.method, event.number, seconds["train"], seconds["sample"], drawn, _held())
            case Ended(troubled=troubled) if troubled:
                raise CatBenchError(f"{troubled} cells have no result")


def _held() -> int:
    """Bytes of memory that this process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def summary(found: list[Stage]) -> Iterator[str]:
    """Lines: every tenth stage, then how much anything grew after the first ten."""
    yield "| method | stage | training, s | an image, s | memory, MiB |"
    yield "| --- | --- | --- | --- | --- |"
    for stage in found:
        if stage.number % SETTLED == 0 or stage.number == 1:
            image = stage.sample / stage.images
            yield f"| {stage.method} | {stage.number} | {stage.train:.2f} | {image:.4f} | {stage.memory / 2**20:.0f} |"
    for method in dict.fromkeys(stage.method for stage in found):
        own = [stage for stage in found if stage.method == method and stage.number > SETTLED]
        if len(own) < 2 * SETTLED:
            continue
        first, last = own[:SETTLED], own[-SETTLED:]
        memory = median(s.memory for s in last) / median(s.memory for s in first)
        train = median(s.train for s in last) / median(s.train for s in first)
        image = median(s.sample / s.images for s in last) / median(s.sample / s.images for s in first)
        yield f"{method}: memory {memory:.2f}×, training {train:.2f}×, an image {image:.2f}× (last ten to second ten)"


def main(
    method: Annotated[str, typer.Option(help="Methods, comma-separated.")] = "lora,merge,ortho,magmax,clora,cat",
    concepts: Annotated[int, typer.Option(min=1, help="How many concepts.")] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Training steps a concept.")] = 2,
    backbone: Annotated[str | None, typer.Option(help="Name or folder; the embedded model if not given.")] = None,
) -> None:
    """Measure a run of many concepts."""
    with tempfile.TemporaryDirectory() as place:
        found = list(stages(tuple(method.split(",")), concepts, steps, backbone, Path(place)))
    for line in summary(found):
        typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
