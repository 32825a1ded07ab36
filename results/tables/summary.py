"""One row a method, with the reference rows: every figure as value, interval and n, or null with the reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from cat_bench.results.measures.available import metrics_of, strata_of
from cat_bench.results.measures.figures import Figure, Outcome, figures
from cat_bench.results.measures.marks import footnote
from cat_bench.results.measures.subjects import Role, Subject
from cat_bench.results.records.long_table import BASE, BASE_TOKEN, OTHER_NOISE, REAL
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts.comparison import estimate, paired_differences
from cat_bench.results.verdicts.layout import Key

ALONE: Key = (0, 0)  # of what was not learned, and is there once


@dataclass(frozen=True)
class Value:
    """A figure over n cells: mean, sample standard deviation (None when n < 2), and the reason if there is no mean.

    half: half the width of the mean's 95 % interval for a new order and seed (None when n < 2). cells: the figure of
    each cell by order and seed.
    """

    mean: float | None
    std: float | None
    n: int
    reason: str | None = None
    half: float | None = None
    cells: Mapping[Key, float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, outcomes: Mapping[Key, Outcome], nothing: str) -> "Value":
        """Sums up one figure of several cells; those without a value are left out and lower n."""
        cells = {key: value for key, (value, _) in outcomes.items() if math.isfinite(value)}
        reason = next((why for value, why in outcomes.values() if why and not math.isfinite(value)), None)
        if not cells:
            return cls(None, None, 0, reason or nothing)
        values = np.array(list(cells.values()))
        if len(values) == 1:
            return cls(float(values[0]), None, 1, reason, cells=cells)
        half = float(estimate(cells)[0].half())
        return cls(float(values.mean()), float(values.std(ddof=1)), len(values), reason, half, cells)


@dataclass(frozen=True)
class Row:
    """One line of every table. `cells` of `planned` went through the whole sequence.

    role: "reference" is a method that does what no continual method may: a bound, which is never ranked. carries: what
    a method takes from concept to concept, in its own words.
    """

    name: str
    role: Role
    cells: int
    planned: int
    values: dict[str, Value]
    carries: str = ""

    @property
    def title(self) -> str:
        """How tables call it."""
        if self.role == "reference":
            return f"reference: {self.name}"
        if self.name == BASE_TOKEN:
            return "floor: base model, prompted without the noun"
        titles = {"floor": "floor: base model", "noise": "base model, other noise", "ceiling": "ceiling: real images"}
        return titles.get(self.role, self.name)


@dataclass(frozen=True)
class Summary:
    """The whole table: floor and other noise first, then the methods in the order of the run, ceiling last.

    doubts: by metric why it is not to be trusted, where it failed a test of the instrument. stages: which were sampled.
    replicated: the cells of a method are replicates, another order and another seed each.
    """

    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    doubts: Mapping[str, str] = field(default_factory=dict)
    stages: str = "all"
    replicated: bool = False

    @property
    def methods(self) -> tuple[Row, ...]:
        """The rows that learn and are ranked."""
        return tuple(row for row in self.rows if row.role == "method")

    @property
    def learning(self) -> tuple[Row, ...]:
        """The rows that learn, the references among them."""
        return tuple(row for row in self.rows if row.role in ("method", "reference"))

    def figure(self, name: str) -> Figure:
        """The declared figure of that id."""
        return next(f for f in self.figures if f.id == name)

    def best(self, figure: Figure) -> dict[str, str]:
        """Methods to mark: "best" for the best mean, "tie" for those that cannot be told from it.

        A tie is a difference from the best whose 95 % interval, paired by order and seed, does not lie on the worse
        side of 0; with one pair there is no interval and only what prints alike ties. If all tie, none is marked.
        Nothing is adjusted for the number of methods: `verdicts` is the test.
        """
        known = {row.name: row.values[figure.id] for row in self.methods if row.values[figure.id].mean is not None}
        if figure.direction is None or len(known) < 2:
            return {}
        means = {name: float(value.mean or 0.0) for name, value in known.items()}
        top = (max if figure.direction == "higher" else min)(means, key=lambda name: means[name])
        marks = {top: "best"}
        for name, value in known.items():
            same = round(means[name], figure.digits) == round(means[top], figure.digits)
            if name != top and (same or not _worse(value, known[top], figure.direction == "higher")):
                marks[name] = "tie"
        return marks if len(marks) < len(known) else {}

    def frame(self) -> pd.DataFrame:
        """Wide table for summary.csv: per figure the columns `id`, `id.std`, `id.half`, `id.n`, `id.reason`."""
        lines = []
        for row in self.rows:
            line: dict[str, object] = {"method": row.name, "role": row.role, "cells": row.cells, "planned": row.planned}
            for figure in self.figures:
                value = row.values[figure.id]
                line[figure.id] = value.mean
                line |= {f"{figure.id}.std": value.std, f"{figure.id}.half": value.half, f"{figure.id}.n": value.n}
                line[f"{figure.id}.reason"] = value.reason
            lines.append(line)
        return pd.DataFrame(lines)


def summarise(run: Run) -> Summary:
    """Computes every figure for every method of the run. Only cells that went through the whole sequence count."""
    declared = figures(strata_of(run), {m.id for m in metrics_of(run)})
    missing = run.base_reason or "not scored"
    floor, ceiling = Subject.floor(run), Subject.ceiling(run)
    rows = [_row(BASE, "floor", {ALONE: floor} if floor.totals.size else {}, 1, declared, missing)]
    without_noun = Subject.floor(run, BASE_TOKEN)
    if without_noun.totals.size:
        rows.append(_row(BASE_TOKEN, "floor", {ALONE: without_noun}, 1, declared, missing))
    noise = Subject.other_noise(run)
    if noise.totals.size:
        rows.append(_row(OTHER_NOISE, "noise", {ALONE: noise}, 1, declared, missing))
    said = {method: run.described.get(method, {}) for method in run.methods}
    for method in sorted(run.methods, key=lambda method: bool(said[method].get("reference"))):
        cells = run.of(method)
        subjects = {(cell.order, cell.seed): Subject.of(run, cell) for cell in cells if run.complete(cell)}
        why = next((f"{cell.status}: {cell.reason}" for cell in cells if not run.complete(cell)), "no cells")
        role: Role = "reference" if said[method].get("reference") else "method"
        row = _row(method, role, subjects, len(cells), declared, why)
        rows.append(replace(row, carries=str(said[method].get("carries") or "")))
    rows.append(_row(REAL, "ceiling", {ALONE: ceiling} if ceiling.totals.size else {}, 1, declared, missing))
    return Summary(declared, tuple(rows), doubts(run), run.stages, run.replicated)


def doubts(run: Run) -> dict[str, str]:
    """By metric the tests of the instrument that it fails with the models this run's scores were made by."""
    found: dict[str, list[str]] = {}
    for metric, model in run.judges:
        if text := footnote(metric, model):
            found.setdefault(metric, []).append(text)
    return {metric: " ".join(texts) for metric, texts in found.items()}


def _worse(value: Value, best: Value, higher: bool) -> bool:
    """Whether the interval of the paired differences lies on the worse side of 0; with one pair it counts as such."""
    paired = paired_differences(value.cells, best.cells)
    if len(paired) < 2:
        return True
    low, high = estimate(paired)[0].limits()
    return bool(high < 0 if higher else low > 0)


def _row(
    name: str, role: Role, subjects: Mapping[Key, Subject], planned: int, declared: tuple[Figure, ...], nothing: str
) -> Row:
    values = {
        figure.id: Value.of({key: figure.compute(s) for key, s in subjects.items()}, nothing) for figure in declared
    }
    return Row(name, role, len(subjects), planned, values)
