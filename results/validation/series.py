"""The same pictures, or the same adapter, at growing strengths, scored at each: values, their changes, their errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from cat_bench.results.measures.metrics import METRICS, Metric
from cat_bench.results.records.long_table import BASE, REAL
from cat_bench.results.scoring.scores import ALL

FOLD = "fold"  # a column beside those of the long table: which part of the references was judged by the others
NAN = float("nan")


@dataclass(frozen=True)
class Series:
    """Rows of the long table at each strength; the first is what nothing was done to.

    id: what metrics declare to answer to. of: what is changed. unit: what the strengths are, for the axis.
    """

    id: str
    title: str
    unit: str
    of: Literal["pictures", "adapter"]
    strengths: tuple[float, ...]
    tables: tuple[pd.DataFrame, ...]

    @cached_property
    def _values(self) -> dict[str, list[pd.Series]]:
        return {}

    def values(self, metric: Metric) -> list[pd.Series]:
        """A metric's values at each strength, by unit."""
        if metric.id not in self._values:
            self._values[metric.id] = [values(table, metric) for table in self.tables]
        return self._values[metric.id]

    def means(self, metric: Metric) -> list[float]:
        """Mean value at each strength; NaN where there is none."""
        return [float(found.mean()) if len(found) else NAN for found in self.values(metric)]


@dataclass(frozen=True)
class Measured:
    """All that was scored to test the instrument.

    series: damage and adapters. repeats: the same adapter's rows, each time from other evaluation noise. copies: rows
    of training pictures in place of generated ones, by what was done to them. reference: rows of the base model and of
    real pictures. facts: what was measured with, as key and text.
    """

    series: tuple[Series, ...]
    repeats: tuple[pd.DataFrame, ...]
    copies: Mapping[str, pd.DataFrame]
    reference: pd.DataFrame
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> Sequence[pd.DataFrame]:
        """Every table there is."""
        return (*(t for s in self.series for t in s.tables), *self.repeats, *self.copies.values(), self.reference)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The declared metrics that were scored, in the order of their declaration."""
        found = {str(name) for table in self.tables for name in table["metric"].unique()}
        return tuple(metric for metric in METRICS.values() if metric.id in found)

    def extractor(self, metric: Metric) -> str:
        """The model whose features a metric's scores were made of."""
        named = (t.loc[t["metric"] == metric.id, "extractor"] for t in self.tables)
        return next(str(column.iloc[0]) for column in named if len(column))

    @property
    def base(self) -> pd.DataFrame:
        """Rows of the base model."""
        return self.reference[self.reference["method"] == BASE]

    @property
    def real(self) -> pd.DataFrame:
        """Rows of real pictures."""
        return self.reference[self.reference["method"] == REAL]

    def ends(self, metric: Metric, series: Series | None = None) -> tuple[float, float]:
        """A metric's mean for the base model, and for real pictures (of preservation: for what changed nothing).

        series: only over the concepts and strata that it has.
        """
        among = set(series.tables[0]["concept"]) if series is not None else set(self.reference["concept"])
        floor, top = (mean(rows[rows["concept"].isin(among)], metric) for rows in (self.base, self.real))
        return floor, top


def values(table: pd.DataFrame, metric: Metric) -> pd.Series:
    """A metric's values by unit: an image, or a concept or stratum where a row is a whole set's; null rows left out.

    The strata together are no unit of their own.
    """
    rows = table[(table["metric"] == metric.id) & table["value"].notna()]
    if (rows["concept"] != ALL).any():
        rows = rows[rows["concept"] != ALL]
    fold = rows[FOLD] if FOLD in rows else pd.Series(0, index=rows.index, name=FOLD)
    units = pd.MultiIndex.from_frame(pd.concat([fold, rows[["concept", "prompt", "image"]]], axis=1))
    return pd.Series(rows["value"].to_numpy(dtype=np.float64), index=units)


def mean(table: pd.DataFrame, metric: Metric) -> float:
    """Mean over the units, NaN if there is none."""
    found = values(table, metric)
    return float(found.mean()) if len(found) else NAN


@dataclass(frozen=True)
class Change:
    """From one state to another: mean of the paired differences of n units, and the standard error of that mean."""

    mean: float
    error: float
    n: int


def change(before: pd.Series, after: pd.Series, noise: float = NAN) -> Change:
    """Differences unit by unit. One unit alone has no spread: its error is √2 · `noise`, the noise floor (NaN: none).

    noise: standard deviation of one mean; that of a difference of two is √2 times as large.
    """
    pairs = pd.concat([before, after], axis=1, join="inner")
    differences = (pairs.iloc[:, 1] - pairs.iloc[:, 0]).to_numpy(dtype=np.float64)
    n = len(differences)
    if n == 0:
        return Change(NAN, NAN, 0)
    error = float(differences.std(ddof=1)) / math.sqrt(n) if n > 1 else math.sqrt(2) * noise
    return Change(float(differences.mean()), error, n)


def position(value: float, floor: float, top: float, metric: Metric) -> float | None:
    """Where a value lies between the base model (0) and the best there is (1); None if the best is not the better."""
    way = top - floor if metric.direction == "higher" else floor - top
    if not math.isfinite(value + way) or way <= 10.0**-metric.digits:
        return None
    return (value - floor) / (top - floor)
