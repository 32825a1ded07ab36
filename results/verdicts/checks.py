"""Other ways to the same question, printed beside a t interval: signs, wins, a bootstrap. None of them decides."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from cat_bench.results.verdicts.intervals import LEVEL

MOST = 40  # differences whose signs are all tried
DRAWS = 19_999
_ALL = 6  # up to so many differences every resample is made: 6⁶ = 46,656


@dataclass(frozen=True)
class Wins:
    """Differences above 0, of those that are not 0, and the Clopper-Pearson interval of their share."""

    wins: int
    n: int
    low: float
    high: float


def sign_flip(differences: npt.ArrayLike) -> float:
    """Exact two-sided p over all 2ⁿ signs of n differences: how often |sum| is at least as large. At least 2/2ⁿ.

    Sums of the two halves are sorted and counted against each other, so that 2^(n/2) of them are enough. NaN above
    MOST differences.
    """
    d = np.asarray(differences, dtype=np.float64)
    if len(d) > MOST:
        return float("nan")
    first, second = _signed(d[: len(d) // 2]), np.sort(_signed(d[len(d) // 2 :]))
    least = abs(d.sum()) - 1e-9 * np.abs(d).sum()  # equal sums, up to rounding, count
    above = len(second) - np.searchsorted(second, least - first, side="left")
    below = np.searchsorted(second, -least - first, side="right")
    return min(1.0, float((above + below).sum() / 2.0 ** len(d)))


def _signed(d: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """All sums of ±d, (2ⁿ,)."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def wins(differences: npt.ArrayLike, level: float = LEVEL) -> Wins:
    """How often the difference is above 0; those that are 0 say nothing and are left out (Clopper and Pearson 1934)."""
    d = np.asarray(differences, dtype=np.float64)
    n, won = int((d != 0).sum()), int((d > 0).sum())
    tail = (1 - level) / 2
    low = float(betaincinv(won, n - won + 1, tail)) if won else 0.0
    high = float(betaincinv(won + 1, n - won, 1 - tail)) if won < n else 1.0
    return Wins(won, n, low, high)


def bootstrap_t(differences: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Ends of the studentised bootstrap interval over n differences: unstable below 6, and NaN below 3.

    d̄ − q s/√n, q the quantiles of (d̄* − d̄) / (s*/√n) over resamples: all nⁿ up to n = 6, else DRAWS of them, always
    the same. Resamples of one value alone have no s* and are left out. (Efron 1979; Davison and Hinkley 1997, 5.2.)
    """
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    if n < 3 or not d.std() > 0:
        return float("nan"), float("nan")
    if n <= _ALL:
        chosen = np.indices((n,) * n).reshape(n, -1).T
    else:
        chosen = np.random.default_rng(n).integers(0, n, (DRAWS, n))
    drawn = d[chosen]
    spread = drawn.std(axis=1, ddof=1)
    whole = spread > 1e-12 * d.std()
    t = (drawn[whole].mean(axis=1) - d.mean()) / spread[whole]
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    return float(d.mean() - high * d.std(ddof=1)), float(d.mean() - low * d.std(ddof=1))
