"""Looking after every replicate without being fooled: e-values of the t-test, and the interval that they give.

The plain t interval looked at again and again excludes 0 sooner or later. E_n is the likelihood ratio of a standardised
effect drawn from N(0, g) against none, the scale integrated out; without an effect its mean is 1 at every n, so that by
Ville's inequality it ever reaches 1/α with probability at most α, however often one looks. (Lai 1976; Robbins 1970;
the form for unknown scale: Wang and Ramdas 2025, arXiv 2310.03722.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cat_bench.results.verdicts.intervals import Array

G = 1.0  # variance of the effect in squared standard deviations of a difference: as large as such effects are
ALPHA = 0.05
Decision = Literal["different", "equivalent"]


def e_value(differences: npt.ArrayLike, g: float = G) -> Array:
    """E_n = (1+ng)^(−1/2) · [(1 + t²/ν) / (1 + t²/(ν(1+ng)))]^(n/2) of differences (…, n), ν = n − 1; 1 for n = 1."""
    d = np.asarray(differences, dtype=np.float64)
    n = d.shape[-1]
    if n < 2:
        return np.ones(d.shape[:-1])
    mean, spread = d.mean(axis=-1), d.var(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where((spread == 0) & (mean == 0), 0.0, n * mean**2 / spread / (n - 1))  # t²/ν
        ratio = np.where(np.isinf(q), np.log1p(n * g), np.log1p(q) - np.log1p(q / (1 + n * g)))
    return np.asarray(np.exp(-0.5 * np.log1p(n * g) + n / 2 * ratio))


def critical(n: int, alpha: float = ALPHA, g: float = G) -> float:
    """The |t| at which E_n reaches 1/α: t*² = ν(c − 1) / (1 − c/(1+ng)), c = (√(1+ng)/α)^(2/n); infinite for few n."""
    c = (np.sqrt(1 + n * g) / alpha) ** (2 / n)
    return float(np.sqrt((n - 1) * (c - 1) / (1 - c / (1 + n * g)))) if n > 1 and c < 1 + n * g else float("inf")


def replicates_until(difference: float, sd: float, alpha: float = ALPHA, g: float = G, most: int = 1000) -> int | None:
    """The fewest replicates after which E_n ≥ 1/α, if mean and standard deviation stay as they are; None above most."""
    counts = (n for n in range(2, most + 1) if critical(n, alpha, g) * sd < abs(difference) * np.sqrt(n))
    return next(counts, None) if sd > 0 else None


def always_valid(differences: npt.ArrayLike, alpha: float = ALPHA, g: float = G) -> tuple[Array, Array]:
    """Ends of the interval d̄ ± t* s/√n of differences (…, n), which holds at all n at once with probability 1 − α."""
    d = np.asarray(differences, dtype=np.float64)
    n, mean = d.shape[-1], d.mean(axis=-1)
    times = critical(n, alpha, g)
    half = times * d.std(axis=-1, ddof=1) / np.sqrt(n) if np.isfinite(times) else np.full(mean.shape, np.inf)
    return mean - half, mean + half


@dataclass(frozen=True)
class UntilDecided:
    """When a comparison of k methods, looked at after every complete replicate, may stop.

    margin: within which methods are equivalent, None if nothing is. most: replicates after which it stops undecided;
    declared before the first. alpha: the chance that any of the k − 1 comparisons with the reference is called
    different although there is no difference.
    """

    margin: float | None
    most: int = 12
    alpha: float = ALPHA
    g: float = G

    def look(self, differences: Mapping[str, Sequence[float]]) -> dict[str, Decision | None]:
        """By method, of its differences from the reference so far: different (E_n ≥ (k−1)/α), equivalent, or not yet.

        Equivalent is where the always-valid interval at level 1 − α/(k−1) lies within the margin.
        """
        alpha = self.alpha / max(len(differences), 1)
        return {method: self._decided(np.asarray(d, dtype=np.float64), alpha) for method, d in differences.items()}

    def over(self, differences: Mapping[str, Sequence[float]]) -> bool:
        """Whether every comparison is decided, or has as many replicates as were declared."""
        decided = self.look(differences)
        return all(decided[method] or len(d) >= self.most for method, d in differences.items())

    def _decided(self, d: Array, alpha: float) -> Decision | None:
        if len(d) < 2:
            return None
        if e_value(d, self.g) >= 1 / alpha:
            return "different"
        low, high = always_valid(d, alpha, self.g)
        return "equivalent" if self.margin is not None and -self.margin <= low and high <= self.margin else None
