"""What figures are computed for: one cell of a run, the untouched backbone (twice), or real images."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from cat_bench.results.measures import matrices
from cat_bench.results.records.cell import Cell
from cat_bench.results.records.long_table import BASE, OTHER_NOISE, REAL
from cat_bench.results.records.run_folder import Run
from cat_bench.results.records.totals import Totals

Role = Literal["method", "reference", "floor", "noise", "ceiling"]
NAN = float("nan")


@dataclass(frozen=True)
class Subject:
    """A cell or one of the reference rows, with what its scores come to.

    totals: of its rows of the long table, for a cell together with those of the base model, prompted as it is, as stage
    0. concepts: in the order in which they were learned. infos: stage.json of each stage, or the base model's alone.
    stages: which the run sampled.
    """

    role: Role
    totals: Totals
    concepts: tuple[str, ...]
    infos: Sequence[Mapping[str, Any]] = ()
    stages: str = "all"

    @classmethod
    def of(cls, run: Run, cell: Cell) -> "Subject":
        """One cell, as far as it came."""
        concepts, infos = tuple(s.concept for s in cell.stages), tuple(s.info for s in cell.stages)
        return cls("method", run.summed(cell), concepts, infos, run.sampled(cell.method))

    @classmethod
    def floor(cls, run: Run, method: str = BASE) -> "Subject":
        """The untouched backbone; method: BASE_TOKEN for its pictures without the class noun."""
        return cls("floor", run.still(method), run.concepts, (run.base_info,) if run.base_info else ())

    @classmethod
    def other_noise(cls, run: Run) -> "Subject":
        """The untouched backbone against itself, from other noise."""
        return cls("noise", run.still(OTHER_NOISE), run.concepts)

    @classmethod
    def ceiling(cls, run: Run) -> "Subject":
        """The references, scored against each other."""
        return cls("ceiling", run.still(REAL), run.concepts)

    @property
    def mean(self) -> pd.Series:
        """Mean value per (metric, stage, concept)."""
        return self.totals.mean

    @property
    def last(self) -> int:
        """The stage that the final scores are read at."""
        return len(self.concepts) if self.role == "method" else 0

    def matrix(self, name: str) -> pd.DataFrame:
        """R[t, k] with stage 0. Of what does not learn only stage 0 is filled."""
        return matrices.stage_matrix(self.mean, name, self.concepts)

    def values(self, name: str) -> matrices.Array:
        """The numbers of `matrix` alone, (T + 1, T)."""
        return matrices.stage_array(self.mean, name, self.concepts)

    def unsampled(self, name: str, of_square: Callable[[matrices.Array], float]) -> str | None:
        """Why a figure of R[1..T] is missing, if it reads stages and concepts that were not to be drawn; else None."""
        if self.stages == "all":
            return None
        there = pd.Series(0.0, index=self.mean.index)
        R = matrices.stage_array(there, name, self.concepts)  # NaN where there is no row at all
        return f"not sampled: --stages {self.stages}" if math.isnan(of_square(R[1:])) else None

    def final(self, name: str, stratum: str) -> float:
        """Score of a stratum after the last stage, NaN if there is none."""
        return float(self.mean.get((name, self.last, stratum), NAN))
