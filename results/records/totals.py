"""What is kept of a table of scores: all that figures, tables and plots are made of. Its rows are let go.

Here, and nowhere else, a cell's rows become numbers: a run of many cells is summed up stage by stage and never lies in
memory as a whole.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

_TEXTS = ("metric", "concept", "extractor", "seen", "reason")
NEEDED = ("schema_version", "stage", "value", *_TEXTS)
_LEVELS = ["metric", "stage", "concept"]
_NOTHING = pd.Series(dtype=np.float64, index=pd.MultiIndex.from_arrays([[], [], []], names=_LEVELS))


@dataclass(frozen=True)
class Totals:
    """A table of scores, summed up. All is in the order in which it first appears in the table.

    mean: by (metric, stage, concept) over prompts and images, null rows left out, NaN where all are null. pooled: by
    metric over all rows of the last stage. seen: by (concept asked for, who was seen) how many pictures of the last
    stage. missing: by (metric, reason) how many rows are null. judges: (metric, extractor). size: how many rows.
    """

    size: int = 0
    mean: pd.Series = field(default_factory=lambda: _NOTHING, repr=False)
    pooled: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[tuple[str, str], int] = field(default_factory=dict)
    missing: Mapping[tuple[str, str], int] = field(default_factory=dict)
    judges: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, table: pa.Table) -> "Totals":
        """Sums up rows of the long table, of which the columns NEEDED will do."""
        if not table.num_rows:
            return cls()
        metric, concept, extractor, seen, reason = (_Coded.of(table[name]) for name in _TEXTS)
        value = table["value"].to_numpy().astype(np.float64)
        stages, stage = np.unique(table["stage"].to_numpy(), return_inverse=True)
        group = (metric.codes * len(stages) + stage) * len(concept.names) + concept.codes
        mean = pd.Series(value).groupby(group, sort=False).mean()
        rest, place = np.divmod(mean.index.to_numpy(), len(concept.names))
        levels, codes = [metric.names, stages, concept.names], [*np.divmod(rest, len(stages)), place]
        mean.index = pd.MultiIndex(levels, codes, names=_LEVELS, verify_integrity=False)  # type: ignore[arg-type]
        last = stage == len(stages) - 1
        of_metric = {name: metric.codes == code for code, name in enumerate(metric.names)}
        judged = last & of_metric.get("concept_accuracy", np.False_)
        return cls(
            size=table.num_rows,
            mean=mean,
            pooled={name: _mean(value[last & rows]) for name, rows in of_metric.items()},
            seen=_pairs(concept, seen, judged),
            missing=_pairs(metric, reason, np.isnan(value)),
            judges=tuple(_pairs(metric, extractor)),
        )

    @classmethod
    def joined(cls, parts: Iterable["Totals"]) -> "Totals":
        """Of tables whose stages differ, those of the latest last."""
        parts = [part for part in parts if part.size]
        if len(parts) < 2:
            return parts[0] if parts else cls()
        missing: Counter[tuple[str, str]] = Counter()
        for part in parts:
            missing.update(part.missing)
        return cls(
            size=sum(part.size for part in parts),
            mean=_stacked([part.mean for part in parts]),
            pooled=parts[-1].pooled,
            seen=parts[-1].seen,
            missing=missing,
            judges=tuple(dict.fromkeys(judge for part in parts for judge in part.judges)),
        )

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Those that there are rows of."""
        return tuple(dict.fromkeys(metric for metric, _ in self.judges))

    @cached_property
    def valued(self) -> frozenset[str]:
        """The metrics that there is any value of."""
        return frozenset(self.mean.index.get_level_values("metric")[self.mean.notna()])

    def concepts(self, metric: str) -> tuple[str, ...]:
        """What there are rows of a metric of."""
        rows = self.mean.index.get_level_values("metric") == metric
        return tuple(dict.fromkeys(self.mean.index.get_level_values("concept")[rows]))

    def reason(self, metric: str) -> str | None:
        """The first that a null row of a metric has."""
        return next((why for name, why in self.missing if name == metric), None)


@dataclass(frozen=True)
class _Coded:
    """A column of texts as numbers (n,), −1 for null, and what each stands for."""

    codes: npt.NDArray[np.int64]
    names: list[str]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "_Coded":
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        whole = column.unify_dictionaries().combine_chunks()
        return cls(whole.indices.fill_null(-1).to_numpy().astype(np.int64), whole.dictionary.to_pylist())


def _pairs(
    first: _Coded, second: _Coded, rows: npt.NDArray[np.bool_] | slice = slice(None)
) -> dict[tuple[str, str], int]:
    """How many rows there are of each pair, those without a second left out."""
    chosen, there = first.codes[rows], second.codes[rows]
    size = max(len(second.names), 1)
    codes, pairs = pd.factorize((chosen * size + there)[there >= 0])
    counts = np.bincount(codes, minlength=len(pairs)).tolist()
    return {(first.names[p // size], second.names[p % size]): n for p, n in zip(pairs.tolist(), counts, strict=True)}


def _stacked(means: Sequence[pd.Series]) -> pd.Series:
    """One below the other, by the numbers of their indices: `pd.concat` compares names, which takes far longer."""
    levels: list[dict[Any, int]] = [{} for _ in _LEVELS]
    codes: list[list[npt.NDArray[np.int64]]] = [[] for _ in _LEVELS]
    for mean in means:
        index = mean.index
        assert isinstance(index, pd.MultiIndex)
        for known, found, names, own in zip(levels, codes, index.levels, index.codes, strict=True):
            found.append(np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)[own])
    stacked = [np.concatenate(found) for found in codes]
    index = pd.MultiIndex([list(known) for known in levels], stacked, names=_LEVELS)  # type: ignore[arg-type]
    return pd.Series(np.concatenate([mean.to_numpy() for mean in means]), index)


def _mean(values: npt.NDArray[np.float64]) -> float:
    there = ~np.isnan(values)
    return float(np.where(there, values, 0.0).sum() / there.sum()) if there.any() else float("nan")
