"""R[t, k], the mean score on concept k after stage t, and every continual-learning figure that is read off it.

The figures take R of shape (T, T): row t-1 is the state after stage t, column k-1 the concept learned at stage k,
higher is better (negate a distance first). Entries that a figure does not need may be NaN; if one it needs is NaN, so
is the figure.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cat_bench.results.errors import ResultError

Array = npt.NDArray[np.float64]


def means(scores: pd.DataFrame) -> pd.Series:
    """Mean value over prompts and images, null rows left out; the index has the levels metric, stage and concept."""
    return scores.groupby(["metric", "stage", "concept"], sort=False)["value"].mean()


def stage_matrix(mean: pd.Series, metric: str, concepts: Sequence[str]) -> pd.DataFrame:
    """R[t, k] as a table: index stage 0..T, columns the concepts in the order in which they are learned.

    mean: `means` of ONE cell's rows together with the base model's (their stage is 0). What was never scored is NaN.
    """
    R = stage_array(mean, metric, concepts)
    table = pd.DataFrame(R, index=list(range(len(R))), columns=list(concepts))
    return table.rename_axis(index="stage", columns="concept")


def stage_array(mean: pd.Series, metric: str, concepts: Sequence[str]) -> Array:
    """The numbers of `stage_matrix` alone, (T + 1, T)."""
    R = np.full((len(concepts) + 1, len(concepts)), np.nan)
    index = mean.index
    assert isinstance(index, pd.MultiIndex)
    metrics, stages, names = index.levels
    if metric in metrics:  # by the index' codes: pandas' own ways take milliseconds, for every cell, metric and figure
        rows = np.flatnonzero(np.asarray(index.codes[0]) == metrics.get_loc(metric))
        t, of = (np.asarray(codes)[rows] for codes in index.codes[1:])
        places = {concept: k for k, concept in enumerate(concepts)}
        t, k = stages.to_numpy()[t], np.array([places.get(name, -1) for name in names], dtype=np.int64)[of]
        inside = (t < len(R)) & (k >= 0)
        R[t[inside].astype(np.int64), k[inside]] = mean.to_numpy()[rows][inside]
    return R


def left(R: npt.ArrayLike) -> Array:
    """R[T, k] of each concept: what is left at the end."""
    return np.asarray(_square(R)[-1])


def learned(R: npt.ArrayLike) -> Array:
    """R[k, k] of each concept: how well it is learned when its turn comes."""
    return np.diag(_square(R))


def forgotten(R: npt.ArrayLike) -> Array:
    """max over k<=t<T of R[t, k] - R[T, k] of each concept but the last, (T-1,)."""
    m = _square(R)
    T = len(m)
    return np.array([m[k : T - 1, k].max() - m[-1, k] for k in range(T - 1)])


def gained(R: npt.ArrayLike) -> Array:
    """R[T, k] - R[k, k] of each concept but the last, (T-1,)."""
    m = _square(R)
    return np.asarray((m[-1] - np.diag(m))[:-1])


def average(R: npt.ArrayLike) -> float:
    """A = mean over k of R[T, k]: what is left at the end."""
    return float(left(R).mean())


def plasticity(R: npt.ArrayLike) -> float:
    """Mean over k of R[k, k]: how well each concept is learned when its turn comes."""
    return float(learned(R).mean())


def forgetting(R: npt.ArrayLike) -> float:
    """1/(T-1) sum over k<T of (max over k<=t<T of R[t, k] - R[T, k]); negative where later concepts helped.

    Chaudhry et al. 2018 (arXiv 1801.10112). NaN for a single concept.
    """
    return _mean(forgotten(R))


def retention(R: npt.ArrayLike, base: npt.ArrayLike, least: float) -> float:
    """1/(T-1) sum over k<T of (R[T, k] - R[0, k]) / (R[k, k] - R[0, k]): what is left of what was learned; 1 is all.

    base = R[0] of shape (T,). NaN where a concept was never learned (see `never_learned`), and for a single concept.
    """
    m, floor = _square(R), np.asarray(base, dtype=np.float64)
    if never_learned(m, floor, least):
        return float("nan")
    return _mean((m[-1] - floor)[:-1] / (np.diag(m) - floor)[:-1])


def never_learned(R: npt.ArrayLike, base: npt.ArrayLike, least: float) -> list[int]:
    """The k < T (from 0) whose rise R[k, k] - R[0, k] is at most `least`, the smallest difference that means something.

    Up to rounding: a rise of 0.7 is not more than 0.7, whatever the two numbers' last bits say.
    """
    m, floor = _square(R), np.asarray(base, dtype=np.float64)
    if floor.shape != (len(m),):
        raise ResultError(f"retention needs one base score a concept: {len(m)}, got the shape {floor.shape}")
    return [int(k) for k in np.flatnonzero(np.diag(m)[:-1] - floor[:-1] <= least + 1e-9)]


def bwt(R: npt.ArrayLike) -> float:
    """Backward transfer: 1/(T-1) sum over k<T of (R[T, k] - R[k, k]). Lopez-Paz and Ranzato 2017 (arXiv 1706.08840)."""
    return _mean(gained(R))


def fwt(R: npt.ArrayLike, base: npt.ArrayLike) -> float:
    """Forward transfer: 1/(T-1) sum over k>=2 of (R[k-1, k] - R[0, k]), base = R[0] of shape (T,).

    Lopez-Paz and Ranzato 2017. Needs images of concepts that are not learned yet; NaN where they were not made.
    """
    m, floor = _square(R), np.asarray(base, dtype=np.float64)
    if floor.shape != (len(m),):
        raise ResultError(f"forward transfer needs one base score a concept: {len(m)}, got the shape {floor.shape}")
    return _mean(np.diag(m, k=1) - floor[1:])


def a_mmd(R: npt.ArrayLike) -> float:
    """Mean distance of each concept's samples to its references after the last stage. R holds distances here."""
    return average(R)


def f_mmd(R: npt.ArrayLike) -> float:
    """1/(T-1) sum over k<T of (R[T, k] - R[k, k]): mean rise of the distance since the concept was learned."""
    return bwt(R)


def forgetting_continual_lora(R: npt.ArrayLike) -> float:
    """As in the continual-lora code base: 1/T sum over ALL k of (max over k<=t<=T of R[t, k] - R[T, k]).

    The maximum includes the last row, so it is never negative, and the last concept adds a zero.
    """
    m = _square(R)
    return _mean([m[k:, k].max() - m[-1, k] for k in range(len(m))])


def forgetting_mammoth(R: npt.ArrayLike) -> float:
    """As in mammoth: 1/(T-1) sum over k<T of (max over t<=T of R[t, k] - R[T, k]): floored at zero concept by concept.

    Rows before the concept was learned count as zero there; here they are left out, the same for scores above zero.
    """
    m = _square(R)
    return _mean([m[k:, k].max() - m[-1, k] for k in range(len(m) - 1)])


def forgetting_avalanche(R: npt.ArrayLike) -> float:
    """As in avalanche: first minus last, 1/(T-1) sum over k<T of (R[k, k] - R[T, k]); the same as -BWT."""
    return -bwt(R)


def _square(R: npt.ArrayLike) -> Array:
    m = np.asarray(R, dtype=np.float64)
    if m.ndim != 2 or m.shape[0] != m.shape[1] or m.shape[0] == 0:
        raise ResultError(f"R must be square, stages 1..T by concepts, without stage 0; its shape is {m.shape}")
    return m


def _mean(values: Sequence[float] | Array) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
