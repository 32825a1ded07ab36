"""The declared figures: one number a cell, read off R[t, k], the last preservation scores, or the cost records."""

import math
from collections.abc import Callable, Collection, Sequence

from cat_bench.results.measures import matrices
from cat_bench.results.measures.figure import GROUPS, HEADLINE, KEPT, Figure, Outcome, or_why
from cat_bench.results.measures.kinds import KINDS, LOPEZ
from cat_bench.results.measures.metrics import METRICS, Metric, metric
from cat_bench.results.measures.subjects import NAN, Subject
from cat_bench.results.scoring.scores import ALL

__all__ = ["GROUPS", "HEADLINE", "KEPT", "Figure", "Outcome", "figures"]

NO_CONCEPTS = "only the preservation prompts are drawn from other noise"


def _of_matrix(name: str, kind_id: str, group: str) -> Figure:
    kind, measured = KINDS[kind_id], metric(name)
    if kind.compute is None:
        return _retention(name, group)
    of_square = kind.compute

    def compute(subject: Subject) -> Outcome:
        if subject.role == "noise":
            return NAN, NO_CONCEPTS
        R = subject.values(name)
        if subject.role == "method":
            if len(R) < 2:
                return NAN, "no stage was finished"
            value = of_square(R[1:])
            if len(R) == 2 and not kind.still and not math.isfinite(value):
                return NAN, "needs two concepts or more"
            if not math.isfinite(value) and (why := subject.unsampled(name, of_square)):
                return NAN, why
        elif kind.still:
            value = float(R[0].mean()) if R[0].size else NAN
        else:
            return NAN, "nothing is learned"
        return or_why(value, subject, name)

    def by_concept(subject: Subject) -> dict[str, float]:
        found = (kind.by_concept or matrices.left)(subject.values(name)[1:])
        return dict(zip(subject.concepts, found.tolist(), strict=False))  # of some kinds the last has none

    named = kind_id in ("a_mmd", "f_mmd")
    return Figure(
        id=kind_id if named else f"{name}_{kind_id}",
        title=f"{measured.title}: {kind.title}",
        short=_column(measured, kind_id),
        group=group,
        direction=measured.direction if kind.still else kind.direction,
        formula=f"{kind.formula}, R of {name}",
        source=kind.source,
        compute=compute,
        digits=measured.digits,
        metric=name,
        by_concept=by_concept if kind.by_concept else None,
    )


def _column(measured: Metric, kind_id: str) -> str:
    """A column's head; in a table of several metrics with the metric's name."""
    if not measured.column:
        return KINDS[kind_id].short
    return measured.column if len(measured.kinds) == 1 else f"{measured.column} {KINDS[kind_id].short}"


def _retention(name: str, group: str) -> Figure:
    kind, measured = KINDS["retention"], metric(name)
    least = measured.least or 0.0

    def compute(subject: Subject) -> Outcome:
        if subject.role != "method":
            return NAN, "nothing is learned"
        R = subject.values(name)
        if len(R) < 3:
            return NAN, "needs two concepts or more" if len(R) == 2 else "no stage was finished"
        if why := subject.unsampled(name, matrices.bwt):  # which reads the same of R
            return NAN, why
        if never := matrices.never_learned(R[1:], R[0], least):
            rises = {subject.concepts[k]: f"{R[k + 1, k] - R[0, k]:+.3f}".replace("-", "−") for k in never}
            named = ", ".join(f"{concept} by {rise}" for concept, rise in rises.items())
            return NAN, f"never learned (a rise above {least:g} is needed): {named}"
        return or_why(matrices.retention(R[1:], R[0], least), subject, name)

    formula = f"{kind.formula}, R of {name}; null where a denominator is at most {least:g}"
    title = f"{measured.title}: {kind.title}"
    declared = (group, kind.direction, formula, kind.source, compute)
    return Figure(f"{name}_retention", title, _column(measured, "retention"), *declared, metric=name, in_units=False)


def _fwt(name: str, group: str) -> Figure:
    def compute(subject: Subject) -> Outcome:
        R = subject.values(name)
        if subject.role != "method":
            return NAN, "nothing is learned"
        value = matrices.fwt(R[1:], R[0]) if len(R) > 2 else NAN
        return value, None if math.isfinite(value) else "concepts were not sampled before they were learned"

    formula = f"1/(T−1) Σ_{{k≥2}} (R[k−1,k] − R[0,k]), R of {name}"
    title = f"{metric(name).title}: forward transfer"
    return Figure(f"{name}_fwt", title, "FWT", group, "higher", formula, LOPEZ, compute, metric=name)


