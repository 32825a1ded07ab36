"""What settings came to on the development sequence, read off finished runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from cat_bench.benchmark.tuning.protocol import Settings, label

if TYPE_CHECKING:
    from cat_bench.results.measures.subjects import Subject
    from cat_bench.results.records.run_folder import Run

# What stands beside the objective and decides nothing, by figure.
BESIDE = {
    "part_accuracy_average": "parts",
    "concept_accuracy_average": "accuracy",
    "readable_average": "readable",
    "seconds_train": "training s",
}


@dataclass(frozen=True)
class Outcome:
    """One cell: order r with training seed r.

    fidelity      CLIP-I average at the end, as a share of the way from floor to ceiling
    preservation  KPS, mean of class and other, as a share of the way from floor to 1
    beside        the figures of BESIDE; NaN where there is none
    """

    replicate: int
    fidelity: float
    preservation: float
    beside: Mapping[str, float]

    @property
    def objective(self) -> float:
        """Harmonic mean of the two shares, 0 unless both are positive; NaN if one is."""
        a, b = self.fidelity, self.preservation
        if math.isnan(a + b):
            return math.nan
        return 2 * a * b / (a + b) if a > 0 and b > 0 else 0.0


@dataclass(frozen=True)
class Trial:
    """A method's settings with what their cells came to. trouble: why a cell has no figures, if one has none."""

    settings: Settings
    outcomes: tuple[Outcome, ...] = ()
    trouble: str | None = None

    @property
    def objectives(self) -> tuple[float, ...]:
        """Of the replicates that have one."""
        return _finite(outcome.objective for outcome in self.outcomes)

    @property
    def objective(self) -> float:
        """Mean over the replicates, NaN if none has one."""
        return _mean(self.objectives)

    @property
    def first(self) -> float:
        """Of replicate 0, which all settings have, NaN if it has none."""
        return _mean(outcome.objective for outcome in self.outcomes if outcome.replicate == 0)

    @property
    def spread(self) -> float:
        """Sample standard deviation of the objective, NaN for less than two replicates."""
        return stdev(self.objectives) if len(self.objectives) > 1 else math.nan

    @property
    def fidelity(self) -> float:
        """Mean over the replicates."""
        return _mean(outcome.fidelity for outcome in self.outcomes)

    @property
    def preservation(self) -> float:
        """Mean over the replicates."""
        return _mean(outcome.preservation for outcome in self.outcomes)

    def beside(self, figure: str) -> float:
        """Mean over the replicates that have it, NaN if none has."""
        return _mean(outcome.beside[figure] for outcome in self.outcomes)


def _finite(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(value for value in values if math.isfinite(value))


def _mean(values: Iterable[float]) -> float:
    found = _finite(values)
    return fmean(found) if found else math.nan


def best(trials: Sequence[Trial], count: int) -> tuple[Trial, ...]:
    """Those of highest mean objective; of equals the earlier one, what has none last."""
    return tuple(sorted(trials, key=lambda trial: -trial.objective if trial.objectives else 1.0)[:count])


def read_trials(folder: Path, method: str, tried: Sequence[Settings]) -> tuple[Trial, ...]:
    """What a run of a method came to, for each of the settings. Raises ResultError if nothing was scored."""
    from cat_bench.results.records.run_folder import Run

    run = Run.open(folder)
    return tuple(_trial(run, label(method, settings), settings) for settings in tried)


def _trial(run: Run, named: str, settings: Settings) -> Trial:
    from cat_bench.results.measures.subjects import Subject

    trial = Trial(settings)
    for cell in run.of(named):
        if not run.complete(cell):
            trial = replace(trial, trouble=f"order {cell.order}, seed {cell.seed}: {cell.status}: {cell.reason}")
            continue
        outcome, why = _outcome(run, Subject.of(run, cell), cell.seed)
        trial = replace(trial, outcomes=(*trial.outcomes, outcome), trouble=why or trial.trouble)
    return trial


def _outcome(run: Run, cell: Subject, replicate: int) -> tuple[Outcome, str | None]:
    from cat_bench.results.measures.available import metrics_of, strata_of
    from cat_bench.results.measures.figure import KEPT
    from cat_bench.results.measures.figures import figures
    from cat_bench.results.measures.subjects import Subject

    declared = {figure.id: figure for figure in figures(strata_of(run), {m.id for m in metrics_of(run)})}
    missing: list[str] = []

    def value(subject: Subject, name: str) -> float:
        found, why = declared[name].compute(subject)
        missing.extend([f"no {name}: {why}"] if why else [])
        return found

    def share(name: str, low: float, top: float) -> float:
        return (value(cell, name) - low) / (top - low)

    likeness = "clip_i_average"
    untouched = float(cell.matrix("clip_i").to_numpy()[0].mean())  # prompted as the cell is
    fidelity = share(likeness, untouched, value(Subject.ceiling(run), likeness))
    preservation = share(KEPT, value(Subject.floor(run), KEPT), 1.0)
    beside = {name: declared[name].compute(cell)[0] if name in declared else math.nan for name in BESIDE}
    return Outcome(replicate, fidelity, preservation, beside), missing[0] if missing else None
