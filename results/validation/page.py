"""The page of a validation, as Markdown, and the same as data."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cat_bench.results.measures.metrics import METRICS
from cat_bench.results.pictures.style import Plot
from cat_bench.results.records.long_table import write_atomically
from cat_bench.results.validation.pictures import plots, positions
from cat_bench.results.validation.rule import ERRORS, FLOORS, SHARE, STEP
from cat_bench.results.validation.series import Series, mean
from cat_bench.results.validation.verdicts import Judgement

SCHEMA_VERSION = 1
_SAID = {True: "passes", False: "**fails**", None: "–"}
_TITLES = {"margin": "smallest difference", "copies": "copies"}
RULE = f"""A metric **fails a series** if

1. a step of it goes the wrong way by more than {ERRORS:g} standard errors of the mean paired difference, by more than
   {STEP:.0%} of what the whole series moves it, and by more than half of the last printed digit; or
2. the whole series, first to last, does not move it the right way by more than {ERRORS:g} standard errors and
   half of the last printed digit; or
3. the strongest damage costs it less than {SHARE:.0%} of the way from undamaged pictures to the base model.

Pairs are the same picture before and after; of metrics of a set the same concept or stratum. Where a series leaves one
value only (a set metric of one adapter), √2 noise floors stand for the standard error. Right and wrong: damage, and
noise in the weights, must make things worse; more of an adapter must bring the concept nearer and take the base model's
knowledge away. A metric declares to which tests it must answer; of the others nothing is expected (–). Its **smallest
difference** must be at least {FLOORS:g} noise floors. **Copies** of training pictures must score worse than other real
pictures where a metric is to see them."""


def write_page(judgement: Judgement, out: Path) -> tuple[Path, ...]:
    """Writes the page `out`, its pictures and `<name>.json` beside it; returns all that was written."""
    drawn, name = plots(judgement), out.stem
    pictures = [out.with_name(f"{plot.name.replace('validation', name, 1)}.png") for plot in drawn]
    for plot, path in zip(drawn, pictures, strict=True):
        write_atomically(path, plot.png)
    named = {plot.name: (plot, path.name) for plot, path in zip(drawn, pictures, strict=True)}
    data = out.with_suffix(".json")
    write_atomically(data, (json.dumps(as_data(judgement), indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(out, markdown(judgement, named).encode())
    return (out, data, *pictures)


def markdown(judgement: Judgement, pictures: dict[str, tuple[Plot, str]]) -> str:
    """The page; pictures: by name the plot and the file it lies in."""
    measured = judgement.measured
    parts = ["# Validation: does each metric move as it must?"]
    parts.append("\n".join(f"- {key}: {text}" for key, text in measured.facts.items()))
    parts += ["## Verdicts", _verdicts(judgement), "## Rule", RULE]
    for series in measured.series:
        parts += [f"## {series.title}", *_picture(f"validation-{series.id}", pictures), _of_series(series, judgement)]
    parts += ["## Noise floor", _noise(judgement)]
    agreement = judgement.agreement
    matrix = zip(agreement.columns, agreement.to_numpy(dtype=float), strict=True)
    rows = [[name, *(_number(value, 2) for value in values)] for name, values in matrix]
    text = (
        f"Spearman's rank correlation over {len(judgement.adapters)} adapters (those of the two series), metrics of"
        " which less is better negated. Two metrics that agree say one thing twice; fidelity and preservation must"
        " disagree where an adapter's strength is what varies."
    )
    parts += ["## Agreement between metrics", text, *_picture("validation-agreement", pictures)]
    parts += [_table(["", *agreement.columns], rows), "## Copied training pictures", _copies(judgement)]
    return "\n\n".join(parts) + "\n"


def as_data(judgement: Judgement) -> dict[str, Any]:
    """Everything that the page says, as JSON has it; what is missing is null."""
    measured = judgement.measured
    metrics: dict[str, Any] = {}
    for metric in measured.metrics:
        about: dict[str, Any] = {"extractor": measured.extractor(metric)}
        about["tests"] = {
            verdict.test: {"passed": verdict.passed, "reason": verdict.reason}
            for verdict in judgement.verdicts
            if verdict.metric == metric.id
        }
        about |= dict(zip(("floor", "ceiling"), map(_null, measured.ends(metric)), strict=True))
        about |= {"noise_floor": _null(judgement.noise[metric.id]), "least": metric.least}
        about["series"] = {s.id: [_null(v) for v in s.means(metric)] for s in measured.series}
        about["copies"] = {what: _null(mean(table, metric)) for what, table in measured.copies.items()}
        metrics[metric.id] = about
    agreement = {a: {b: _null(v) for b, v in row.items()} for a, row in judgement.agreement.to_dict("index").items()}
    strengths = {series.id: list(series.strengths) for series in measured.series}
    head = {"schema_version": SCHEMA_VERSION, "facts": dict(measured.facts), "strengths": strengths}
    return {**head, "metrics": metrics, "agreement": agreement}


def _verdicts(judgement: Judgement) -> str:
    titles = [_TITLES.get(test, test) for test in judgement.tests]
    rows = []
    for metric in judgement.measured.metrics:
        found = [judgement.verdict(metric.id, test) for test in judgement.tests]
        rows.append([f"`{metric.id}` {metric.arrow}", *(_SAID[v.passed if v else None] for v in found)])
    lines = [f"- `{v.metric}` fails {_TITLES.get(v.test, v.test)}: {v.reason}" for v in judgement.failed] or [
        "No metric fails."
    ]
    silent = [v for v in judgement.verdicts if v.passed is None and v.test in METRICS[v.metric].answers]
    lines += [f"- `{v.metric}`, {v.test}: not judged ({v.reason})" for v in silent]
    return _table(["metric", *titles], rows) + "\n\n" + "\n".join(lines)


def _of_series(series: Series, judgement: Judgement) -> str:
    """Values at each strength, in brackets where they stand between base model (0) and best (1)."""
    measured, rows = judgement.measured, []
    for metric in measured.metrics:
        means, places = series.means(metric), positions(series, metric, measured)
        if not any(map(math.isfinite, means)):
            continue
        shown = series.id in metric.answers
        texts = [
            _number(value, metric.digits) + (f" ({_number(place, 2)})" if shown and math.isfinite(place) else "")
            for value, place in zip(means, places, strict=True)
        ]
        verdict = judgement.verdict(metric.id, series.id)
        said = f"{_SAID[verdict.passed]}: {verdict.reason}" if verdict else "–"
        ends = (_number(v, metric.digits) for v in measured.ends(metric, series))
        rows.append([f"`{metric.id}` {metric.arrow}", *texts, *ends, said])
    head = ["metric", *(f"{strength:g}" for strength in series.strengths), "base model", "real pictures", "verdict"]
    note = f"Columns: {series.unit}. In brackets: where the value stands between the base model (0) and the best (1)."
    return f"{note}\n\n{_table(head, rows)}"


def _noise(judgement: Judgement) -> str:
    rows = []
    for metric in judgement.measured.metrics:
        noise, verdict = judgement.noise[metric.id], judgement.verdict(metric.id, "margin")
        least = "–" if metric.least is None else f"{metric.least:g}"
        said = f"{_SAID[verdict.passed]}: {verdict.reason}" if verdict else "–"
        rows.append([f"`{metric.id}`", _number(noise, metric.digits + 1), least, said])
    note = (
        f"The same adapter, drawn {len(judgement.measured.repeats)} times, each time from other evaluation noise:"
        " sample standard deviation of each metric's mean. A smaller difference between two cells says nothing."
    )
    return f"{note}\n\n{_table(['metric', 'noise floor', 'smallest difference declared', 'verdict'], rows)}"


def _copies(judgement: Judgement) -> str:
    measured, rows = judgement.measured, []
    for metric in (m for m in measured.metrics if m.of == "concept"):
        found = [mean(table, metric) for table in (*measured.copies.values(), measured.real)]
        verdict = judgement.verdict(metric.id, "copies")
        said = f"{_SAID[verdict.passed]}: {verdict.reason}" if verdict else "–"
        rows.append([f"`{metric.id}` {metric.arrow}", *(_number(v, metric.digits) for v in found), said])
    note = "What a method would score that draws the training pictures, as they are or mildly changed."
    return f"{note}\n\n{_table(['metric', *measured.copies, 'held-out pictures', 'verdict'], rows)}"


def _picture(name: str, pictures: dict[str, tuple[Plot, str]]) -> Iterable[str]:
    if name in pictures:
        plot, file = pictures[name]
        yield f"![{plot.description}]({file})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def _null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
