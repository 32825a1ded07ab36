"""R[t, k] of all cells of a run as arrays, ready for plots: by stage, since learned, or by turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from cat_bench.results.measures.matrices import stage_array
from cat_bench.results.measures.subjects import Subject
from cat_bench.results.records.cell import Cell
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts import intervals
from cat_bench.results.verdicts.layout import Key, layout

Array = npt.NDArray[np.float64]
LEAST = 3  # cells; of two an interval is 13 times as wide as their difference, and would fill the plot


@dataclass(frozen=True)
class Curves:
    """R[t, k] of every cell of a run for one metric: per method (cells, stages 0..T, concepts in the run's order).

    keys: order and seed of those cells.
    """

    name: str
    values: dict[str, Array]
    turns: dict[str, Array]  # per method (cells, concepts): the stage at which each concept was learned, NaN if never
    floor: Array
    ceiling: Array
    keys: dict[str, tuple[Key, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, name: str) -> "Curves":
        """Collects the matrices of every cell that has a stage, whole or not."""
        values, turns, keys = {}, {}, {}
        for method in run.methods:
            there = [cell for cell in run.of(method) if cell.stages]
            if not there:
                continue
            cells, keys[method] = [Subject.of(run, cell) for cell in there], keys_of(there)
            values[method] = np.stack([stage_array(s.mean, name, run.concepts) for s in cells])
            order = [[s.concepts.index(c) + 1.0 if c in s.concepts else np.nan for c in run.concepts] for s in cells]
            turns[method] = np.array(order)
        return cls(name, values, turns, _means(run, run.floor(), name), _means(run, run.ceiling(), name), keys)

    @property
    def turn(self) -> Array:
        """The stage at which each concept is learned, where all cells agree; 0 for one that no cell reached."""
        return np.asarray(np.nanmax(np.concatenate(list(self.turns.values())), axis=0, initial=0))

    @property
    def learned(self) -> npt.NDArray[np.int64]:
        """The concepts' numbers in the order in which they are learned, where all cells agree; never learned last."""
        return np.argsort(np.where(self.turn > 0, self.turn, np.inf), kind="stable")

    @property
    def one_order(self) -> bool:
        """Whether every cell learns each concept at the same stage."""
        stacked = np.concatenate(list(self.turns.values()))
        return bool((np.isnan(stacked) | (stacked == self.turn)).all())


def _means(run: Run, rows: pd.DataFrame, name: str) -> Array:
    """(concepts,) mean of one metric over some rows of the long table."""
    means = rows[rows["metric"] == name].groupby("concept")["value"].mean()
    return means.reindex(list(run.concepts)).to_numpy(dtype=np.float64)


def keys_of(cells: Sequence[Cell]) -> tuple[Key, ...]:
    """Order and seed of each."""
    return tuple((cell.order, cell.seed) for cell in cells)


def mean_of(values: Array) -> Array:
    """Mean over the first axis, NaN where there is no value."""
    n = np.isfinite(values).sum(axis=0)
    return np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)


def mean_half(values: Array, keys: Sequence[Key] = ()) -> tuple[Array, Array]:
    """Of (cells, …) mean, and half the width of its 95 % interval for a new order and seed.

    0 where fewer than LEAST cells have a value. keys: order and seed of each cell; without any they are replicates.
    """
    flat, mean = values.reshape(len(values), -1), mean_of(values)
    half, there = np.zeros(flat.shape[1]), np.isfinite(flat)
    keys = keys or [(cell, cell) for cell in range(len(values))]
    patterns, which = np.unique(there, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if pattern.sum() >= LEAST:
            grid = layout(key for key, known in zip(keys, pattern, strict=True) if known).grid
            if sum(map(len, grid)) < LEAST:
                continue
            rows = np.array([[keys.index(key) for key in row] for row in grid])
            d = np.moveaxis(flat[:, which.ravel() == number][rows], -1, 0)
            found = intervals.crossed(d) if len(grid) > 1 else intervals.of_replicates(d[:, 0])
            half[which.ravel() == number] = found.half()
    return mean, half.reshape(mean.shape)


def since(values: Array, turns: Array) -> Array:
    """(cells, T + 1) by stage → (cells, T) by stages since each cell learned the concept."""
    out = np.full((values.shape[0], values.shape[1] - 1), np.nan)
    for row, (line, turn) in enumerate(zip(values, turns, strict=True)):
        if np.isfinite(turn):
            tail = line[int(turn) :]
            out[row, : len(tail)] = tail
    return out


def by_turn(values: Array, turns: Array) -> Array:
    """Columns of (cells, stages, concepts) put into the order in which each cell learned them."""
    order = np.argsort(np.where(np.isfinite(turns), turns, np.inf), axis=1, kind="stable")
    return np.take_along_axis(values, order[:, None, :], axis=2)
