"""Run one method anew and hold its figures against the reference results: none may move beyond its interval.

    python -m cat_bench.benchmark.studies.reference.check
    python -m cat_bench.benchmark.studies.reference.check --method cat --sequence twins4 --replicates 1

A figure's mean over the replicates that were run again is compared with that of the same replicates of the reference;
it may differ by half the width of the reference's 95 % interval. Seconds and memory are the machine's and are let be.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.studies.command import carry_out, start
from cat_bench.results.errors import ResultError
from cat_bench.results.measures.available import metrics_of, strata_of
from cat_bench.results.measures.figures import Figure, figures
from cat_bench.results.records import packed
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts.between import differing
from cat_bench.results.verdicts.comparison import estimate, values_of

_MACHINES = ("seconds_train", "seconds_sample", "seconds_score", "peak_memory_bytes")


@dataclass(frozen=True)
class Held:
    """A figure of the reference, and of the same replicates run again. allowed: by how much they may differ."""

    figure: Figure
    before: float
    after: float
    allowed: float

    @property
    def moved(self) -> bool:
        """Whether it is beyond its interval, or no longer there. What only the last bits tell apart has not moved."""
        return not abs(self.after - self.before) <= self.allowed + 1e-9


def held(reference: Run, again: Run, method: str) -> Iterator[Held]:
    """Every figure of which the reference has an interval. Raises ResultError if the two may not be compared."""
    if odd := differing(again, reference):
        raise ResultError(
            f"{reference.folder} is of another protocol: {', '.join(odd)} changed since. Make it again "
            "(python -m cat_bench.benchmark.studies.reference), and say why in the CHANGELOG"
        )
    for figure in figures(strata_of(reference), {m.id for m in metrics_of(reference)}):
        if figure.id in _MACHINES:
            continue
        known, found = (
            {key: v for key, (v, _) in values_of(run, method, figure).items()} for run in (reference, again)
        )
        keys = [(cell.order, cell.seed) for cell in again.of(method) if (cell.order, cell.seed) in known]
        if len(known) < 2 or not keys:
            continue
        before = math.fsum(known[key] for key in keys) / len(keys)
        after = math.fsum(found.get(key, math.nan) for key in keys) / len(keys)
        yield Held(figure, before, after, float(estimate(known)[0].half()))


def spec_of(reference: Run, method: str, replicates: int) -> RunSpec:
    """The reference's own run, of one method. Raises ResultError if it has no such method."""
    if method not in reference.methods:
        raise ResultError(f"{reference.folder} has no method {method}; there are: {', '.join(reference.methods)}")
    left = ("methods", "replicates", "seeds", "orders", "overrides")
    spec = {key: value for key, value in reference.info["spec"].items() if key not in left}
    overrides = {name: v for name, v in reference.info["spec"].get("overrides", {}).items() if name == method}
    return resolve(spec, {"methods": [method], "replicates": replicates, "overrides": overrides})


def main(
    method: Annotated[str, typer.Option(help="Which is run again.")] = "lora",
    sequence: Annotated[str, typer.Option(help="Of which sequence.")] = "faces5",
    replicates: Annotated[int, typer.Option(min=1, help="How many of its replicates.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="How many stages are made at once; 0: as many as pay.")] = 0,
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which the run lies; empty at first.")] = Path("runs"),
) -> None:
    """Run it, and end with 1 if a figure moved."""
    reference = Run.open(packed.reference_folder(sequence))
    folder = carry_out(spec_of(reference, method, replicates), runs, f"check-{sequence}", Crew(workers or None))
    found = list(held(reference, Run.open(folder), method))
    if not found:
        raise ResultError(f"{reference.folder} has no two replicates of {method}, so there is nothing to hold it to")
    for one in sorted(found, key=lambda one: not one.moved):
        said = f"{one.figure.id}: {one.before:.4f} → {one.after:.4f}, allowed ± {one.allowed:.4f}"
        typer.echo(f"{'moved' if one.moved else 'ok   '}  {said}")
    moved = sum(one.moved for one in found)
    ran = "1 replicate" if replicates == 1 else f"{replicates} replicates"
    typer.echo(f"{method} on {sequence}, {ran}: {moved} of {len(found)} figures moved")
    sys.exit(1 if moved else 0)


if __name__ == "__main__":
    start(main, "reference-check")
