"""A method's trials as a table to read, and as one that programs read."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from cat_bench.benchmark.tuning.protocol import Protocol, Settings, words
from cat_bench.benchmark.tuning.trial import BESIDE, Trial, best

if TYPE_CHECKING:
    from cat_bench.methods.base import Method

MISSING = "–"
_SIGNS = {"seconds_train": "{:.0f}"}


def winner(trials: Sequence[Trial], protocol: Protocol) -> Trial | None:
    """The best of those that have all replicates; None if none of them learned and kept anything."""
    asked = protocol.replicates[-1]
    found = best([trial for trial in trials if len(trial.objectives) == asked], 1)
    return found[0] if found and found[0].objective > 0 else None


def edge(trial: Trial | None, trials: Sequence[Trial]) -> str | None:
    """Where a trial's learning rate is the lowest or the highest of all that were tried: which; else None."""
    rates = [other.settings["lr"] for other in trials]
    return None if trial is None else {min(rates): "lowest", max(rates): "highest"}.get(trial.settings["lr"])


def markdown(method: type[Method], trials: Sequence[Trial], protocol: Protocol, backbone: str) -> str:
    """All trials of a method, the winner in bold, and what follows from it."""
    chosen = winner(trials, protocol)
    lines = [f"## {method.name}", "", *_head("settings", "n", "first")]
    lines += [
        _row((words(t.settings), str(len(t.objectives)), _number(t.first)), t, "**" * (t is chosen)) for t in trials
    ]
    lines += ["", *_conclusion(method, chosen, edge(chosen, trials), backbone)]
    lines += [f"{words(trial.settings)}: {trial.trouble}" for trial in trials if trial.trouble]
    return "\n".join(lines) + "\n"


def winners(found: Mapping[str, Trial | None]) -> str:
    """The winner of each method, by its name, best first; what has none last."""
    order = sorted(found.items(), key=lambda pair: -pair[1].objective if pair[1] else 0.0)
    rows = [
        _row((name, words(trial.settings)) if trial else (name, MISSING), trial or Trial({})) for name, trial in order
    ]
    lines = ["## Winners", "", *_head("method", "settings"), *rows]
    return "\n".join(lines) + "\n"


def table(method: type[Method], trials: Sequence[Trial], protocol: Protocol) -> str:
    """One line a cell, as CSV."""
    chosen = winner(trials, protocol)
    text = io.StringIO()
    columns = ("method", "settings", "replicate", "objective", "clip_i_share", "kps_share", *BESIDE, "edge", "winner")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    for trial in trials:
        about = (edge(trial, trials) or "", str(trial is chosen).lower())
        for outcome in trial.outcomes:
            shares = (outcome.objective, outcome.fidelity, outcome.preservation)
            values = ["" if math.isnan(value) else f"{value:.6g}" for value in (*shares, *outcome.beside.values())]
            rows.writerow([method.name, words(trial.settings), outcome.replicate, *values, *about])
    return text.getvalue()


def preset(method: type[Method], settings: Settings, backbone: str) -> dict[str, object]:
    """The backbone's preset with the winner's settings, without what is a default anyway."""
    before = method.presets.get(backbone, {})
    fields = method.Config.model_fields
    new = {key: value for key, value in settings.items() if key in before or fields[key].default != value}
    return {**before, **new}


def _conclusion(method: type[Method], chosen: Trial | None, end: str | None, backbone: str) -> Iterator[str]:
    if chosen is None:
        yield "No winner: nothing was both learned and kept by any of the settings that have all replicates."
        return
    if end:
        rate = f"{chosen.settings['lr']:g} is the {end} learning rate that was tried"
        yield f"The winner lies **at the edge**: {rate}, and a better one may lie beyond."
    new = ", ".join(f'"{key}": {value!r}' for key, value in preset(method, chosen.settings, backbone).items())
    yield f'Preset: `"{backbone}": {{{new}}}`'


def _head(*first: str) -> tuple[str, str]:
    columns = (*first, "objective", "SD", "CLIP-I share", "KPS share", *BESIDE.values())
    return _line(columns), _line(["---"] * len(columns))


def _row(first: tuple[str, ...], trial: Trial, mark: str = "") -> str:
    figures = map(_number, (trial.spread, trial.fidelity, trial.preservation))
    beside = (_number(trial.beside(name), _SIGNS.get(name, "{:.3f}")) for name in BESIDE)
    return _line([f"{mark}{first[0]}{mark}", *first[1:], f"{mark}{_number(trial.objective)}{mark}", *figures, *beside])


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _number(value: float, sign: str = "{:.3f}") -> str:
    return MISSING if math.isnan(value) else sign.format(value).replace("-", "−")
