"""Methods of a run against one of them, paired by replicate: effect, intervals, verdict, and what is still needed."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.available import metrics_of, strata_of
from cat_bench.results.measures.figures import Figure, figures
from cat_bench.results.measures.subjects import Subject
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts import intervals
from cat_bench.results.verdicts.always_valid import always_valid, e_value, replicates_until
from cat_bench.results.verdicts.intervals import Array, Estimate
from cat_bench.results.verdicts.layout import Key, Layout, layout
from cat_bench.results.verdicts.margins import margin
from cat_bench.results.verdicts.verdict import ALPHA, LEAST, Verdict, holm, judge, replicates_needed


@dataclass(frozen=True)
class Comparison:
    """One method against another in one figure: mean of the differences method − against, paired by order and seed.

    n: replicates, or cells of orders crossed with seeds. low, high: 95 % interval for a new order and seed; wide: for
    new concepts as well, None where the figure is no mean over concepts. error: standard error of the effect. p:
    two-sided; holm_p: adjusted for all ranked methods of the run. verdict: None with a reason. needed: how many more
    replicates are likely to bring a verdict; None if there is one, or if no number can be said. differences: as they
    were paired, see `Layout`. always: the run was stopped by what it showed (`--until-decided`), so interval and p are
    those that hold however often one looks, and there is none for new concepts. apart: how many cells of either have
    it, if none of them were paired (`between`); then n is the smaller number.
    """

    figure: Figure
    method: str
    against: str
    n: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    wide_low: float | None = None
    wide_high: float | None = None
    error: float | None = None
    df: float | None = None
    p: float | None = None
    holm_p: float | None = None
    margin: float | None = None
    verdict: Verdict | None = None
    needed: int | None = None
    reason: str | None = None
    ranked: bool = True
    layout: Layout = field(default=Layout(((),)), repr=False)
    differences: tuple[float, ...] = ()
    always: bool = False
    apart: tuple[int, int] | None = None

    @property
    def clear(self) -> bool:
        """Whether the effect itself, not only its sign, is more than scoring the same adapters again would make."""
        return self.margin is None or (self.effect is not None and abs(self.effect) > self.margin)


def compare(run: Run, figure: Figure | str, reference: str | None = None) -> list[Comparison]:
    """Every other method of the run against `reference` (default: the first that is ranked), in the run's order.

    Methods whose role is reference are compared but not ranked: they have no verdict and count for nobody's p.
    Raises ResultError if there is no such figure or method.
    """
    figure = figure_of(run, figure)
    against = reference_of(run, reference)
    values = {method: values_of(run, method, figure) for method in run.methods}
    limit, always = margin(run, figure), run.until_decided is not None
    bounds = {method for method in run.methods if bound(run, method)}
    pairs = [(method, against) for method in run.methods if method != against]
    found = [
        paired(figure, (m, a), values[m], values[a], margin=limit, ranked=not {m, a} & bounds, always=always)
        for m, a in pairs
    ]
    return judged(found)


def judged(found: Sequence[Comparison]) -> list[Comparison]:
    """With verdicts; p is adjusted for all that are ranked."""
    family = [n for n, c in enumerate(found) if c.ranked and c.p is not None]
    adjusted = dict(zip(family, holm([found[n].p or 0.0 for n in family]), strict=True))
    return [_judged(replace(c, holm_p=adjusted.get(n)), len(family)) for n, c in enumerate(found)]


def reference_of(run: Run, name: str | None = None) -> str:
    """The method that the others are compared with. Raises ResultError with what was probably meant."""
    if name is None:
        return next((m for m in run.methods if not bound(run, m)), run.methods[0])
    if name not in run.methods:
        close = difflib.get_close_matches(name, run.methods, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(run.methods)}"
        raise ResultError(f"--reference {name}: {run.folder} has no such method; {hint}")
    return name


def bound(run: Run, method: str) -> bool:
    """Whether a method's role is reference: it does what no continual method may, and is never ranked."""
    return bool(run.described.get(method, {}).get("reference"))


def paired_differences(ours: Mapping[Key, float], theirs: Mapping[Key, float]) -> dict[Key, float]:
    """Ours − theirs of each order and seed that both have. What only the last bits tell apart is no difference."""
    return {key: round(value - theirs[key], 12) for key, value in ours.items() if key in theirs}


def estimate(values: Mapping[Key, float]) -> tuple[Estimate, Layout]:
    """Of values by order and seed: as replicates, or two-way where orders are crossed with seeds."""
    placed = layout(values)
    d = np.array([[values[key] for key in row] for row in placed.grid])
    return (intervals.crossed(d) if placed.crossed else intervals.of_replicates(d[0])), placed


