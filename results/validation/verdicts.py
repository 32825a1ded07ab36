"""Every verdict on every metric, and how the metrics agree with each other."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from cat_bench.results.measures.metrics import Metric
from cat_bench.results.validation.rule import Verdict, follows, margin, noise_floor, sees_copies
from cat_bench.results.validation.series import Measured, mean


@dataclass(frozen=True)
class Judgement:
    """What was measured, judged."""

    measured: Measured

    @property
    def tests(self) -> tuple[str, ...]:
        """Ids of all tests, in order."""
        return (*(series.id for series in self.measured.series), "margin", "copies")

    @cached_property
    def noise(self) -> dict[str, float]:
        """The noise floor of each metric."""
        return {metric.id: noise_floor(self.measured.repeats, metric) for metric in self.measured.metrics}

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each metric and test."""
        return tuple(verdict for metric in self.measured.metrics for verdict in self._of(metric))

    def _of(self, metric: Metric) -> list[Verdict]:
        noise, measured = self.noise[metric.id], self.measured
        # Pictures that are only damaged are not drawn anew: no noise of evaluation is in them.
        found = [follows(s, metric, measured, noise if s.of == "adapter" else np.nan) for s in measured.series]
        found.append(margin(metric, noise))
        copies = [sees_copies(metric, table, measured.real, what) for what, table in measured.copies.items()]
        found += sorted(copies, key=lambda verdict: verdict.passed is not False)[:1]  # one that fails, if one does
        return found

    def verdict(self, metric: str, test: str) -> Verdict | None:
        """Of one metric in one test."""
        return next((v for v in self.verdicts if (v.metric, v.test) == (metric, test)), None)

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """Those that failed."""
        return tuple(verdict for verdict in self.verdicts if verdict.passed is False)

    @cached_property
    def adapters(self) -> pd.DataFrame:
        """Mean of each metric for each adapter of the adapters' series, (adapters, metrics).

        A series' first adapter that another series has as well counts once.
        """
        found: dict[int, pd.DataFrame] = {}
        for series in self.measured.series:
            if series.of == "adapter":
                found |= {id(table): table for table in series.tables}
        columns = {
            metric.id: [float(v) for v in _means(list(found.values()), metric)] for metric in self.measured.metrics
        }
        return pd.DataFrame(columns)

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """Spearman's rank correlation of each pair of metrics over the adapters; 1: they rank them alike.

        Metrics of which less is better count negated, so that 1 always means agreement. NaN where a metric is the same
        for all adapters, or missing for one.
        """
        signs = {m.id: 1.0 if m.direction == "higher" else -1.0 for m in self.measured.metrics}
        table = self.adapters * pd.Series(signs)
        names = list(table.columns)
        found = pd.DataFrame(np.nan, index=names, columns=names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what does not vary, which is NaN here and says so
            for a in names:
                for b in names:
                    if len(table) > 2 and table[[a, b]].notna().all().all():
                        found.loc[a, b] = float(spearmanr(table[a].round(9), table[b].round(9)).statistic)
        return found


def _means(tables: list[pd.DataFrame], metric: Metric) -> list[float]:
    return [mean(table, metric) for table in tables]
