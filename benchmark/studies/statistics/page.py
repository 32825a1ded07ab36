"""The page of the simulations, as Markdown; of a run its own cells as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cat_bench.benchmark.studies.statistics import simulated as sim
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.summary import summarise
from cat_bench.results.verdicts.comparison import compare
from cat_bench.results.verdicts.intervals import Array
from cat_bench.results.verdicts.verdict import LEAST, detectable, replicates_needed

# differences that one would like to find
SIZES = {
    "concept_accuracy_average": 0.05,
    "part_accuracy_average": 0.05,
    "clip_i_average": 0.01,
    "kps_class": 0.01,
    "kps_other": 0.01,
}


def page(times: int, pools: dict[str, Array]) -> Iterator[str]:
    """The whole page, a line at a time. pools: by figure's name its values over cells of one method."""
    rng = np.random.default_rng(0)
    yield f"{times} data sets each: a share near 0.95 is known to ± {1.96 * np.sqrt(0.05 * 0.95 / times):.4f}.\n"
    yield "| coverage of the 95 % interval | n = 3 | n = 5 | n = 10 |\n| --- | ---: | ---: | ---: |"
    for draw in (sim.normal, sim.shares, sim.exponential):
        yield _row(f"t, {draw.__name__}", [sim.coverage(rng, draw, n, times) for n in sim.COUNTS])
    few = min(times, 2000)
    yield _row("percentile bootstrap, normal", [sim.coverage_percentile(rng, sim.normal, n, few) for n in sim.COUNTS])
    yield "\n| orders × seeds, σ of orders, seeds, rest | two-way | cells as if independent |\n| --- | ---: | ---: |"
    for design in sim.DESIGNS:
        for spreads in sim.SPREADS:
            name = f"{design[0]} × {design[1]}, {', '.join(f'{s:g}' for s in spreads)}"
            yield _row(name, sim.coverage_crossed(rng, design, spreads, times))
    yield "\n| new concepts: n, σ of concepts | wide | narrow | wide, a concept missing |\n| --- | ---: | ---: | ---: |"
    for n in sim.COUNTS:
        for spread in (0.0, 1.0, 2.0):
            both = sim.coverage_new_concepts(rng, n, spread, times)
            yield _row(f"{n}, {spread:g}", [*both, sim.coverage_new_concepts(rng, n, spread, times, True)[0]])
    yield "\n| looking at n = 3 … 20 without an effect | plain t | E ≥ 20 |\n| --- | ---: | ---: |"
    for draw in (sim.normal, sim.shares, sim.exponential):
        yield _row(draw.__name__, sim.peeking(rng, draw, times=times))
    yield "\n| until decided, 12 at most: effect, methods | any called different | mean replicates |"
    yield "| --- | ---: | ---: |"
    for effect, methods in ((0.0, 2), (0.0, 6), (1.0, 2), (2.0, 2), (2.0, 6), (3.0, 6)):
        share, mean = sim.decided(rng, sim.normal, methods, effect, times=times)
        yield f"| {effect:g}, {methods} | {share:.3f} | {mean:.1f} |"
    yield "\n| effect, in SD of a difference | fixed n, power 80 % | median stop by E ≥ 20 |\n| --- | ---: | ---: |"
    for effect in (1.0, 1.5, 2.0, 3.0):
        yield f"| {effect:g} | {replicates_needed(effect, 1.0)} | {sim.stops(rng, effect, times=few):.0f} |"
    yield "\n| replicates | 3 | 4 | 5 | 6 | 8 | 10 | 20 |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    yield _row("detectable effect, in SD, power 80 %", [detectable(n) for n in (3, 4, 5, 6, 8, 10, 20)], 2)
    yield f"\n| one method's cells as two or more, {times} times | n = 5, 2 methods | n = 5, 6 | n = 10, 2 |"
    yield "| --- | ---: | ---: | ---: |"
    drawn = {"normal": sim.normal(rng, 1, 100)[0], "shares": sim.shares(rng, 1, 100)[0]}
    for name, pool in (drawn | pools).items():
        said = [_called(rng, pool, n, methods, times) for n, methods in ((5, 2), (5, 6), (10, 2))]
        yield f"| {name} | {' | '.join(said)} |"


def _called(rng: np.random.Generator, pool: Array, n: int, methods: int, times: int) -> str:
    return f"{sim.same_method(rng, pool, n, methods, times):.3f}" if len(pool) >= n * methods else "too few cells"


def _row(name: str, values: Sequence[float], digits: int = 3) -> str:
    return f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in values)} |"


def pools_of(run: Run) -> dict[str, Array]:
    """Each headline figure over the cells of each method of a run of which there are enough to be two of five."""
    summary = summarise(run)
    figures = [figure for figure in summary.figures if figure.id in SIZES]
    wanted = [(row, f) for row in summary.methods for f in figures if row.values[f.id].n >= 2 * LEAST]
    return {f"{row.name}, {f.id}": np.array(list(row.values[f.id].cells.values())) for row, f in wanted}


def of_run(run: Run, times: int) -> Iterator[str]:
    """How many replicates a run's own spread asks for, and coverage when its differences are drawn again."""
    compared = {name: [c for c in compare(run, name) if c.n > 1] for name in SIZES}
    yield "\n| figure | SD of a difference | found by 5 | by 10 | by 20 | size | replicates until it |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, found in compared.items():
        if found:
            sd = float(np.median([np.std(c.differences, ddof=1) for c in found]))
            needed = replicates_needed(SIZES[name], sd)
            figures = [sd, *(sd * detectable(n) for n in (5, 10, 20)), SIZES[name]]
            yield f"{_row(name, figures)} {needed or 'too many'} |"
    yield "\n| differences drawn again | of | covered, n = 3 | n = 5 | n = 10 |\n| --- | ---: | ---: | ---: | ---: |"
    rng = np.random.default_rng(1)
    every = [c for found in compared.values() for c in found]
    for size in sorted({c.n for c in every}):
        of_size = [c for c in every if c.n == size]
        pools = np.array([c.differences for c in of_size])
        shares = np.array([_drawn_again(rng, pool, times) for pool in pools])
        for c, share in zip(of_size, shares.tolist(), strict=True):
            yield _row(f"{c.method} − {c.against}, {c.figure.id} | {c.n}", share)
        yield _row(f"mean of these {len(pools)} | {size}", shares.mean(axis=0).tolist())
        yardstick = [sim.coverage_redrawn(rng, size, n, times=times) for n in sim.COUNTS]
        yield _row(f"normal values, mean of 300 sets | {size}", yardstick)
        many = sim.pooled(pools)
        yield _row(f"these as one pool | {len(many)}", _drawn_again(rng, many, times))
        normal = [_drawn_again(rng, sim.pooled(sim.normal(rng, *pools.shape)), times) for _ in range(30)]
        yield _row(f"normal values as one pool, mean of 30 sets | {len(many)}", np.mean(normal, axis=0).tolist())


def _drawn_again(rng: np.random.Generator, pool: Array, times: int) -> list[float]:
    return [sim.coverage_resampled(rng, pool, n, times) for n in sim.COUNTS]


def main(
    run: Annotated[Path | None, typer.Option(help="Folder of a run whose cells are resampled as well.")] = None,
    times: Annotated[int, typer.Option(help="Simulated data sets of each kind.")] = sim.TIMES,
) -> None:
    """Print the page."""
    opened = None if run is None else Run.open(run)
    for line in page(times, pools_of(opened) if opened else {}):
        typer.echo(line)
    for line in of_run(opened, times) if opened else ():
        typer.echo(line)
