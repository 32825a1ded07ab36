"""Verdicts in words: one sentence a question, with effect, interval and the number of replicates."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cat_bench.results.measures.figures import Figure
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import MISSING
from cat_bench.results.verdicts.comparison import Comparison
from cat_bench.results.verdicts.verdict import LEAST


class Question(NamedTuple):
    """What a method does that has more of the better in a figure, what it does that has less, and the figure's name."""

    better: str
    worse: str
    name: str


QUESTIONS: dict[str, Question] = {
    "concept_accuracy_average": Question(
        "draws the right concept more often", "draws the right concept less often", "accuracy"
    ),
    "concept_accuracy_forgetting": Question(
        "forgets less (accuracy)", "forgets more (accuracy)", "accuracy forgetting"
    ),
    "part_accuracy_average": Question(
        "draws more of what the concepts have", "draws less of what the concepts have", "parts"
    ),
    "clip_i_average": Question("is more like the references", "is less like the references", "CLIP-I"),
    "clip_i_plasticity": Question("learns a concept better", "learns a concept less well", "CLIP-I plasticity"),
    "clip_i_forgetting": Question("forgets less (CLIP-I)", "forgets more (CLIP-I)", "CLIP-I forgetting"),
    "scene_accuracy_average": Question("follows the prompt better", "follows the prompt less well", "scene"),
    "clip_t_average": Question("is nearer to the prompt's text", "is farther from the prompt's text", "CLIP-T"),
    "kps_class": Question("keeps more of the class", "keeps less of the class", "KPS class"),
    "kps_other": Question("keeps more of other classes", "keeps less of other classes", "KPS other"),
    "class_leak": Question("leaks less into the class", "leaks more into the class", "leak"),
    "class_diversity": Question("keeps the class more varied", "keeps the class less varied", "diversity"),
    "seconds_train": Question("trains faster", "trains slower", "training"),
}


def asked(figure: Figure) -> Question:
    """The question that a figure answers; its id in plain words for one that has none of its own."""
    return QUESTIONS.get(figure.id) or Question(f"is better in {figure.id}", f"is worse in {figure.id}", figure.id)


def sentence(c: Comparison) -> str:
    """`cat keeps more of the class than lora: +0.120 [0.080, 0.160], 10 replicates`.

    What is undecided says how many more replicates are likely to decide it, what has no verdict says why.
    """
    question = asked(c.figure)
    if c.verdict in ("better", "worse"):
        said = f"{c.method} {question.better if c.verdict == 'better' else question.worse} than {c.against}"
    elif c.verdict == "equivalent":
        said = f"{c.method} and {c.against} are equivalent in {question.name}, within ±{number(c.margin, c.figure)}"
    elif c.verdict == "undecided":
        said = f"undecided whether {c.method} or {c.against} {question.better}"
    else:
        said = f"{c.method} against {c.against} in {question.name}"
    why = f"; no verdict: {c.reason}" if c.verdict is None and c.reason else ""
    return f"{said}: {effect(c)}{aside(c)}, {counted(c)}{why}"


def sentences(found: Sequence[Comparison]) -> list[str]:
    """One for each question, of all methods: who is better than the reference, who worse, who neither."""
    of_figure: dict[str, list[Comparison]] = {}
    for c in found:
        of_figure.setdefault(c.figure.id, []).append(c)
    return [sentence(each[0]) if len(each) == 1 else _of_all(each) for each in of_figure.values()]


def _of_all(found: Sequence[Comparison]) -> str:
    question, against = asked(found[0].figure), found[0].against
    within = f"within ±{number(found[0].margin, found[0].figure)}"
    parts = []
    for verdict, said in (
        ("better", f"{question.better} than {against}"),
        ("worse", f"{question.worse} than {against}"),
        ("equivalent", f"equivalent to {against} in {question.name}, {within}"),
        ("undecided", f"undecided who {question.better}, against {against}"),
        (None, f"no verdict in {question.name}, against {against}"),
    ):
        if these := [c for c in found if c.verdict == verdict]:
            parts.append(f"{said}: " + ", ".join(f"{c.method} {effect(c)}{aside(c)}" for c in these))
    text = "; ".join(parts) + f" ({counted_together(found)})"
    return text[0].upper() + text[1:]


