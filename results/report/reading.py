"""What a run says beyond its tables: verdicts in words, what is missing, the size of the change, provenance."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import MISSING, Entry, Table, text_of
from cat_bench.results.tables.summary import Summary

_QUESTIONS = {
    "concept_accuracy_average": "Draws the right concept most often at the end",
    "part_accuracy_average": "Draws most of what the concepts have at the end",
    "scene_accuracy_average": "Follows the prompt best at the end",
    "clip_i_average": "Is most like the references at the end",
    "clip_i_plasticity": "Learns best when it is a concept's turn",
    "clip_i_forgetting": "Forgets least (CLIP-I)",
    "concept_accuracy_forgetting": "Forgets least (concept accuracy)",
    "kps_class": "Keeps the class as the base model draws it",
    "kps_other": "Keeps other classes as the base model draws them",
    "class_leak": "Leaks least into pictures of the class",
    "class_diversity": "Keeps the class most varied",
    "seconds_train": "Trains fastest",
}


def verdicts(summary: Summary) -> list[tuple[str, str]]:
    """Question and answer: who is best in what, with all that cannot be told from the best."""
    answers, there = [], {figure.id for figure in summary.figures}
    for name, question in _QUESTIONS.items():
        if name not in there:
            continue
        figure, known = summary.figure(name), [r for r in summary.methods if r.values[name].mean is not None]
        marks = summary.best(figure)
        if len(known) < 2:
            continue
        if not marks:
            answers.append((question, "all tie"))
            continue
        best = next(row for row in known if marks.get(row.name) == "best")
        ties = [row.name for row in known if marks.get(row.name) == "tie"]
        value = text_of(best.values[name], figure, best) + (f" {figure.unit}" if figure.unit else "")
        value += " (n = 1)" if best.cells == 1 else ""
        answers.append((question, f"{best.name}, {value}" + (f"; ties with it: {', '.join(ties)}" if ties else "")))
    return answers


def trouble(run: Run) -> list[str]:
    """One line for each cell that gives no figures: which, how it ended, how far it came, why."""
    lines = []
    for cell in run.troubled:
        far = f"{len(cell.stages)} of {len(run.concepts)} stages finished"
        why = cell.reason or ("a stage is missing" if cell.status == "ok" else "no reason was recorded")
        status = "incomplete" if cell.status == "ok" else cell.status
        lines.append(f"{cell.name}: {status}, {far}: {why}")
    return lines


def missing_scores(run: Run) -> list[str]:
    """One line for each kind of null row of the long table, with its reason and how often."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for method, totals in run.totals:
        counts.update({(method, *null): count for null, count in totals.missing.items()})
    return [f"{method}, {metric}: {reason} ({count}×)" for (method, metric, reason), count in counts.items()]


def mixtures(run: Run) -> list[str]:
    """One line for each of torch, diffusers, peft and the GPU's model that is not the same for all that is compared."""
    found: dict[str, dict[str, set[str]]] = {}
    stages = [("the base model", run.base_info), *((s.method, stage.info) for s in run.cells for stage in s.stages)]
    for name, info in stages:
        for made in (info.get("made") or {}).values():
            for what, which in made.items():
                found.setdefault(what, {}).setdefault(str(which or "none"), set()).add(name)
    return [
        f"{what}: " + "; ".join(f"{which} made {', '.join(sorted(names))}" for which, names in sorted(kinds.items()))
        for what, kinds in found.items()
        if len(kinds) > 1
    ]


def extractors(run: Run) -> dict[str, str]:
    """Per metric the models whose features its scores were made of, joined by commas where there are several."""
    found: dict[str, list[str]] = {}
    for metric, model in run.judges:
        found.setdefault(metric, []).append(model)
    return {metric: ", ".join(models) for metric, models in found.items()}


def stage_records(run: Run) -> pd.DataFrame:
    """One line a stage: which concept it learned, what it cost, how large the change is, its key."""
    lines: list[dict[str, Any]] = []
    for cell in run.cells:
        for stage in cell.stages:
            seconds = stage.info.get("seconds") or {}
            line: dict[str, Any] = {"method": cell.method, "order": cell.order, "seed": cell.seed}
            line |= {"stage": stage.number, "concept": stage.concept, "status": cell.status}
            line |= {f"seconds_{part}": seconds.get(part) for part in ("train", "sample", "score")}
            facts = ("peak_memory_bytes", "trainable_parameters", "bytes_carried", "delta_norm", "change_norm", "key")
            lines.append(line | {fact: stage.info.get(fact) for fact in facts})
    return pd.DataFrame(lines)


def change_tables(run: Run) -> tuple[Table, ...]:
    """Norms of the change of the weights after and by each stage, mean over cells; none if they were not recorded."""
    after = "A method that learns less and less shows as a curve that flattens."
    alone = "What each stage changed, whatever of it an earlier stage had changed already."
    records = stage_records(run)
    found = (
        _change_table(run, records, "delta_norm", ("change", "Size of the change ‖ΔW‖ after each stage", after)),
        _change_table(
            run, records, "change_norm", ("change-by-stage", "Size of the change by each stage alone", alone)
        ),
    )
    return tuple(table for table in found if table is not None)


def _change_table(run: Run, records: pd.DataFrame, fact: str, said: tuple[str, str, str]) -> Table | None:
    """said: the table's id, title and note."""
    name, title, note = said
    if records.empty or records[fact].isna().all():
        return None
    mean = records.groupby(["method", "stage"])[fact].mean().unstack("stage")
    stages = range(1, len(run.concepts) + 1)
    rows = []
    for method in run.methods:
        values = [float(mean[t].get(method, math.nan)) if t in mean else math.nan for t in stages]
        rows.append((Entry(method), *(Entry(f"{v:.3g}" if math.isfinite(v) else MISSING) for v in values)))
    columns = ("method", *(f"stage {t}" for t in stages))
    return Table(name, title, columns, tuple(rows), ("method",) * len(rows), f"Mean over cells. {note}")


def provenance(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """run.json as flat key and text, without the run's own bookkeeping."""
    return list(
        _flat({k: v for k, v in info.items() if k not in ("complete", "methods", "earlier_methods", "schema_version")})
    )


def method_settings(run: Run) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Per method that was recorded: name, title and source, and its resolved config as key and text."""
    return [
        (str(name), " · ".join(str(m[k]) for k in ("title", "source") if m.get(k)), list(_flat(m.get("config") or {})))
        for name, m in run.described.items()
        if isinstance(m, Mapping)
    ]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list):
        yield prefix, ", ".join(map(str, value))
    elif value is not None:
        yield prefix, str(value)
