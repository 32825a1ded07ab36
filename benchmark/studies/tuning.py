"""Choose the methods' settings on a development sequence: the same small number of trials for each, one objective.

    python -m cat_bench.benchmark.studies.tuning --runs tuning

The objective was fixed before the first trial: the harmonic mean of two shares of the way from floor to ceiling, that
of CLIP-I averaged over the concepts at the end, and that of KPS, the mean of its strata `class` and `other` (all strata
together are mostly about the class). A method that learns nothing or keeps nothing gets 0.
What wins goes into the method's preset for the backbone; the table goes into docs/lab-log.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

SEQUENCE = "dev3"
IMAGES = 2  # for each prompt
SEEDS = (0, 1)  # one is not enough: the same settings on one and on two threads came out 0.36 and 0.17 for naive LoRA
# Every trial has the same steps: as many as let six methods learn five concepts in twelve minutes on two cores.
STEPS = 150
_LEARNING: tuple[Mapping[str, Any], ...] = tuple(
    {"lr": lr, "rank": rank} for rank in (4, 16) for lr in (5e-4, 1e-3, 2e-3)
)
TRIALS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "lora": _LEARNING,
    "merge": _LEARNING,
    "ortho": _LEARNING,
    "magmax": _LEARNING,
    "cat": tuple({"lr": lr, "weight": weight} for lr in (1e-3, 2e-3) for weight in (1.0, 3.0, 6.0)),
    "clora": tuple({"lr": lr, "weight": weight} for lr in (1e-3, 3e-3) for weight in (1e2, 1e4, 1e6)),
}


@dataclass(frozen=True)
class Trial:
    """A method's settings and what they came to on the development sequence."""

    method: str
    settings: Mapping[str, Any]
    fidelity: float  # CLIP-I average, share of floor to ceiling
    preservation: float  # KPS, mean of class and other, share of floor to 1
    accuracy: float
    seconds: float  # of training

    @property
    def objective(self) -> float:
        """Harmonic mean of the two shares, 0 if one is not positive."""
        return harmonic(self.fidelity, self.preservation)


def harmonic(a: float, b: float) -> float:
    """2ab / (a + b), 0 unless both are positive."""
    return 2 * a * b / (a + b) if a > 0 and b > 0 else 0.0


def trials(methods: list[str], runs: Path, backbone: str) -> Iterator[Trial]:
    """Run every trial of these methods; finished ones are only read."""
    from cat_bench.benchmark.execution.run import run
    from cat_bench.benchmark.planning.spec import resolve

    for method in methods:
        for number, settings in enumerate(TRIALS[method]):
            name = f"{SEQUENCE}-{method}-{number}"
            spec = resolve(
                {"sequence": SEQUENCE, "methods": (method,), "backbone": backbone, "seeds": SEEDS},
                {"images_per_prompt": IMAGES, "overrides": {method: {"steps": STEPS, **settings}}},
            )
            for _ in run(spec, runs, name):
                pass
            yield read_trial(runs / name, method, settings)


def read_trial(folder: Path, method: str, settings: Mapping[str, Any]) -> Trial:
    """What a finished run came to. Raises ResultError if it has no scores."""
    from cat_bench.results.errors import ResultError
    from cat_bench.results.measures.figure import KEPT
    from cat_bench.results.records.run_folder import Run
    from cat_bench.results.tables.summary import summarise

    rows = {row.name if row.role == "method" else row.role: row.values for row in summarise(Run.open(folder)).rows}

    def value(row: str, figure: str) -> float:
        mean = rows[row][figure].mean
        if mean is None:
            raise ResultError(f"{folder}: no {figure} for {row} ({rows[row][figure].reason})")
        return mean

    def share(figure: str, ceiling: float) -> float:
        floor = value("floor", figure)
        return (value(method, figure) - floor) / (ceiling - floor)

    fidelity = share("clip_i_average", value("ceiling", "clip_i_average"))
    accuracy, seconds = value(method, "concept_accuracy_average"), value(method, "seconds_train")
    return Trial(method, settings, fidelity, share(KEPT, 1.0), accuracy, seconds)


def main(
    method: Annotated[list[str] | None, typer.Option(help="A method; again for more.  [default: all six]")] = None,
    runs: Annotated[Path, typer.Option(help="Folder in which the trials' runs lie.")] = Path("tuning"),
    backbone: Annotated[str, typer.Option(help="Name or diffusers folder.")] = "avatars64.v2",
) -> None:
    """Try every setting and print a Markdown table, the best of each method in bold."""
    typer.echo("| method | settings | objective | CLIP-I share | KPS share | accuracy | training s |")
    typer.echo("| --- | --- | --- | --- | --- | --- | --- |")
    for name in method or list(TRIALS):
        found = list(trials([name], runs, backbone))
        best = max(found, key=lambda trial: trial.objective)
        for trial in found:
            mark = "**" if trial is best else ""
            settings = ", ".join(f"{key} {value:g}" for key, value in trial.settings.items())
            figures = f"{trial.fidelity:.3f} | {trial.preservation:.3f} | {trial.accuracy:.3f} | {trial.seconds:.0f}"
            typer.echo(f"| {name} | {settings} | {mark}{trial.objective:.3f}{mark} | {figures} |")


if __name__ == "__main__":
    typer.run(main)
