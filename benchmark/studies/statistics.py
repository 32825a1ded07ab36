"""Show by simulation that intervals and verdicts hold what they promise; print it as Markdown.

    python -m cat_bench.benchmark.studies.statistics
    python -m cat_bench.benchmark.studies.statistics --run runs/faces5

Every part is a function of a generator and of how many data sets it makes, so that tests take few and this page many.
With a run, one method's own cells are drawn again and again as if they were two methods (A/A), and their spread says
how many replicates a difference needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cat_bench.results.verdicts import intervals
from cat_bench.results.verdicts.always_valid import e_value
from cat_bench.results.verdicts.intervals import Array, Estimate
from cat_bench.results.verdicts.verdict import detectable, holm, judge, replicates_needed

TIMES = 20_000
COUNTS = (3, 5, 10)
CONCEPTS, IMAGES = 5, 32  # of a cell whose shares are drawn
DESIGNS = ((2, 5), (3, 3), (4, 5), (5, 5))
# standard deviations of orders, of seeds, and of what is left, in the difference of two methods
SPREADS = ((1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0), (2.0, 0.3, 0.3))
_EASE = np.linspace(-1.0, 1.0, CONCEPTS)  # concepts differ in how often they are recognised, in logits
Draw = Callable[[np.random.Generator, int, int], Array]  # generator, data sets, replicates → (data sets, replicates)


def normal(rng: np.random.Generator, times: int, n: int) -> Array:
    """Differences without an effect, normal."""
    return rng.normal(size=(times, n))


def shares(rng: np.random.Generator, times: int, n: int) -> Array:
    """Differences of two accuracies near 0.9 and near 0.5, the true one taken off: bounded, and skewed.

    Each is a share of CONCEPTS × IMAGES pictures; how often a concept is recognised varies with replicate and concept.
    """
    better, worse = (_share(rng, times, n, level) for level in (2.5, 0.0))
    return better - worse - (_expected(2.5) - _expected(0.0))


def exponential(rng: np.random.Generator, times: int, n: int) -> Array:
    """Differences far more skewed than means of shares: exponential, the mean taken off."""
    return rng.exponential(size=(times, n)) - 1.0


def _share(rng: np.random.Generator, times: int, n: int, level: float) -> Array:
    logits = level + _EASE + 0.5 * rng.normal(size=(times, n, 1)) + 0.5 * rng.normal(size=(times, n, CONCEPTS))
    return np.asarray(rng.binomial(IMAGES, 1 / (1 + np.exp(-logits))).mean(axis=-1) / IMAGES)


def _expected(level: float) -> float:
    """Mean share at a level, by Gauss-Hermite quadrature over the normal logits."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    logits = level + _EASE[:, None] + np.sqrt(0.5) * nodes
    return float((weights / (1 + np.exp(-logits))).sum() / weights.sum() / CONCEPTS)


def covered(found: Estimate) -> float:
    """Share of data sets whose 95 % interval has 0, the truth, in it."""
    low, high = found.limits()
    return float(((low <= 0) & (high >= 0)).mean())


def coverage(rng: np.random.Generator, draw: Draw, n: int, times: int = TIMES) -> float:
    """Of the t interval over n replicates."""
    return covered(intervals.of_replicates(draw(rng, times, n)))


def coverage_percentile(rng: np.random.Generator, draw: Draw, n: int, times: int, resamples: int = 400) -> float:
    """Of the percentile bootstrap, which is not used: what it is too narrow by."""
    d = draw(rng, times, n)
    chosen = rng.integers(0, n, (resamples, n))
    low, high = np.quantile(d[:, chosen].mean(axis=-1), [0.025, 0.975], axis=-1)
    return float(((low <= 0) & (high >= 0)).mean())


def coverage_crossed(
    rng: np.random.Generator, design: tuple[int, int], spreads: Sequence[float], times: int = TIMES
) -> tuple[float, float]:
    """Of the two-way interval over orders × seeds, and of a t interval that takes all cells for independent."""
    (orders, seeds), (of_order, of_seed, rest) = design, spreads
    d = rest * rng.normal(size=(times, orders, seeds)) + of_order * rng.normal(size=(times, orders, 1))
    d += of_seed * rng.normal(size=(times, 1, seeds))
    return covered(intervals.crossed(d)), covered(intervals.of_replicates(d.reshape(times, -1)))


def coverage_new_concepts(
    rng: np.random.Generator, n: int, of_concept: float, times: int = TIMES, last_missing: bool = False
) -> tuple[float, float]:
    """Of the interval for new concepts, and of the one for these concepts, where the truth is that of all concepts.

    last_missing: one concept of each replicate has no value, as with forgetting.
    """
    d = rng.normal(size=(times, n, CONCEPTS)) + rng.normal(size=(times, n, 1))
    d += of_concept * rng.normal(size=(times, 1, CONCEPTS))
    if last_missing:
        d[:, np.arange(n), np.arange(n) % CONCEPTS] = np.nan
    narrow = intervals.of_replicates(np.nanmean(d, axis=-1))
    wide = np.maximum(intervals.new_concepts(d, narrow).half(), narrow.half())
    return float((np.abs(narrow.mean) <= wide).mean()), covered(narrow)


def peeking(rng: np.random.Generator, draw: Draw, most: int = 20, times: int = TIMES) -> tuple[float, float]:
    """Share of comparisons without an effect called different by looking at n = 3 … most: plain t, and E_n ≥ 20."""
    d = draw(rng, times, most)
    plain, valid = np.zeros(times, dtype=bool), np.zeros(times, dtype=bool)
    for n in range(3, most + 1):
        plain |= intervals.of_replicates(d[:, :n]).p <= 0.05
        valid |= e_value(d[:, :n]) >= 20
    return float(plain.mean()), float(valid.mean())


