"""The rule by which a difference becomes a verdict, and how many replicates one is likely to need."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import nctdtr, stdtrit

Verdict = Literal["better", "worse", "equivalent", "undecided"]
LEAST = 5  # replicates; of fewer there are effects, no verdicts
ALPHA = 0.05
POWER = 0.8
MOST = 1000  # replicates that are looked at; nobody makes more


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values of a family (Holm 1979): the i-th smallest of m times m − i + 1, never falling, at most 1."""
    adjusted, worst = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = worst
    return adjusted


def judge(effect: float, low: float, high: float, adjusted: float, margin: float | None, higher: bool) -> Verdict:
    """What an effect with its 95 % interval comes to.

    Better or worse if the interval excludes 0 and the p adjusted for all comparisons is at most 5 %; else equivalent if
    the interval lies within ±margin (two one-sided tests at 2.5 %), which without a margin nothing does.
    """
    if adjusted <= ALPHA and not low <= 0 <= high:
        return "better" if (effect > 0) is higher else "worse"
    return "equivalent" if margin is not None and -margin <= low and high <= margin else "undecided"


def power(n: int, effect: float, alpha: float = ALPHA) -> float:
    """Of the two-sided paired t-test with n pairs; effect in standard deviations of a difference (Cohen 1988)."""
    df, shift = n - 1.0, abs(effect) * math.sqrt(n)
    t = stdtrit(df, 1 - alpha / 2)
    above, below = (np.nan_to_num(nctdtr(df, shift, end)) for end in (t, -t))  # NaN where it is too small to compute
    return float(1 - above + below)


def replicates_needed(difference: float, sd: float, alpha: float = ALPHA, wanted: float = POWER) -> int | None:
    """The fewest replicates, LEAST at least, with which a difference is found with that power; None above MOST."""
    if not abs(difference) > 0:
        return None
    if not sd > 0:
        return LEAST
    low, high = LEAST - 1, MOST + 1  # enough is more than low and at most high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, difference / sd, alpha) >= wanted else (middle, high)
    return high if high <= MOST else None


def detectable(n: int, alpha: float = ALPHA, wanted: float = POWER) -> float:
    """The smallest effect, in standard deviations of a difference, that n replicates find with that power."""
    low, high = 0.0, 100.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, alpha) >= wanted else (middle, high)
    return float(np.round(high, 4))
