"""The rules by which a metric passes or fails a test, and nothing else: see docs/protocol.md."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from cat_bench.results.measures.metrics import Metric
from cat_bench.results.validation.series import Change, Measured, Series, change, mean, position, values

ERRORS = 2.0  # standard errors that a difference must exceed to be one
STEP = 0.05  # of what a whole series moves a metric that a step the wrong way must exceed
SHARE = 0.1  # of the way from undamaged to the base model that the strongest damage must cost at least
FLOORS = 2.0  # noise floors that a metric's smallest meaningful difference must be at least


@dataclass(frozen=True)
class Verdict:
    """What a test says of a metric. passed: None where nothing is expected or nothing can be said."""

    metric: str
    test: str
    passed: bool | None
    reason: str


def expected(series: Series, metric: Metric) -> int:
    """Sign of the change of a metric's value that the series must bring.

    Damage, and noise in the weights, make everything worse; more of an adapter brings what is learned nearer and takes
    the base model's knowledge away.
    """
    better = 1 if metric.direction == "higher" else -1
    return better if series.id == "blend" and metric.of == "concept" else -better


def follows(series: Series, metric: Metric, measured: Measured, noise: float = math.nan) -> Verdict:
    """Whether a metric follows a series.

    It fails if (1) a step goes the wrong way by more than two standard errors of the mean paired difference, by more
    than a twentieth of what the whole series moves it, and by more than half of the last printed digit, (2) the whole
    series does not move it the right way by more than two standard errors, or (3) the strongest damage costs less than
    a tenth of the way from undamaged pictures to the base model. Series of which nothing is expected are neither passed
    nor failed.
    """
    found, sign = series.values(metric), expected(series, metric)

    def said(passed: bool | None, reason: str) -> Verdict:
        return Verdict(metric.id, series.id, passed, reason)

    if series.id not in metric.answers:
        return said(None, "nothing is expected")
    if not all(map(len, found)):
        return said(None, "no scores")
    whole, least = change(found[0], found[-1], noise), 0.5 * 10.0**-metric.digits
    for (a, b), (low, high) in zip(pairwise(found), pairwise(series.strengths), strict=True):
        step = change(a, b, noise)
        if sign * step.mean < -max(_error(step), STEP * abs(whole.mean), least):
            return said(False, f"from {low:g} to {high:g} it goes the wrong way by {_by(step, metric)}")
    if not math.isfinite(whole.error):
        return said(None, f"one value and no noise floor: {whole.mean:+.{metric.digits}f}".replace("-", "−"))
    if sign * whole.mean <= max(_error(whole), least):
        return said(False, f"all of the series moves it by only {_by(whole, metric)}")
    if series.of == "pictures":
        start, end = series.means(metric)[0], series.means(metric)[-1]
        left = position(end, measured.ends(metric, series)[0], start, metric)
        if left is not None and 1 - left < SHARE:
            return said(False, f"the strongest damage costs {100 * (1 - left):.0f} % of the way to the base model")
    return said(True, f"moved by {_by(whole, metric)}")


def noise_floor(repeats: Sequence[pd.DataFrame], metric: Metric) -> float:
    """Sample standard deviation of a metric's mean over the same adapter's repeats; NaN for fewer than two."""
    found = np.array([mean(table, metric) for table in repeats])
    found = found[np.isfinite(found)]
    return float(found.std(ddof=1)) if len(found) > 1 else math.nan


def margin(metric: Metric, noise: float) -> Verdict:
    """Whether the smallest difference that a metric declares to mean something is at least two noise floors."""
    if not math.isfinite(noise):
        return Verdict(metric.id, "margin", None, "no noise floor was measured")
    needed = f"{FLOORS * noise:.{metric.digits + 1}f}"
    if metric.least is None:
        return Verdict(metric.id, "margin", None, f"no smallest difference is declared; two noise floors are {needed}")
    passed = metric.least >= FLOORS * noise
    return Verdict(metric.id, "margin", passed, f"declared {metric.least:g}, two noise floors are {needed}")


def sees_copies(metric: Metric, copies: pd.DataFrame, real: pd.DataFrame, what: str) -> Verdict:
    """Whether copies of training pictures score worse than other real pictures, by more than two standard errors."""
    if "copies" not in metric.answers:
        return Verdict(metric.id, "copies", None, "nothing is expected")
    copied, others = values(copies, metric), values(real, metric)
    if len(copied) < 2 or len(others) < 2:
        return Verdict(metric.id, "copies", None, "no scores")
    sign = 1 if metric.direction == "lower" else -1
    error = math.hypot(*(float(v.std(ddof=1)) / math.sqrt(len(v)) for v in (copied, others)))
    more = Change(float(copied.mean() - others.mean()), error, len(copied))
    passed = sign * more.mean > _error(more)
    return Verdict(metric.id, "copies", passed, f"{what}: differs from other real pictures by {_by(more, metric)}")


def _error(step: Change) -> float:
    """Two standard errors; 0 where there is none to be had."""
    return ERRORS * step.error if math.isfinite(step.error) else 0.0


def _by(step: Change, metric: Metric) -> str:
    text = f"{step.mean:+.{metric.digits}f} (2 standard errors: {_error(step):.{metric.digits}f}, n = {step.n})"
    return text.replace("-", "−")
