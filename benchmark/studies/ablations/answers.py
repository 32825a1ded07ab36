"""What pairs of variants come to: differences by replicate, an answer in a sentence, the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cat_bench.benchmark.studies.ablations.asked import Asked

if TYPE_CHECKING:
    from cat_bench.results.records.run_folder import Run

# What is compared, by what it is called; more is better in all.
FIGURES = {
    "part_accuracy_average": "part accuracy",
    "clip_i_average": "CLIP-I",
    "concept_accuracy_average": "concept accuracy",
    "clip_i_plasticity": "CLIP-I just after learning",
    "clip_i_bwt": "backward transfer of CLIP-I",
    "kps_class": "KPS of the class",
    "kps_other": "KPS of what is none of it",
}
Values = Mapping[str, Mapping[tuple[int, int], float]]  # by figure and (order, seed)

_HEAD = """# What each method's own idea adds

Made by `python -m cat_bench.benchmark.studies.ablations --replicates {n}`: {about}.

Differences are paired by replicate (order r with training seed r, the same noise for both variants): their mean, and
the interval of 95 % by Student's t with n − 1 degrees of freedom. The answers are written by rule: where the interval
excludes 0 the idea *adds* or *costs*; elsewhere *no difference can be told*, which is not the same as no difference. No
interval is widened for the number of questions: of twenty that ask about nothing, one excludes 0.

Accuracies and CLIP-I are means over all concepts after the last stage. Backward transfer is the mean change of a
concept's CLIP-I from its own stage to the last: negative where it was forgotten.
"""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, with its interval; NaN for less than two."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, one: Mapping[tuple[int, int], float], other: Mapping[tuple[int, int], float]) -> Difference:
        """one − other, over the replicates that both have."""
        from cat_bench.results.verdicts.comparison import paired_differences
        from cat_bench.results.verdicts.intervals import of_replicates

        both = [d for d in paired_differences(one, other).values() if math.isfinite(d)]
        if not both:
            return cls(math.nan, math.nan, math.nan, 0)
        found = of_replicates(both)
        low, high = (float(end) for end in found.limits())
        return cls(float(found.mean), low, high, len(both))

    @property
    def sign(self) -> int:
        """1 or −1 if the interval excludes 0, else 0."""
        return (self.low > 0) - (self.high < 0)


def answer(idea: str, found: Mapping[str, Difference]) -> str:
    """One sentence on the figures that there are."""
    known = {figure: one for figure, one in found.items() if math.isfinite(one.low)}
    if not known:
        return f"{idea}: fewer than two replicates say nothing."
    parts = []
    for sign, verb in ((1, "adds"), (-1, "costs")):
        told = [_told(figure, one) for figure, one in known.items() if one.sign == sign]
        parts += [f"{verb} {_listed(told)}"] if told else []
    rest = [FIGURES[figure] for figure, one in known.items() if not one.sign]
    if not parts:
        return f"{idea}: no difference can be told in any figure."
    undecided = f"; no difference can be told in {_listed(rest)}" if rest else ""
    return f"{idea} {' and '.join(parts)}{undecided}."


def page(asked: Sequence[Asked], folder: Path, twins: tuple[str, str], twin: Path) -> str:
    """The whole of it from two finished runs: all variants, and once the two labels that must agree.

    Raises ResultError if there is nothing to read.
    """
    from cat_bench.results.records.run_folder import Run

    run = Run.open(folder)
    lines = [_HEAD.format(n=len(run.of(run.methods[0])), about=_about(run))]
    for about, questions in groupby(asked, key=lambda question: question.about):
        lines += [f"## {about}", ""]
        for question in questions:
            lines += [*_section(run, question), ""]
    lines += ["## CAT without its term", "", _agreement(Run.open(twin), *twins), ""]
    lines += [
        "## Settings",
        "",
        "| variant | learning rate | rank | steps | layers |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *_settings(run)]) + "\n"


def values(run: Run, label: str) -> Values:
    """The figures of a variant's cells that are whole; NaN where one has none."""
    from cat_bench.results.measures.available import metrics_of, strata_of
    from cat_bench.results.measures.figures import figures
    from cat_bench.results.measures.subjects import Subject

    declared = {figure.id: figure for figure in figures(strata_of(run), {m.id for m in metrics_of(run)})}
    cells = {(c.order, c.seed): Subject.of(run, c) for c in run.of(label) if run.complete(c)}
    wanted = {name: declared[name].compute for name in FIGURES if name in declared}
    return {name: {key: compute(cell)[0] for key, cell in cells.items()} for name, compute in wanted.items()}


def _section(run: Run, asked: Asked) -> Iterator[str]:
    one, other = asked.one, asked.other
    yield f"### {asked.question}"
    yield ""
    if one == other:
        yield f"Both are `{one}` on this backbone: nothing is to be told apart."
        return
    ours, theirs = values(run, one), values(run, other)
    found = {figure: Difference.of(ours[figure], theirs[figure]) for figure in ours}
    yield f"**{answer(asked.idea, found)}**"
    yield ""
    yield f"| | `{one}` | `{other}` | difference | 95 % interval | n |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for figure, d in found.items():
        means = " | ".join(_number(_mean(table[figure])) for table in (ours, theirs))
        yield f"| {FIGURES[figure]} | {means} | {_signed(d.mean)} | {_interval(d)} | {d.n} |"


def _agreement(run: Run, one: str, other: str) -> str:
    """What the two variants that must agree came to."""
    ours, theirs = values(run, one), values(run, other)
    apart = [abs(ours[f][key] - theirs[f][key]) for f in ours for key in ours[f] if key in theirs[f]]
    largest = max((gap for gap in apart if math.isfinite(gap)), default=math.nan)
    same = "equal to the last digit in all figures above" if largest == 0 else f"apart by at most {largest:.2g}"
    return (
        f"`{one}` and `{other}` are the same method by their formulas. Run once each (order 0, seed 0) they are {same}."
    )


def _about(run: Run) -> str:
    spec, sequence, made = run.info["spec"], run.info["sequence"], run.info["versions"]
    settings = ", ".join(f"{key} {value}" for key, value in spec["sampler"].items() if key not in ("name", "batch"))
    drawn = (
        f"{spec['images_per_prompt']} images a prompt, stages {spec['stages']}, {spec['sampler']['name']} ({settings})"
    )
    return (
        f"`{sequence['id']}.v{sequence['version']}` on `{run.info['backbone']['id']}`, {drawn}, torch {made['torch']}"
    )


def _settings(run: Run) -> Iterator[str]:
    for label, facts in run.info["methods"].items():
        config = facts["config"]
        layers = ", ".join(config["targets"])
        yield f"| `{label}` | {config['lr']:g} | {config['rank']} | {config['steps']} | {layers} |"


def _told(figure: str, d: Difference) -> str:
    low, high = sorted((abs(d.low), abs(d.high)))
    return f"{FIGURES[figure]} ({abs(d.mean):.3f}, {low:.3f} to {high:.3f})"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _mean(found: Mapping[tuple[int, int], float]) -> float:
    there = [value for value in found.values() if math.isfinite(value)]
    return float(np.mean(there)) if there else math.nan


def _number(value: float, sign: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{sign}.3f}".replace("-", "−")


def _signed(value: float) -> str:
    return _number(value, "+")


def _interval(d: Difference) -> str:
    return "–" if math.isnan(d.low) else f"{_signed(d.low)} to {_signed(d.high)}"
