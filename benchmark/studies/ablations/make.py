"""The ablations made: all variants in one run, the twins in another, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.store.files import plain_errors, write_bytes
from cat_bench.benchmark.studies.ablations.answers import page
from cat_bench.benchmark.studies.ablations.asked import PAIRS, TWINS, Asked, labels
from cat_bench.benchmark.studies.command import carry_out
from cat_bench.benchmark.text_to_image.models import TextToImage


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
    found = Ablations.of(given)
    every = resolve(given, {"methods": labels(found.asked), "replicates": replicates})
    folder = carry_out(every, runs, name, Crew(workers or None))
    twin = carry_out(resolve(given, {"methods": found.twins, "replicates": 1}), runs, f"{name}-twins", Crew(1))
    with plain_errors(out, "another --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out, page(found.asked, folder, found.twins, twin).encode())
    typer.echo(f"written: {out}")
