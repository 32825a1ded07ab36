"""A method's tuning, round by round: each a run of its own, which takes over what earlier ones have computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.store.files import plain_errors, write_bytes
from cat_bench.benchmark.tuning.protocol import KEPT, PROTOCOL, Protocol, Settings, label
from cat_bench.benchmark.tuning.table import markdown, table, winner
from cat_bench.benchmark.tuning.trial import Trial, best, read_trials

if TYPE_CHECKING:
    from cat_bench.methods.base import Method


class Wanted(NamedTuple):
    """A run that a round needs, and its name."""

    spec: RunSpec
    name: str


@dataclass
class Search:
    """Iterate over it and carry out each run in `runs` before the next is asked for; then there are `trials`.

    grid: the settings of the first round. given: settings of the runs besides what the protocol says, such as the
    backbone. found: trials in the order in which they were first made, each with the replicates of its last round.
    """

    method: type[Method]
    runs: Path
    given: Mapping[str, Any]
    protocol: Protocol
    grid: tuple[Settings, ...]
    found: dict[str, Trial] = field(default_factory=dict)  # by label

    @classmethod
    def of(cls, method: type[Method], runs: Path, given: Mapping[str, Any], protocol: Protocol | None = None) -> Search:
        """Raises MethodError for a knob that cannot be turned."""
        protocol = protocol or PROTOCOL
        return cls(method, runs, given, protocol, protocol.grid(method))

    def __iter__(self) -> Iterator[Wanted]:
        """The rounds' runs. Raises SpecError, or ResultError where a run that was to be carried out has no scores."""
        tried = self.grid
        for number, replicates in enumerate(self.protocol.replicates, 1):
            wanted = Wanted(self._spec(tried, replicates), f"{self.method.name}-round{number}")
            yield wanted
            trials = read_trials(self.runs / wanted.name, self.method.name, tried)
            self.found |= {label(self.method.name, trial.settings): trial for trial in trials}
            tried = tuple(trial.settings for trial in best(trials, KEPT))
            if number == 1:
                tried = (*tried, *self.protocol.beside(self.method, tried))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of them, by the knob's value as it came up, and then by rising learning rate."""
        values = list(dict.fromkeys(self._turned(trial) for trial in self.found.values()))
        order = sorted(self.found.values(), key=lambda trial: (values.index(self._turned(trial)), trial.settings["lr"]))
        return tuple(order)

    def _turned(self, trial: Trial) -> Any:
        return trial.settings.get(self.method.knob[0]) if self.method.knob else None

    @property
    def winner(self) -> Trial | None:
        """The best setting that has all replicates; None before that, or if none learned and kept anything."""
        return winner(self.trials, self.protocol)

    def write(self) -> str:
        """Write METHOD.csv, one line a cell, and METHOD.md, which is returned: all trials and the winner."""
        backbone = str(self.given.get("backbone", RunSpec.model_fields["backbone"].default))
        page = markdown(self.method, self.trials, self.protocol, backbone)
        with plain_errors(self.runs):
            write_bytes(self.runs / f"{self.method.name}.csv", table(self.method, self.trials, self.protocol).encode())
            write_bytes(self.runs / f"{self.method.name}.md", page.encode())
        return page

    def _spec(self, tried: Sequence[Settings], replicates: int) -> RunSpec:
        fixed = {
            "sequence": self.protocol.sequence,
            "methods": tuple(label(self.method.name, settings) for settings in tried),
            "replicates": replicates,
            "images_per_prompt": self.protocol.images,
            "diversity_images": 0,
            "stages": "last",
        }
        return resolve(self.given, fixed)
