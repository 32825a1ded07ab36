"""The verdicts as a page leads with them: who is better in what, who worse, who neither, and all at a glance."""

from collections.abc import Sequence
from typing import NamedTuple

from cat_bench.results.measures.figures import Figure
from cat_bench.results.tables.formats import MISSING, Entry, Table
from cat_bench.results.tables.sentences import aside, asked, counted, effect, number, sentence
from cat_bench.results.verdicts.comparison import Comparison

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
        None: "not ranked" if all(c.ranked for c in found if c.verdict) else "no verdict",
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
    return Answer(name[0].upper() + name[1:], tuple(parts), " or ".join(dict.fromkeys(map(counted, found))))


def glance(found: Sequence[Comparison]) -> Table | None:
    """One row a method, one column a question: the verdict's sign and the effect. None if there is no effect."""
    if not any(c.effect is not None for c in found):
        return None
    by, against = _by_figure(found), found[0].against
    methods = dict.fromkeys(c.method for c in found)
    rows = []
    for method in methods:
        line = [Entry(method)]
        for each in by.values():
            c = next(c for c in each if c.method == method)
            known = MISSING if c.effect is None else number(c.effect, c.figure, "+")
            text = f"{MARKS[c.verdict]} {known}" if c.verdict else known
            line.append(Entry(text, c.verdict or "", sentence(c)))
        rows.append(tuple(line))
    ranked = {c.method: c.ranked for c in found}
    roles = tuple("method" if ranked[method] else "reference" for method in methods)
    units = {f: f" [{f.unit}]" if f.unit else "" for f in by}
    heads = ("method", *(f"{asked(f).name}{units[f]} {f.arrow}".strip() for f in by))
    note = f"Differences from {against}. "
    if any(c.verdict for c in found):
        note += "▲ better, ▼ worse, ≈ equivalent, ? undecided; no sign: not ranked, or too few replicates."
    return Table("glance", f"At a glance: differences from {against}", heads, tuple(rows), roles, note)