def few(found: Sequence[Comparison]) -> str | None:
    """One line if no verdict can be given because of too few replicates; else None."""
    ranked = [c for c in found if c.ranked]
    if not ranked or any(c.n >= LEAST for c in ranked):
        return None
    n = max(c.n for c in ranked)
    if n == 0:
        return f"Nothing can be compared: {ranked[0].against} and another method have no order and seed in common yet."
    # a comparison that no number of replicates is likely to decide is the last of all
    more = sorted(math.inf if c.needed is None else c.needed for c in ranked if c.n > 1)
    half = more[(len(more) - 1) // 2] if more else math.inf
    likely = f"; to decide half of the questions, about {half:.0f} more are likely to be needed"
    said = "1 replicate is" if n == 1 else f"{n} replicates are"
    begin = f"which begin at {LEAST} (--replicates {LEAST})"
    return f"{said} too few for verdicts, {begin}: effects only{likely if half < math.inf else ''}."


def stopped(run: Run) -> str | None:
    """One line if the run goes on until its comparisons are decided: by which rule, how far it came, and why it ended.

    Of the record that was made when it was looked at last.
    """
    made = run.info.get("decision") or {}
    if run.until_decided is None:
        return None
    rule = f"--until-decided {run.until_decided}"
    if not made.get("looks"):
        return f"This run goes on until its comparisons are decided ({rule}), and was not looked at yet."
    n, decided = list(made["looks"].items())[-1]
    open_ = [method for method, decision in decided.items() if not decision]
    each = ", ".join(f"{method} {decision}" for method, decision in decided.items() if decision)
    ended = {
        "decided": f"was stopped after {n} replicates, when every comparison was decided",
        "most": f"ended after {n} replicates, the most that were declared, with {', '.join(open_)} undecided",
    }.get(str(made.get("stop")), f"is not at its end after {n} replicates")
    return (
        f"This run was looked at after each replicate ({rule}) and {ended}, in {made['figure']} against "
        f"{made['against']}{f': {each}' if each else ''}. So all intervals of differences are always-valid ones, which "
        "hold however often one looks."
    )


def effect(c: Comparison, *, wide: bool = False) -> str:
    """`+0.120 [0.080, 0.160]` in the figure's unit, without an interval where there is one pair; wide: that alone."""
    if c.effect is None:
        return MISSING
    low, high = (c.wide_low, c.wide_high) if wide else (c.low, c.high)
    unit = f" {c.figure.unit}" if c.figure.unit else ""
    if low is None or high is None:
        return MISSING if wide else number(c.effect, c.figure, "+") + unit
    interval = f"[{number(low, c.figure)}, {number(high, c.figure)}]"
    return interval if wide else f"{number(c.effect, c.figure, '+')} {interval}{unit}"


def counted(c: Comparison) -> str:
    """`10 replicates`; `20 cells of 5 orders × 4 seeds` where they are crossed; of either if they are not paired."""
    if c.apart:
        return f"{c.apart[0]} and {c.apart[1]} {'cells' if c.layout.crossed else 'replicates'}, not paired"
    if c.layout.crossed:
        return f"{c.n} cells of {len(c.layout.grid)} orders × {len(c.layout.grid[0])} seeds"
    return f"{c.n} replicate{'' if c.n == 1 else 's'}"


def counted_together(found: Sequence[Comparison]) -> str:
    """What `counted` says of all: `5 to 10 replicates` where some have more."""
    if len(counts := sorted({c.n for c in found})) > 1 and not any(c.apart or c.layout.crossed for c in found):
        return f"{counts[0]} to {counts[-1]} replicates"
    return " or ".join(dict.fromkeys(map(counted, found)))


def number(value: float | None, figure: Figure, sign: str = "") -> str:
    """A value with the figure's decimals and a true minus."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{round(value, figure.digits) + 0.0:{sign}.{figure.digits}f}".replace("-", "−")


def aside(c: Comparison) -> str:
    """What must be known with an effect: that it is small, or what would decide it."""
    if c.verdict in ("better", "worse"):
        return "" if c.clear else " (less than two scorings differ by)"
    if c.verdict == "undecided":
        return f" ({f'about {c.needed} more needed' if c.needed is not None else 'too small for any number'})"
    return ""