def figure_of(run: Run, figure: Figure | str) -> Figure:
    """The figure of that id. Raises ResultError if the run has none."""
    if isinstance(figure, Figure):
        return figure
    known = {f.id: f for f in figures(strata_of(run), {m.id for m in metrics_of(run)})}
    if figure not in known:
        close = difflib.get_close_matches(figure, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "summary.csv of its report names them all"
        raise ResultError(f"{run.folder} has no figure {figure!r}: {hint}")
    return known[figure]


def values_of(run: Run, method: str, figure: Figure) -> dict[Key, tuple[float, Array]]:
    """The figure of each cell that went through the whole sequence and has it, and what it is the mean of.

    That is (concepts,) in the order of the sequence, NaN for one that the figure says nothing of.
    """
    found = {}
    for cell in run.of(method):
        subject = Subject.of(run, cell) if run.complete(cell) else None
        value = figure.compute(subject)[0] if subject else math.nan
        if subject and math.isfinite(value):
            by_concept = figure.by_concept(subject) if figure.by_concept else {}
            terms = np.array([by_concept.get(concept, math.nan) for concept in run.concepts])
            found[cell.order, cell.seed] = value, terms
    return found


def paired(
    figure: Figure,
    names: tuple[str, str],
    ours: Mapping[Key, tuple[float, Array]],
    theirs: Mapping[Key, tuple[float, Array]],
    *,
    margin: float | None,
    ranked: bool,
    always: bool,
) -> Comparison:
    """Effect and intervals of one pair of methods, before anything is adjusted or judged; values as of `values_of`."""
    both = paired_differences(*({key: value for key, (value, _) in side.items()} for side in (ours, theirs)))
    if not both:
        reason = "no order and seed of both has this figure"
        return Comparison(figure, *names, 0, reason=reason, margin=margin, ranked=ranked, always=always)
    found, placed = estimate(both)
    d = tuple(both[key] for key in placed.keys)
    made = Comparison(figure, *names, len(d), float(found.mean), margin=margin, ranked=ranked)
    made = replace(made, layout=placed, differences=d)
    if len(d) < 2:
        return made
    low, high = (float(end) for end in found.limits())
    made = replace(made, low=low, high=high, error=float(found.variance) ** 0.5, df=float(found.df), p=float(found.p))
    if always and not placed.crossed:
        return _at_any_time(made)
    if figure.by_concept is None:
        return made
    table = np.array([ours[key][1] - theirs[key][1] for key in placed.keys])
    half = float(intervals.new_concepts(table, found).half())
    # never within the interval for these concepts, though it may have more degrees of freedom
    half = max(half, (high - low) / 2) if np.isfinite(half) else float("nan")
    mean = float(found.mean)
    return replace(made, wide_low=mean - half, wide_high=mean + half) if np.isfinite(half) else made


def _at_any_time(c: Comparison) -> Comparison:
    """With the always-valid interval and p = 1/E_n; of few replicates there is no interval."""
    low, high = (float(end) for end in always_valid(c.differences))
    ends = (low, high) if math.isfinite(low) else (None, None)
    return replace(c, low=ends[0], high=ends[1], p=min(1.0, 1 / float(e_value(c.differences))), always=True)


def _judged(c: Comparison, family: int) -> Comparison:
    """With a verdict, or the reason for none, and the number of replicates that are still needed."""
    if c.effect is None:
        return c
    if not c.ranked:
        return replace(c, reason="a reference, not ranked")
    if c.figure.direction is None:
        return replace(c, reason="neither way is better")
    if c.n < LEAST or c.low is None or c.high is None or c.holm_p is None:
        return replace(c, reason=f"fewer than {LEAST} replicates", needed=_more(c, family))
    verdict = judge(c.effect, c.low, c.high, c.holm_p, c.margin, c.figure.direction == "higher")
    return replace(c, verdict=verdict, needed=_more(c, family) if verdict == "undecided" else None)


def more_replicates(c: Comparison, difference: float, alpha: float = ALPHA) -> int | None:
    """How many more are likely to find a difference with 80 % power at that level; None if no number can be said.

    Crossed cells count for as many replicates as would have their degrees of freedom.
    """
    if c.n < 2 or c.df is None or c.error is None:
        return LEAST - c.n
    # of cells that were not paired: as many more of either, their standard deviations as they are
    have = c.n if c.apart else c.df + 1
    how = replicates_until if c.always and not c.apart else replicates_needed
    total = how(difference, c.error * math.sqrt(have), alpha)
    return None if total is None else max(math.ceil(total - have), LEAST - c.n, 1)


def _more(c: Comparison, family: int) -> int | None:
    """Until the effect that was seen, or the margin if that is larger, is found after adjusting."""
    return more_replicates(c, max(abs(c.effect or 0.0), c.margin or 0.0), ALPHA / max(family, 1))
