"""The verdicts as a page leads with them: who is better in what, who worse, who neither, and all at a glance."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from cat_bench.results.measures.figures import Figure
from cat_bench.results.records.labels import parent, settings
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import MISSING, Entry, Table
from cat_bench.results.tables.sentences import aside, asked, counted_together, effect, number, sentence
from cat_bench.results.verdicts.comparison import Comparison, compare

MARKS = {"better": "▲", "worse": "▼", "equivalent": "≈", "undecided": "?"}


class Said(NamedTuple):
    """One method in one answer: its name, its effect with interval, and what must be known with it."""

    method: str
    effect: str
    aside: str


class Answer(NamedTuple):
    """What is known of one question. parts: each verdict, in words, and of whom it is true, the clearest first."""

    question: str
    parts: tuple[tuple[str, str, tuple[Said, ...]], ...]
    counted: str


def answers(found: Sequence[Comparison]) -> tuple[Answer, ...]:
    """One for each question."""
    return tuple(_answer(figure, each) for figure, each in _by_figure(found).items())


def _by_figure(found: Sequence[Comparison]) -> dict[Figure, list[Comparison]]:
    by: dict[Figure, list[Comparison]] = {}
    for c in found:
        by.setdefault(c.figure, []).append(c)
    return by


def _answer(figure: Figure, found: Sequence[Comparison]) -> Answer:
    question, against = asked(figure), found[0].against
    words = {
        "better": f"{question.better} than {against}",
        "worse": f"{question.worse} than {against}",
        "equivalent": f"equivalent to {against}, within ±{number(found[0].margin, figure)}",
        "undecided": "undecided",
        None: "no verdict" if any(c.ranked for c in found if c.verdict is None) else "not ranked",
    }
    parts = []
    for verdict, said in words.items():
        these = [c for c in found if c.verdict == verdict]
        these.sort(key=lambda c: (c.effect is None, (c.effect or 0.0) * (1 if figure.direction == "lower" else -1)))
        if verdict == "worse":
            these.reverse()
        if these:
            listed = tuple(Said(c.method, effect(c), aside(c).strip(" ()")) for c in these)
            parts.append((verdict or "none", said, listed))
    name = question.name
    return Answer(name[0].upper() + name[1:], tuple(parts), counted_together(found))


def glance(found: Sequence[Comparison]) -> Table | None:
    """One row a method, one column a question: the verdict's sign and the effect. None if there is no effect."""
    if not any(c.effect is not None for c in found):
        return None
    against = found[0].against
    wide = " ± half the width of their 95 % intervals" if any(c.low is not None for c in found) else ""
    note = f"Differences from {against}{wide}."
    if any(c.verdict for c in found):
        note += " ▲ better, ▼ worse, ≈ equivalent, ? undecided; no sign: not ranked, or too few replicates."
    return _board("glance", f"At a glance: differences from {against}", note, found)


def ablations(run: Run, found: Sequence[Comparison]) -> Table | None:
    """Each variant against the method that it is a variant of, in the same questions. None if there is none of both."""
    families = [m for m in run.methods if any(settings(v) and parent(v) == m for v in run.methods)]
    of_family = [
        replace(c, verdict=None, reason="a variant, against its own method")
        for figure in dict.fromkeys(c.figure for c in found)
        for method in families
        for c in compare(run, figure, method)
        if settings(c.method) and parent(c.method) == method
    ]
    if not any(c.effect is not None for c in of_family):
        return None
    note = "Paired by order and seed, ± half the width of the 95 % interval, not adjusted for how many there are."
    return _board("ablations", "Variants: differences from their own method", note, of_family)


def _board(name: str, title: str, note: str, found: Sequence[Comparison]) -> Table:
    by, ranked = _by_figure(found), {c.method: c.ranked for c in found}
    rows = []
    for method in ranked:
        these = (next(c for c in each if c.method == method) for each in by.values())
        rows.append((Entry(method), *(Entry(_signed(c), c.verdict or "", sentence(c)) for c in these)))
    roles = tuple("method" if of_rank else "reference" for of_rank in ranked.values())
    units = {f: f" [{f.unit}]" if f.unit else "" for f in by}
    heads = ("method", *(f"{asked(f).name}{units[f]} {f.arrow}".strip() for f in by))
    return Table(name, title, heads, tuple(rows), roles, note)


def _signed(c: Comparison) -> str:
    """`▲ +0.120 ± 0.040`, as far as there is a verdict and an interval."""
    if c.effect is None:
        return MISSING
    sign = f"{MARKS[c.verdict]} " if c.verdict else ""
    half = "" if c.low is None or c.high is None else f" ± {number((c.high - c.low) / 2, c.figure)}"
    return f"{sign}{number(c.effect, c.figure, '+')}{half}"
