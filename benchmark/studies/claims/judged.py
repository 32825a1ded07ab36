"""A claim held against a run: effect, interval and verdict of each of its comparisons, and what all of them come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cat_bench.benchmark.studies.claims.declared import CHANGE, Claim
from cat_bench.results.measures.available import metrics_of, strata_of
from cat_bench.results.measures.figures import Figure, Outcome, figures
from cat_bench.results.measures.subjects import NAN, Subject
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.sentences import counted, number
from cat_bench.results.verdicts.comparison import Comparison, judged, more_replicates, paired, values_of
from cat_bench.results.verdicts.margins import margin
from cat_bench.results.verdicts.verdict import ALPHA, LEAST

Verdict = Literal["supported", "contradicted", "undecided"]


def _change(subject: Subject) -> Outcome:
    norms = [info.get("change_norm") for info in subject.infos]
    if len(norms) < 2 or not norms[0] or norms[-1] is None:
        return NAN, "not recorded"
    return float(norms[-1]) / float(norms[0]), None


LAST_TO_FIRST = Figure(
    id=CHANGE,
    title="Size of the last stage's change relative to the first's",
    short="last/first",
    group="cost",
    direction="higher",  # the more the last concept still changes
    formula="‖W_T − W_{T−1}‖ / ‖W_1 − W_0‖",
    source="defined by this project",
    compute=_change,
    digits=2,
)


@dataclass(frozen=True)
class Finding:
    """One comparison of a claim. compared: None if a method is missing. why: in one sentence."""

    method: str
    against: str
    verdict: Verdict
    why: str
    compared: Comparison | None = None


def findings(run: Run, claim: Claim) -> tuple[Finding, ...]:
    """Each comparison of a claim in a run; p is adjusted for all comparisons of the claim (Holm)."""
    figure = _figure(run, claim.figure)
    lacking = {m: f"the run has no {m}" for m in (claim.method, *claim.against) if m not in run.methods}
    if figure is None:
        lacking = dict.fromkeys((claim.method, *claim.against), f"the run has no {claim.figure}")
    values = {m: values_of(run, m, figure) for m in (claim.method, *claim.against) if figure and m not in lacking}
    limit, always = (margin(run, figure), run.until_decided is not None) if figure else (None, False)
    there = [a for a in claim.against if a in values] if claim.method in values else []
    made = [
        paired(figure, (claim.method, a), values[claim.method], values[a], margin=limit, ranked=True, always=always)
        for a in there
        if figure
    ]
    of = {c.against: c for c in judged(made)}
    return tuple(
        _finding(claim, of[a])
        if a in of
        else Finding(claim.method, a, "undecided", lacking.get(claim.method) or lacking[a])
        for a in claim.against
    )


def verdict_of(found: Sequence[Finding]) -> Verdict:
    """Of a whole claim: supported if each comparison supports it, contradicted if any contradicts it."""
    verdicts = {one.verdict for one in found}
    return "contradicted" if "contradicted" in verdicts else "supported" if verdicts == {"supported"} else "undecided"


def _figure(run: Run, name: str) -> Figure | None:
    known = {f.id: f for f in (*figures(strata_of(run), {m.id for m in metrics_of(run)}), LAST_TO_FIRST)}
    return known.get(name)


def _finding(claim: Claim, c: Comparison) -> Finding:
    verdict, why = (
        _no_loss(c) if claim.direction == "not lower" else _apart(c, 1 if claim.direction == "higher" else -1)
    )
    return Finding(c.method, c.against, verdict, why, c)


def _apart(c: Comparison, sign: int) -> tuple[Verdict, str]:
    """Of a claimed difference; sign: 1 if the method is claimed to have more of the figure."""
    if few := _few(c):
        return "undecided", few
    if c.verdict in ("better", "worse"):
        small = "" if c.clear else ", though by less than two scorings of the same adapters differ"
        if (c.effect or 0.0) * sign > 0:
            return "supported", f"the interval lies {'above' if sign > 0 else 'below'} 0{small}"
        return "contradicted", f"it is the other way round{small}"
    if c.verdict == "equivalent":
        return "contradicted", f"there is no difference beyond ±{number(c.margin, c.figure)}, the noise of scoring"
    return "undecided", _open(c)


def _no_loss(c: Comparison) -> tuple[Verdict, str]:
    """Of a claim that nothing is lost: the whole interval must lie above −margin."""
    if few := _few(c):
        return "undecided", few
    if c.low is not None and c.low >= -(c.margin or 0.0):
        within = f"beyond ±{number(c.margin, c.figure)}, the noise of scoring" if c.margin else "at all"
        return "supported", f"there is no loss {within}"
    if c.verdict == "worse":
        return "contradicted", "the interval lies below 0: something is lost"
    most = number(c.margin, c.figure) if c.margin else "0"
    return "undecided", f"a loss of more than {most} cannot be ruled out{_until_ruled_out(c)}"


def _until_ruled_out(c: Comparison) -> str:
    """With how many more replicates a loss beyond the margin is ruled out at 80 % power; if it was seen, found."""
    room = (c.effect or 0.0) + (c.margin or 0.0)
    if room <= 0:
        return f", and no smaller one was seen{_needed(c)}"
    return _likely(more_replicates(c, room))


def _few(c: Comparison) -> str | None:
    if c.effect is None:
        return c.reason or "nothing can be compared"
    if c.n < LEAST:
        more = f", about {c.needed} more are likely needed" if c.needed else ""
        return f"{counted(c)} {'is' if c.n == 1 else 'are'} too few for a verdict{more}"
    return None


def _open(c: Comparison) -> str:
    outside = c.low is not None and c.high is not None and not c.low <= 0 <= c.high
    adjusted = f"the interval excludes 0, but p is above {ALPHA:g} once it is adjusted for the claim's comparisons"
    said = adjusted if outside else "the interval has 0 in it"
    return said + (_needed(c) or "; the effect is too small for any number of replicates")


def _needed(c: Comparison) -> str:
    return _likely(c.needed)


def _likely(more: int | None) -> str:
    return "" if more is None else f"; about {more} more replicates are likely needed"
