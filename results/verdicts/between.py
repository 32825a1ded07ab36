"""Methods of two runs compared: replicate by replicate where they share noise, orders and seeds, else as two groups."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.figures import Figure
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts import intervals
from cat_bench.results.verdicts.comparison import Comparison, bound, estimate, judged, paired, reference_of, values_of
from cat_bench.results.verdicts.layout import Key
from cat_bench.results.verdicts.margins import margin

# What a protocol is made of, where run.json has it.
_PROTOCOL = {
    "the sequence": ("sequence", "fingerprint"),
    "the backbone": ("backbone", "fingerprint"),
    "the metric model": ("metric_model", "fingerprint"),
    "the sampler": ("spec", "sampler"),
    "images a prompt": ("spec", "images_per_prompt"),
    "preservation images": ("spec", "preservation_images"),
    "diversity images": ("spec", "diversity_images"),
    "precision": ("computed",),
}


@dataclass(frozen=True)
class Side:
    """A run, and what it is called beside another."""

    run: Run
    name: str


@dataclass(frozen=True)
class Pair:
    """A method of one run and the one of the other that it is compared with."""

    ours: str
    theirs: str


def pairs_of(ours: Run, theirs: Run, method: str | None = None, to: str | None = None) -> tuple[Pair, ...]:
    """Which methods are compared: those that both have, each with itself; others of ours with the other run's first.

    method: this one alone of ours. to: with this one alone of the other run. Raises ResultError if there is none.
    """
    if not ours.methods or not theirs.methods:
        raise ResultError(f"{(theirs if ours.methods else ours).folder} has no method")
    chosen = ours.methods if method is None else (_known(ours, method, "--method"),)
    if to is not None:
        return tuple(Pair(name, _known(theirs, to, "--to")) for name in chosen)
    return tuple(Pair(name, name if name in theirs.methods else reference_of(theirs)) for name in chosen)


def share_noise(ours: Run, theirs: Run) -> bool:
    """Whether equal orders and seeds of two runs are the same replicate: one sequence, one protocol."""
    protocol = ours.info.get("protocol")
    return protocol is not None and protocol == theirs.info.get("protocol") and ours.sequence == theirs.sequence


def differing(ours: Run, theirs: Run) -> tuple[str, ...]:
    """What of their protocols two runs do not share, in words; empty if they share noise."""
    if share_noise(ours, theirs):
        return ()
    values = {what: tuple(_at(run.info, keys) for run in (ours, theirs)) for what, keys in _PROTOCOL.items()}
    return tuple(what for what, (one, other) in values.items() if one != other) or (
        "what was recorded of the protocol",
    )


def compare_runs(ours: Side, theirs: Side, pairs: Sequence[Pair], figures: Sequence[Figure]) -> list[Comparison]:
    """Every pair in every figure, ours − theirs, p adjusted within each figure.

    Paired by order and seed where both runs share noise and at least two cells of a pair have the figure; else the
    difference of two independent means, with Welch's interval, and `apart` says so. A method that both runs have is
    called by its run as well.
    """
    shared = share_noise(ours.run, theirs.run)
    always = any(side.run.until_decided is not None for side in (ours, theirs))
    found = []
    for figure in figures:
        of_figure = []
        for pair in pairs:
            values = values_of(ours.run, pair.ours, figure), values_of(theirs.run, pair.theirs, figure)
            names = (f"{pair.ours} ({ours.name})", f"{pair.theirs} ({theirs.name})")
            ranked = not (bound(ours.run, pair.ours) or bound(theirs.run, pair.theirs))
            limit = margin(ours.run, figure) if _same_judge(ours.run, theirs.run, figure) else None
            common, fewest = len(values[0].keys() & values[1].keys()), min(map(len, values))
            if shared and common >= min(2, max(fewest, 1)):
                made = paired(figure, names, *values, margin=limit, ranked=ranked, always=always)
            else:
                each = tuple({key: value for key, (value, _) in side.items()} for side in values)
                made = _unpaired(Comparison(figure, *names, 0, margin=limit, ranked=ranked), *each)
            of_figure.append(made)
        found += judged(of_figure)
    return found


def _unpaired(c: Comparison, ours: Mapping[Key, float], theirs: Mapping[Key, float]) -> Comparison:
    """With effect and interval of two means that share nothing."""
    if not ours or not theirs:
        return replace(c, reason=f"{c.against if ours else c.method} has no cell with this figure")
    (one, of_one), (other, of_other) = estimate(ours), estimate(theirs)
    found, counts = intervals.apart(one, other), (len(of_one.keys), len(of_other.keys))
    # the one that is crossed, if any is: then they are called cells
    made = replace(c, n=min(counts), effect=round(float(found.mean), 12), apart=counts)
    made = replace(made, layout=of_one if of_one.crossed else of_other)
    if made.n < 2:
        return made
    low, high = (float(end) for end in found.limits())
    return replace(made, low=low, high=high, error=float(found.variance) ** 0.5, df=float(found.df), p=float(found.p))


def _same_judge(ours: Run, theirs: Run, figure: Figure) -> bool:
    """Whether one model made the figure's scores of both runs."""
    models = [{model for metric, model in run.judges if metric == figure.metric} for run in (ours, theirs)]
    return models[0] == models[1]


def _known(run: Run, name: str, flag: str) -> str:
    if name in run.methods:
        return name
    close = difflib.get_close_matches(name, run.methods, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(run.methods)}"
    raise ResultError(f"{flag} {name}: {run.folder} has no such method; {hint}")


def _at(info: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = info
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
