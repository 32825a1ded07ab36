"""Submissions that may stand in one table, as one run: of the same sequence, models and protocol."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cat_bench.results.leaderboard.pack import Submission
from cat_bench.results.leaderboard.pictures import Shown
from cat_bench.results.leaderboard.record import Method, RunRecord
from cat_bench.results.measures.metrics import METRICS
from cat_bench.results.records.cell import Stage
from cat_bench.results.records.long_table import BASE, BASE_TOKEN
from cat_bench.results.records.run_folder import Run

_USUAL = "lora"  # what others are compared with, where somebody handed it in
_APART = 0.01  # by which base models on two machines may differ, in a mean on a scale of 1


@dataclass(frozen=True)
class Entry:
    """A method of a submission. name: what tables call it, its label if nobody else handed in one of that label."""

    name: str
    label: str
    submission: Submission

    @property
    def method(self) -> Method:
        """What run.json says of it."""
        return self.submission.record.methods[self.label]

    @property
    def grid(self) -> Shown | None:
        """Its images, None if none were handed in."""
        return self.submission.grids.get(self.label)


@dataclass(frozen=True)
class Group:
    """Entries that may stand in one table, those of the submission that was given first to begin with."""

    record: RunRecord  # of the first
    entries: tuple[Entry, ...]

    @property
    def submissions(self) -> tuple[Submission, ...]:
        """Each once, in order."""
        return tuple({entry.submission.name: entry.submission for entry in self.entries}.values())

    @property
    def key(self) -> tuple[str, ...]:
        """What is equal where entries may stand in one table."""
        r = self.record
        return (r.sequence.name, r.backbone.id, r.backbone.fingerprint, r.metric_model.fingerprint, r.protocol)

    @property
    def slug(self) -> str:
        """Name of its page, which no other group has."""
        words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.record.sequence.name}-{self.record.backbone.id}")
        return f"{words}-{hashlib.sha256(repr(self.key).encode()).hexdigest()[:16]}"

    @property
    def cells(self) -> int:
        """How many there are of all entries."""
        return sum(len(entry.submission.record.spec.pairs) for entry in self.entries)


def grouped(submissions: Sequence[Submission]) -> tuple[Group, ...]:
    """By sequence, backbone, metric model and protocol; groups in the order of their names."""
    found: dict[tuple[str, ...], list[Submission]] = {}
    for one in submissions:
        found.setdefault(Group(one.record, ()).key, []).append(one)
    return tuple(Group(ones[0].record, _entries(ones)) for _, ones in sorted(found.items()))


def _entries(submissions: Sequence[Submission]) -> tuple[Entry, ...]:
    pairs = [(label, one) for one in submissions for label in one.record.spec.methods]
    labels = [label for label, _ in pairs]
    names = (label if labels.count(label) == 1 else f"{label} · {one.name}" for label, one in pairs)
    return tuple(Entry(name, label, one) for name, (label, one) in zip(names, pairs, strict=True))


def as_run(group: Group) -> Run:
    """All entries as methods of one run. The base model and the references are those of the first submission."""
    first, specs = group.submissions[0].run, [one.record.spec for one in group.submissions]
    cells = [
        replace(cell, method=entry.name, stages=tuple(_renamed(stage, entry.name) for stage in cell.stages))
        for entry in group.entries
        for cell in entry.submission.run.of(entry.label)
    ]
    stages = {spec.stages for spec in specs}
    spec: dict[str, Any] = {
        "sequence": group.record.sequence.id,
        "methods": [entry.name for entry in group.entries],
        "stages": stages.pop() if len(stages) == 1 else "all",
    }
    if all(spec.replicates is not None for spec in specs):
        spec |= {"replicates": max(spec.replicates or 0 for spec in specs)}
    if most := [spec.until_decided for spec in specs if spec.until_decided is not None]:
        spec |= {"until_decided": max(most)}  # intervals that hold for it hold for the others, too
    return Run(
        folder=Path(group.slug),
        info={"spec": spec, "methods": {entry.name: _described(entry) for entry in group.entries}},
        sequence=group.record.sequence.id,
        concepts=group.record.sequence.concepts,
        methods=tuple(entry.name for entry in group.entries),
        cells=tuple(cells),
        base_scores=_floors(group),
        base_info=first.base_info,
    )


def _described(entry: Entry) -> dict[str, Any]:
    return {**entry.method.model_dump(mode="json"), "stages": entry.submission.record.spec.stages}


def _renamed(stage: Stage, name: str) -> Stage:
    return replace(stage, labels={**stage.labels, "method": name, "label": name})


def _floors(group: Group) -> pd.DataFrame:
    """Base and reference rows of the first; those of prompts without the noun of the first that has them."""
    tables = [one.run.base_scores for one in group.submissions]
    token = next((t[t["method"] == BASE_TOKEN] for t in tables if (t["method"] == BASE_TOKEN).any()), tables[0][:0])
    first = tables[0][tables[0]["method"] != BASE_TOKEN]
    return pd.concat([first, token], ignore_index=True) if len(token) else first


def reference_entry(group: Group) -> str | None:
    """What the others are compared with: the naive LoRA of the submission given first that has one; None without."""
    return next((entry.name for entry in group.entries if entry.label == _USUAL), None)


def cautions(group: Group) -> list[str]:
    """What a reader must know of a table of several submissions: base models that differ, stages sampled otherwise."""
    lines, (first, *others) = [], group.submissions
    shown = _means(first)
    for one in others:
        apart = {key: abs(value - shown[key]) for key, value in _means(one).items() if key in shown}
        metric, most = max(((key[0], value) for key, value in apart.items()), key=lambda item: item[1], default=("", 0))
        if most > _APART:
            lines.append(
                f"{one.name}: its base model scores up to {most:.3f} ({metric}) otherwise than that of {first.name},"
                " which is shown: the same protocol on another machine differs in the last digits, not so much"
            )
    if stopped := [one.name for one in group.submissions if one.record.spec.until_decided is not None]:
        names = ", ".join(stopped)
        lines.append(f"Stopped by what it showed: {names}. So intervals of differences are always-valid ones.")
    kinds = {one.record.spec.stages: one.name for one in group.submissions}
    if len(kinds) > 1:
        lines.append("Not all sampled the same stages; a figure that needs others is a dash with that reason.")
    return lines


def _means(one: Submission) -> Mapping[Any, float]:
    """By metric and concept of the base model, metrics on a scale with two ends alone."""
    rows = one.run.base_scores
    bounded = [name for name, metric in METRICS.items() if None not in metric.range]
    rows = rows[(rows["method"] == BASE) & rows["metric"].isin(bounded)]
    return rows.groupby(["metric", "concept"])["value"].mean().dropna().to_dict()
