"""Which cells of two methods belong together, and what chance they share: replicates, or orders crossed with seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cat_bench.results.verdicts.verdict import LEAST

Key = tuple[int, int]  # order and seed


@dataclass(frozen=True)
class Layout:
    """The cells that are used. grid: one row of replicates, or (orders, seeds) if every order met every seed.

    left_out: cells that fit into neither.
    """

    grid: tuple[tuple[Key, ...], ...]
    left_out: int = 0

    @property
    def crossed(self) -> bool:
        """Whether orders and seeds are two ways of chance, to be told apart."""
        return len(self.grid) > 1

    @property
    def keys(self) -> tuple[Key, ...]:
        """All cells that are used."""
        return tuple(key for row in self.grid for key in row)


def layout(found: Iterable[Key]) -> Layout:
    """How cells stand to each other.

    Independent replicates: an order and a seed drawn together, no order and no seed twice; or one order with several
    seeds, or one seed with several orders. Crossed: every order with every seed, more than one of each. Cells that are
    neither (one of a grid is lost): whichever leaves fewer out of a grid that is had by leaving out orders and seeds,
    the one with the largest share of cells missing first, and the most cells with no order and no seed twice. Of equals
    a grid goes first. Before one order or one seed those go as soon as they are enough for a verdict.
    """
    keys = sorted(set(found))
    orders, seeds = sorted({o for o, _ in keys}), sorted({s for _, s in keys})
    if min(len(orders), len(seeds)) < 2 or len(keys) == len(orders) == len(seeds):
        return Layout((tuple(keys),))
    there = np.array([[(o, s) in set(keys) for s in seeds] for o in orders])
    rows, columns = _grid(there)
    grid = tuple(tuple((orders[i], seeds[j]) for j in columns) for i in rows)
    crossed = min(len(rows), len(columns)) > 1
    if not crossed:
        grid = (tuple(key for row in grid for key in row),)
    alone = tuple((orders[i], seeds[j]) for i, j in _matching(there))
    size = sum(map(len, grid))
    better = len(alone) > size if crossed else len(alone) >= min(size, LEAST)
    chosen = (alone,) if better else grid
    return Layout(chosen, len(keys) - sum(map(len, chosen)))


def _grid(there: np.ndarray) -> tuple[list[int], list[int]]:
    """Rows and columns of a whole grid: what lacks the largest share of its cells goes first, of equals the last."""
    rows, columns = list(range(there.shape[0])), list(range(there.shape[1]))
    while not (part := there[np.ix_(rows, columns)]).all():
        row, column = 1 - part.mean(axis=1), 1 - part.mean(axis=0)
        if row.max() >= column.max():
            del rows[len(rows) - 1 - int(row[::-1].argmax())]
        else:
            del columns[len(columns) - 1 - int(column[::-1].argmax())]
    return rows, columns


def _matching(there: np.ndarray) -> list[tuple[int, int]]:
    """The most cells of which no two share a row or a column."""
    from scipy.optimize import linear_sum_assignment  # takes a while to import, and is seldom needed

    rows, columns = linear_sum_assignment(there, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if there[i, j]]
