"""The verdicts of a run as a table, and every number of them with its cross-checks."""

from collections.abc import Sequence

import pandas as pd

from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import MISSING, Entry, Table, markdown
from cat_bench.results.tables.sentences import QUESTIONS, asked, effect, few, number, sentences
from cat_bench.results.tables.summary import Summary
from cat_bench.results.verdicts.checks import bootstrap_t, sign_flip, wins
from cat_bench.results.verdicts.comparison import Comparison, compare, reference_of
from cat_bench.results.verdicts.verdict import LEAST

COLUMNS = ("figure", "method", "n", "difference", "for new concepts", "p (Holm)", "margin", "verdict", "more needed")
_NAMES = ("figure", "method", "against")
_NUMBERS = ("n", "effect", "low", "high", "wide_low", "wide_high", "error", "df", "p", "holm_p", "margin")
_SAID = ("verdict", "needed", "reason")
_CHECKS = ("sign_flip_p", "wins", "wins_n", "wins_low", "wins_high", "bootstrap_low", "bootstrap_high")
_MARK = {"better": "best", "equivalent": "tie"}


def verdicts(run: Run, summary: Summary, reference: str | None = None) -> tuple[Comparison, ...]:
    """Every other method against the reference in every question that the run has figures for.

    Raises ResultError if there is no such method.
    """
    if not run.methods:
        return ()
    against, known = reference_of(run, reference), {figure.id: figure for figure in summary.figures}
    there = (known[name] for name in QUESTIONS if name in known)
    shown = [f for f in there if any(row.values[f.id].mean is not None for row in summary.learning)]
    return tuple(c for figure in shown for c in compare(run, figure, against))


def verdict_table(found: Sequence[Comparison], summary: Summary) -> Table | None:
    """One row a question and method; None if no two methods have two replicates in common."""
    if not any(c.low is not None for c in found):
        return None
    rows = []
    for c in found:
        margin = MISSING if c.margin is None else f"±{number(c.margin, c.figure)}"
        p = MISSING if c.holm_p is None else "< 0.001" if c.holm_p < 0.001 else f"{c.holm_p:.3f}"
        texts = [f"{asked(c.figure).name} {c.figure.arrow}", c.method, f"{c.n}", effect(c), effect(c, wide=True), p]
        texts += [margin, c.verdict or MISSING, MISSING if c.needed is None else f"{c.needed}"]
        marks = {COLUMNS.index("verdict"): _MARK.get(c.verdict or "", "")}
        rows.append(tuple(Entry(text, marks.get(n, "")) for n, text in enumerate(texts)))
    roles = tuple("method" if c.ranked else "reference" for c in found)
    gaps = dict.fromkeys(f"{c.method}: {c.reason}" for c in found if c.effect is None and c.reason)
    doubts = dict.fromkeys(summary.doubts[c.figure.metric] for c in found if c.figure.metric in summary.doubts)
    return Table("verdicts", "Verdicts", COLUMNS, tuple(rows), roles, _note(found), tuple(gaps), tuple(doubts))


def _note(found: Sequence[Comparison]) -> str:
    intervals = "95 % intervals for a new order and seed, and for new concepts as well"
    if any(c.always for c in found):
        intervals = "always-valid 95 % intervals for a new order and seed, for the run was stopped by what it showed"
    note = (
        f"Differences from {found[0].against}, paired by order and seed, with {intervals}. "
        "Better, worse: the interval excludes 0, and Holm's p over all methods is at "
        "most 0.05. Equivalent: the interval lies within the margin, by which two scorings of the same adapters "
        f"differ. Fewer than {LEAST} replicates give no verdict. More needed: replicates for a power of 80 %."
    )
    left = max(c.layout.left_out for c in found)
    return note + (f" Left out because cells of their order or seed are missing: {left}." if left else "")


def verdict_frame(found: Sequence[Comparison]) -> pd.DataFrame:
    """One line a comparison, for verdicts.csv: every number, and cross-checks where replicates are independent."""
    lines = []
    for c in found:
        line = {name: getattr(c, name) for name in (*_NAMES, *_NUMBERS, *_SAID)} | {"figure": c.figure.id}
        if c.n > 1 and not c.layout.crossed:
            won, drawn = wins(c.differences), bootstrap_t(c.differences)
            values = (sign_flip(c.differences), won.wins, won.n, won.low, won.high, *drawn)
            line |= dict(zip(_CHECKS, values, strict=True))
        lines.append(line)
    table = pd.DataFrame(lines, columns=[*_NAMES, *_NUMBERS, *_SAID, *_CHECKS])
    return table.astype(dict.fromkeys(("n", "needed", "wins", "wins_n"), "Int64"))


def verdict_page(found: Sequence[Comparison], summary: Summary, stop: str | None = None) -> str:
    """All of it as Markdown: sentences first, then the table. stop: by which rule the run was stopped, in words."""
    if not found:
        return "## Verdicts\n\nThere is one method, so there is nothing to compare.\n"
    line, made = few(found), verdict_table(found, summary)
    said = line if line is not None else "\n".join(f"- {text}" for text in sentences(found))
    said = said if stop is None else f"{stop}\n\n{said}"
    return (markdown([made]).replace("\n\n", f"\n\n{said}\n\n", 1)) if made else f"## Verdicts\n\n{said}\n"