def _of_stratum(name: str, stratum: str) -> Figure:
    def compute(subject: Subject) -> Outcome:
        return or_why(subject.final(name, stratum), subject, name)

    measured = metric(name)
    every = stratum == ALL
    return Figure(
        id=name if every else f"{name}_{stratum}",
        title=f"{measured.title}: {'all prompts' if every else f'stratum {stratum}'}",
        short={"kps": "KPS", "kps_cos": "raw cosine"}[name] if every else stratum,
        group="preservation",
        direction=measured.direction,
        formula=f"{measured.formula}, after the last stage",
        source=measured.source,
        compute=compute,
        digits=measured.digits,
        metric=name,
    )


def _kept() -> Figure:
    """The mean of the strata `class` and `other`, which the headline shows one by one."""

    def compute(subject: Subject) -> Outcome:
        return or_why((subject.final("kps", "class") + subject.final("kps", "other")) / 2, subject, "kps")

    measured = metric("kps")
    title, formula = (
        f"{measured.title}: mean of class and other",
        "mean of kps_class and kps_other",
    )
    kept = (measured.direction, formula, measured.source, compute)
    return Figure(KEPT, title, "class, other", measured.group, *kept, metric="kps")


def _of_class(name: str) -> Figure:
    """Of pictures without a trigger: the mean of all rows after the last stage."""
    measured = metric(name)

    def compute(subject: Subject) -> Outcome:
        if subject.role == "noise":
            return NAN, "only the preservation prompts are compared from other noise"
        return or_why(subject.totals.pooled.get(name, NAN), subject, name)

    title, formula = f"{measured.title}: after the last stage", f"{measured.formula}, after the last stage"
    kept = (measured.direction, formula, measured.source, compute)
    return Figure(name, title, measured.column, measured.group, *kept, metric=name)


def _cost(key: str, title: str, short: str, unit: str, scale: float, how: str, digits: int) -> Figure:
    reductions: dict[str, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max, "last": lambda v: v[-1]}

    def compute(subject: Subject) -> Outcome:
        if subject.role in ("ceiling", "noise"):
            return (
                NAN,
                "real images cost nothing" if subject.role == "ceiling" else "it is part of the base model's cost",
            )
        found = [info.get("seconds", {}).get(key) if unit == "s" else info.get(key) for info in subject.infos]
        values = [float(v) for v in found if v is not None]
        if not values or len(values) < len(found):
            return NAN, "not recorded"
        return reductions[how](values) / scale, None

    name = f"seconds_{key}" if unit == "s" else key
    formula = {"sum": "sum over the stages", "max": "maximum over the stages", "last": "at the last stage"}[how]
    return Figure(name, title, short, "cost", "lower", formula, "stage.json", compute, digits, unit)


def figures(strata: Sequence[str] = (), measured: Collection[str] = ()) -> tuple[Figure, ...]:
    """Every declared figure, in the order of the tables.

    strata: the preservation strata that the run has, without "all". measured: the metrics it has scores of; an optional
    metric has figures only if it is among them.
    """
    there = [m for m in METRICS.values() if not m.optional or m.id in measured]
    contested = [m for m in there if m.contested]
    others = ("forgetting_continual_lora", "forgetting_mammoth", "forgetting_avalanche")
    declared = (
        *(_of_matrix(m.id, kind, m.group) for m in there for kind in m.kinds),
        _of_stratum("kps", ALL),
        *(_of_stratum("kps", stratum) for stratum in strata),
        *([_kept()] if {"class", "other"} <= set(strata) else []),
        _of_stratum("kps_cos", ALL),
        _of_class("class_leak"),
        _of_class("class_diversity"),
        _cost("train", "Training time of all stages", "training", "s", 1.0, "sum", 1),
        _cost("sample", "Sampling time of all stages", "sampling", "s", 1.0, "sum", 1),
        _cost("score", "Scoring time of all stages", "scoring", "s", 1.0, "sum", 1),
        _cost("peak_memory_bytes", "Peak memory of training", "peak memory", "MB", 1e6, "max", 0),
        _cost("trainable_parameters", "Trainable parameters of a stage", "trainable", "thousand", 1e3, "max", 1),
        _cost("bytes_carried", "Bytes carried to the next concept", "carried", "MB", 1e6, "last", 2),
        *(_of_matrix(m.id, kind, f"other_{m.group}") for m in contested for kind in others),
        *(_fwt(m.id, f"other_{m.group}") for m in contested),
    )
    order = list(GROUPS)
    return tuple(sorted(declared, key=lambda figure: order.index(figure.group)))
