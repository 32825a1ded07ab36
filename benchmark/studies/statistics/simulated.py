"""Data sets whose truth is known, and what intervals and verdicts make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cat_bench.results.verdicts import intervals
from cat_bench.results.verdicts.always_valid import e_value
from cat_bench.results.verdicts.intervals import Array, Estimate
from cat_bench.results.verdicts.verdict import holm, judge

TIMES = 20_000
COUNTS = (3, 5, 10)
FIRST = 5  # replicates at which a run until all is decided is looked at first
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


def decided(
    rng: np.random.Generator, draw: Draw, methods: int, effect: float = 0.0, most: int = 12, times: int = TIMES
) -> tuple[float, float]:
    """Of runs until all is decided, without a margin: in how many any method is different, mean replicates.

    Looked at from FIRST to `most`, as `UntilDecided` says; all methods have the same effect against one reference, in
    standard deviations of a difference, and their differences share its chance.
    """
    parts = np.stack([draw(rng, times, most) for _ in range(methods)])  # (methods, data sets, replicates)
    d = (parts[1:] - parts[0]) / (np.std(parts[0]) * np.sqrt(2)) + effect
    open_, found, last = np.ones(times, dtype=bool), np.zeros(times, dtype=bool), np.full(times, most)
    for n in range(FIRST, most + 1):
        different = e_value(d[:, :, :n]) >= 20 * (methods - 1)
        found |= open_ & different.any(axis=0)
        last[open_ & different.all(axis=0)] = n
        open_ &= ~different.all(axis=0)
    return float(found.mean()), float(last.mean())


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


def coverage_resampled(rng: np.random.Generator, pool: Array, n: int, times: int = TIMES) -> float:
    """Of the t interval over n of a run's own differences, drawn with replacement; the truth is the mean of all.

    A small pool is not a population: what repeats in a sample makes its interval too narrow. How much is that alone,
    `coverage_redrawn` says.
    """
    return covered(intervals.of_replicates(pool[rng.integers(0, len(pool), (times, n))] - pool.mean()))


def coverage_redrawn(rng: np.random.Generator, size: int, n: int, pools: int = 300, times: int = TIMES) -> float:
    """What `coverage_resampled` finds on average for so many pools of `size` normal values: its own yardstick."""
    return float(np.mean([coverage_resampled(rng, pool, n, times) for pool in normal(rng, pools, size)]))


def pooled(pools: Array) -> Array:
    """One pool of many (pools, size), each of them brought to mean 0 and standard deviation 1; constant ones left out.

    Many values seldom repeat in a sample: what is left of the distance to 95 % is the shape of their distribution.
    """
    varied = pools[pools.std(axis=-1) > 0]
    centred = varied - varied.mean(axis=-1, keepdims=True)
    return np.asarray(centred / varied.std(axis=-1, ddof=1, keepdims=True)).ravel()
