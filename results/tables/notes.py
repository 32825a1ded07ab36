"""What is said below a table: what its numbers are, what methods carry, what is missing and why."""

from collections.abc import Sequence

from cat_bench.results.measures.figures import Figure
from cat_bench.results.tables.summary import Row, Summary

SAMPLED = {
    "all": "Sampled: after every stage, all concepts learned so far.",
    "diagonal+last": "Sampled (--stages diagonal+last): after each stage the concept just learned, after the last all.",
    "last": "Sampled (--stages last): after the last stage alone.",
}


def note(summary: Summary) -> str:
    """What the numbers of this summary are: mean and interval, or one value; of which stages, if not of all."""
    return _spread(summary) + (f" {SAMPLED[summary.stages]}" if summary.stages != "all" else "")


def _spread(summary: Summary) -> str:
    counts = {row.cells for row in summary.methods if row.cells}
    if counts == {1}:
        return "n = 1: one cell a method, so there is no interval and small differences can be noise. Bold: best value."
    single = " Rows with n = 1 have no interval." if 1 in counts else ""
    cells = "replicates (another order and seed each)" if summary.replicated else "cells (seeds × orders)"
    width = f"Mean ± half the width of its 95 % interval over n {cells}, for a new order and seed."
    return f"{width}{single} Bold: the best, and what the paired interval cannot tell from it; no bold where all tie."


def carried(rows: Sequence[Row]) -> str:
    """What each method takes from concept to concept, and which rows are not to be compared as equals."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.carries:
            found.setdefault(row.carries, []).append(row.name)
    text = "; ".join(f"{what} ({', '.join(names)})" for what, names in found.items())
    apart = [row.name for row in rows if row.role == "reference"]
    return (f" Carried from concept to concept: {text}." if text else "") + (
        f" References, not ranked: {', '.join(apart)}." if apart else ""
    )


def gaps(rows: Sequence[Row], chosen: Sequence[Figure]) -> tuple[str, ...]:
    """One line for each reason: which rows lack which of the chosen figures, wholly or for some cells."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for figure in chosen:
            if reason := row.values[figure.id].reason:
                lacking.setdefault((reason, row.title), []).append(figure.id)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, title), figures in lacking.items():
        alike.setdefault((reason, tuple(figures)), []).append(title)
    learned = [row.title for row in rows if row.role in ("method", "reference")]
    return tuple(
        f"{_listed(titles, learned)}, {'all figures' if len(figures) == len(chosen) else ', '.join(figures)}: {reason}"
        for (reason, figures), titles in alike.items()
    )


def _listed(titles: Sequence[str], learned: Sequence[str]) -> str:
    """Rows' titles in a line; of several methods that are all there are, that they are."""
    if len(learned) > 1 and set(learned) <= set(titles):
        titles = ["all methods", *(title for title in titles if title not in learned)]
    return "; ".join(titles)
