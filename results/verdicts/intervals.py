"""The mean of few differences and how far it can be trusted: t intervals, also of data with two crossed ways of chance.

Every function takes arrays with any leading axes, of which each place is a data set of its own; nothing here is NaN
but what is missing. docs/statistics.md has the formulas and what simulations showed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Array = npt.NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean, the variance of that mean, and the degrees of freedom of its t; all of one shape.

    Of a single difference variance and df are NaN and 0, and so are the limits.
    """

    mean: Array
    variance: Array
    df: Array

    def half(self, level: float = LEVEL) -> Array:
        """Half the width of the interval: t times the standard error."""
        return np.asarray(stdtrit(self.df, (1 + level) / 2) * np.sqrt(self.variance))

    def limits(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Lower and upper end of the interval."""
        half = self.half(level)
        return self.mean - half, self.mean + half

    @property
    def p(self) -> Array:
        """Two-sided p of "the mean is 0". Where nothing varies: 0, or 1 if the mean is 0 as well."""
        error = np.sqrt(self.variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where((error == 0) & (self.mean == 0), 0.0, np.abs(self.mean) / error)
        return np.asarray(2 * stdtr(self.df, -t))


def of_replicates(differences: npt.ArrayLike) -> Estimate:
    """Of independent differences (…, n): variance s²/n, n − 1 degrees of freedom."""
    d = np.asarray(differences, dtype=np.float64)
    n = d.shape[-1]
    mean = d.mean(axis=-1)
    spread = d.var(axis=-1, ddof=1) if n > 1 else np.full(mean.shape, np.nan)
    return Estimate(mean, np.asarray(spread / n), np.full(mean.shape, n - 1.0))


def crossed(differences: npt.ArrayLike) -> Estimate:
    """Of every order with every seed (…, O, S), O and S at least 2: two-way random effects without repetition.

    Var = (MS_o + MS_s − MS_e) / (O·S), never below MS_e / (O·S); degrees of freedom by Satterthwaite 1946:
    (the bracket)² / (MS_o²/(O−1) + MS_s²/(S−1) + MS_e²/((O−1)(S−1))), but no fewer than the fewer levels less one: what
    is taken off makes them arbitrarily few otherwise, and an interval of any width.
    """
    d = np.asarray(differences, dtype=np.float64)
    orders, seeds = d.shape[-2:]
    of_order, of_seed, mean = d.mean(axis=-1), d.mean(axis=-2), d.mean(axis=(-2, -1))
    rest = d - of_order[..., :, None] - of_seed[..., None, :] + mean[..., None, None]
    order, seed = seeds * of_order.var(axis=-1, ddof=1), orders * of_seed.var(axis=-1, ddof=1)
    error = (rest**2).sum(axis=(-2, -1)) / ((orders - 1) * (seeds - 1))
    total = np.maximum(order + seed - error, error)
    below = order**2 / (orders - 1) + seed**2 / (seeds - 1) + error**2 / ((orders - 1) * (seeds - 1))
    return Estimate(mean, np.asarray(total / (orders * seeds)), _freedom(total**2, below, min(orders, seeds) - 1.0))


def apart(ours: Estimate, theirs: Estimate) -> Estimate:
    """Of the difference of two means that share no chance: variances add up, degrees of freedom by Welch 1947.

    Of replicates (v₁ + v₂)² / (v₁²/(n₁−1) + v₂²/(n₂−1)), v = s²/n; in general Satterthwaite's formula, as in `crossed`.
    """
    variance = ours.variance + theirs.variance
    below = ours.variance**2 / ours.df + theirs.variance**2 / theirs.df
    least = np.minimum(ours.df, theirs.df)
    return Estimate(ours.mean - theirs.mean, np.asarray(variance), _freedom(variance**2, below, least))


def new_concepts(differences: npt.ArrayLike, of_cells: Estimate) -> Estimate:
    """The same mean as an estimate for concepts that the sequence does not have: (…, R, K), replicates by concepts.

    of_cells: the estimate from the replicates' means alone. To its variance comes that of the concepts,
    (MS_k − MS_e) / (R·K) and never below 0; degrees of freedom as in `crossed`. A figure such as forgetting has no
    value for the concept that is learned last: NaN, in the same places of every data set. Then the concepts' variance
    is found by fitting constants (Henderson 1953, method 3), which is the same where nothing is missing. Without
    degrees of freedom left for MS_e it is infinite.
    """
    d = np.asarray(differences, dtype=np.float64)
    there = np.isfinite(d).reshape(-1, *d.shape[-2:]).all(axis=0)
    rows, columns = np.nonzero(there)
    y = d[..., rows, columns]
    replicate, concept = (np.eye(size)[place] for size, place in zip(d.shape[-2:], (rows, columns), strict=True))
    of_rows, of_both = _projection(replicate), _projection(np.hstack([replicate, concept]))
    k, left = np.trace(of_both - of_rows), len(rows) - np.trace(of_both)
    if k < 0.5 or left < 0.5:
        return Estimate(of_cells.mean, np.full_like(of_cells.mean, np.inf), np.full_like(of_cells.mean, np.nan))
    of_concepts = np.einsum("...i,ij,...j->...", y, of_both - of_rows, y) / k
    error = np.einsum("...i,ij,...j->...", y, np.eye(len(rows)) - of_both, y) / left
    weight = 1 / (there.sum(axis=1)[rows] * d.shape[-2])  # of each difference in the mean of the replicates' means
    share = float(((weight @ concept) ** 2).sum() * k / np.trace(concept.T @ (concept - of_rows @ concept)))
    more = share * np.maximum(of_concepts - error, 0.0)
    below = of_cells.variance**2 / of_cells.df + np.where(
        more > 0, (share * of_concepts) ** 2 / k + (share * error) ** 2 / left, 0.0
    )
    variance = of_cells.variance + more
    return Estimate(of_cells.mean, np.asarray(variance), _freedom(variance**2, below, np.minimum(of_cells.df, k)))


def _projection(design: Array) -> Array:
    """Onto the columns of a design (N, columns), whatever its rank."""
    return np.asarray(design @ np.linalg.pinv(design))


def _freedom(above: Array, below: Array, least: float | Array) -> Array:
    """Degrees of freedom; the least where nothing varies, for there 0 stands above and below."""
    return np.maximum(np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0), least)
