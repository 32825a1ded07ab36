"""What is tried, and how often: the same for every method, fixed before the first trial (docs/tuning.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.planning.variant import Variant
from cat_bench.methods.knob import knob_of

if TYPE_CHECKING:
    from cat_bench.methods.base import Method

Settings = Mapping[str, Any]  # of a method: a learning rate, and a value of its knob


@dataclass(frozen=True)
class Round:
    """So many settings, each with so many replicates; those of earlier rounds are among them."""

    settings: int
    replicates: int


@dataclass(frozen=True)
class Protocol:
    """The development sequence, the grid of learning rates, the rounds, and what of a model is drawn.

    rates: rising. The outermost are tried once each, to show that no winner lies there.
    """

    sequence: str = "dev3"
    rates: tuple[float, ...] = (4e-4, 1e-3, 2.5e-3, 6e-3, 1.5e-2)
    rounds: tuple[Round, ...] = (Round(8, 1), Round(4, 2), Round(2, 5))
    images: int = 2  # of each evaluation prompt

    @property
    def cells(self) -> int:
        """What one method costs."""
        before, cells = 0, 0
        for stage in self.rounds:
            cells += stage.settings * (stage.replicates - before)
            before = stage.replicates
        return cells

    def settings(self, method: type[Method]) -> tuple[Settings, ...]:
        """What is tried of a method, in the order of the table; as many for each.

        Its `knob` has two values: the first goes with every rate, the second with the inner rates. A method without one
        gets as many rates more, between these. Raises MethodError for a knob that cannot be turned.
        """
        inner = self.rates[1:-1]
        if method.knob is None:
            upper = [_between(low, high) for low, high in pairwise(self.rates[1:])]
            return tuple({"lr": rate} for rate in sorted((*self.rates, *upper[: len(inner)])))
        name, usual, other = knob_of(method)
        return (*({"lr": rate, name: usual} for rate in self.rates), *({"lr": rate, name: other} for rate in inner))

    def edge(self, settings: Settings) -> str | None:
        """Where a setting's learning rate is the lowest or the highest that is tried: which; else None."""
        return {self.rates[0]: "lowest", self.rates[-1]: "highest"}.get(settings["lr"])


PROTOCOL = Protocol()


def label(method: str, settings: Settings) -> str:
    """A method with settings, as runs name it: `cat[lr=0.001,weight=6]`."""
    return Variant(method, tuple(sorted(settings.items()))).label


def words(settings: Settings) -> str:
    """The same for a table: `lr 0.001, weight 6`."""
    shown = {key: f"{value:g}" if isinstance(value, float) else value for key, value in settings.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def _between(low: float, high: float) -> float:
    """The geometric mean, to two digits."""
    return float(f"{math.sqrt(low * high):.2g}")