def stops(rng: np.random.Generator, effect: float, most: int = 60, times: int = TIMES) -> float:
    """Median number of replicates until E_n ≥ 20, of an effect in standard deviations."""
    d = rng.normal(size=(times, most)) + effect
    reached = np.stack([e_value(d[:, :n]) >= 20 for n in range(2, most + 1)], axis=1)
    return float(np.median(np.where(reached.any(axis=1), reached.argmax(axis=1) + 2, np.inf)))


def same_method(rng: np.random.Generator, pool: Array, n: int, methods: int = 2, times: int = 200) -> float:
    """A/A: share of resamplings in which any of so many methods is called better, though all are one.

    pool: a figure over cells of one method. Each method gets n of them, no cell twice; the first is the reference.
    """
    called = 0
    for _ in range(times):
        cells = rng.permutation(pool)[: n * methods].reshape(methods, n)
        found = intervals.of_replicates(cells[1:] - cells[0])
        low, high = found.limits()
        each = zip(found.mean.tolist(), low.tolist(), high.tolist(), holm(found.p.tolist()), strict=True)
        called += any(judge(d, a, b, p, margin=None, higher=True) == "better" for d, a, b, p in each)
    return called / times


def page(times: int, pools: dict[str, Array]) -> Iterator[str]:
    """The whole page, a line at a time. pools: by figure's name its values over cells of one method."""
    rng = np.random.default_rng(0)
    yield f"{times} data sets each: a share near 0.95 is known to ± {1.96 * np.sqrt(0.05 * 0.95 / times):.4f}.\n"
    yield "| coverage of the 95 % interval | n = 3 | n = 5 | n = 10 |\n| --- | ---: | ---: | ---: |"
    for draw in (normal, shares, exponential):
        yield _row(f"t, {draw.__name__}", [coverage(rng, draw, n, times) for n in COUNTS])
    few = min(times, 2000)
    yield _row("percentile bootstrap, normal", [coverage_percentile(rng, normal, n, few) for n in COUNTS])
    yield "\n| orders × seeds, σ of orders, seeds, rest | two-way | cells as if independent |\n| --- | ---: | ---: |"
    for design in DESIGNS:
        for spreads in SPREADS:
            name = f"{design[0]} × {design[1]}, {', '.join(f'{s:g}' for s in spreads)}"
            yield _row(name, coverage_crossed(rng, design, spreads, times))
    yield "\n| new concepts: n, σ of concepts | wide | narrow | wide, a concept missing |\n| --- | ---: | ---: | ---: |"
    for n in COUNTS:
        for spread in (0.0, 1.0, 2.0):
            both = coverage_new_concepts(rng, n, spread, times)
            yield _row(f"{n}, {spread:g}", [*both, coverage_new_concepts(rng, n, spread, times, True)[0]])
    yield "\n| looking at n = 3 … 20 without an effect | plain t | E ≥ 20 |\n| --- | ---: | ---: |"
    for draw in (normal, shares, exponential):
        yield _row(draw.__name__, peeking(rng, draw, times=times))
    yield "\n| effect, in SD of a difference | fixed n, power 80 % | median stop by E ≥ 20 |\n| --- | ---: | ---: |"
    for effect in (1.0, 1.5, 2.0, 3.0):
        yield f"| {effect:g} | {replicates_needed(effect, 1.0)} | {stops(rng, effect, times=few):.0f} |"
    yield "\n| replicates | 3 | 4 | 5 | 6 | 8 | 10 | 20 |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    yield _row("detectable effect, in SD, power 80 %", [detectable(n) for n in (3, 4, 5, 6, 8, 10, 20)], 2)
    yield "\n| A/A, 200 resamplings | n = 5, 2 methods | n = 5, 6 methods | n = 10, 2 methods |"
    yield "| --- | ---: | ---: | ---: |"
    drawn = {"normal": normal(rng, 1, 100)[0], "shares": shares(rng, 1, 100)[0]}
    for name, pool in (drawn | pools).items():
        said = [_called(rng, pool, n, methods) for n, methods in ((5, 2), (5, 6), (10, 2))]
        yield f"| {name} | {' | '.join(said)} |"


def _called(rng: np.random.Generator, pool: Array, n: int, methods: int) -> str:
    return f"{same_method(rng, pool, n, methods):.3f}" if len(pool) >= n * methods else "too few cells"


def _row(name: str, values: Sequence[float], digits: int = 3) -> str:
    return f"| {name} | {' | '.join(f'{value:.{digits}f}' for value in values)} |"


def main(
    run: Annotated[Path | None, typer.Option(help="Folder of a run whose cells are resampled as well.")] = None,
    times: Annotated[int, typer.Option(help="Simulated data sets of each kind.")] = TIMES,
) -> None:
    """Print the page."""
    pools: dict[str, Array] = {}
    if run is not None:
        from cat_bench.results.measures.figure import HEADLINE
        from cat_bench.results.records.run_folder import Run
        from cat_bench.results.tables.summary import summarise

        summary = summarise(Run.open(run))
        for row in summary.methods:
            for figure in (f for f in summary.figures if f.id in HEADLINE and row.values[f.id].n > 1):
                pools[f"{row.name}, {figure.id}"] = np.array(list(row.values[figure.id].cells.values()))
    for line in page(times, pools):
        typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
