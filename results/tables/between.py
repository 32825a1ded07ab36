"""Two runs beside each other, as people read it: what they share, a sentence a question, a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cat_bench.results.measures.available import metrics_of, strata_of
from cat_bench.results.measures.figures import Figure, figures
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import MISSING, Entry, Table
from cat_bench.results.tables.sentences import QUESTIONS, asked, counted, effect, number, sentence
from cat_bench.results.verdicts.between import Side, compare_runs, differing, pairs_of
from cat_bench.results.verdicts.comparison import Comparison, figure_of
from cat_bench.results.verdicts.verdict import LEAST

COLUMNS = ("figure", "method", "against", "n", "difference", "p (Holm)", "margin", "verdict", "more needed")


@dataclass(frozen=True)
class Between:
    """Two runs compared. notes: what must be known of all of it."""

    found: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """One a question and pair that says something: whatever has an effect."""
        return tuple(sentence(c) for c in self.found if c.effect is not None)

    @property
    def table(self) -> Table:
        """One row a question and pair."""
        rows = []
        for c in self.found:
            p = MISSING if c.holm_p is None else "< 0.001" if c.holm_p < 0.001 else f"{c.holm_p:.3f}"
            texts = [f"{asked(c.figure).name} {c.figure.arrow}", c.method, c.against, _n(c), effect(c), p]
            texts += [MISSING if c.margin is None else f"±{number(c.margin, c.figure)}", c.verdict or MISSING]
            texts.append(MISSING if c.needed is None else f"{c.needed}")
            rows.append(tuple(map(Entry, texts)))
        gaps = tuple(dict.fromkeys(f"{c.method}, {c.figure.id}: {c.reason}" for c in self.found if c.effect is None))
        roles = tuple("method" if c.ranked else "reference" for c in self.found)
        return Table("between", "Two runs", COLUMNS, tuple(rows), roles, " ".join(self.notes), gaps)


def between(
    ours: Path,
    theirs: Path,
    names: tuple[str, str],
    chosen: Sequence[str] = (),
    method: str | None = None,
    to: str | None = None,
) -> Between:
    """Compare two run folders, or packed ones. names: what they are called. chosen: ids of figures, else all questions.

    Raises ResultError if one cannot be read, or has no such figure or method.
    """
    one, other = Side(Run.open(ours), names[0]), Side(Run.open(theirs), names[1])
    pairs = pairs_of(one.run, other.run, method, to)
    found = compare_runs(one, other, pairs, _figures(one.run, other.run, chosen))
    return Between(tuple(found), tuple(_notes(one, other, found)))


def _figures(ours: Run, theirs: Run, chosen: Sequence[str]) -> tuple[Figure, ...]:
    if chosen:
        for run in (theirs, ours):
            wanted = tuple(figure_of(run, name) for name in dict.fromkeys(chosen))
        return wanted
    both = [{f.id: f for f in figures(strata_of(run), {m.id for m in metrics_of(run)})} for run in (ours, theirs)]
    return tuple(both[0][name] for name in QUESTIONS if name in both[0] and name in both[1])


def _notes(ours: Side, theirs: Side, found: Sequence[Comparison]) -> list[str]:
    notes = [f"Differences are {ours.name} − {theirs.name}, with 95 % intervals for a new order and seed."]
    if odd := differing(ours.run, theirs.run):
        notes.append(
            f"The two runs do not share {', '.join(odd)}: they are compared as two independent groups (Welch), and a "
            "difference may come from that."
        )
    elif any(c.apart for c in found):
        notes.append(
            "Where fewer than two orders and seeds are in common, they are compared as two independent groups (Welch)."
        )
    if any(c.apart is None and c.effect is not None for c in found):
        notes.append("Others are paired by order and seed: the same noise, the same prompts." if len(notes) > 1 else "")
    stopped = [side.name for side in (ours, theirs) if side.run.until_decided is not None]
    if stopped:
        paired = " Paired intervals are always-valid ones." if any(c.always for c in found) else ""
        notes.append(f"Stopped by what it showed: {', '.join(stopped)}.{paired}")
    if found and all(c.n < LEAST for c in found):
        notes.append(f"Fewer than {LEAST} replicates of either give no verdict.")
    return [note for note in notes if note]


def _n(c: Comparison) -> str:
    return f"{c.apart[0]}, {c.apart[1]}" if c.apart else counted(c).partition(" ")[0]
