"""What is tried, and how often: the same for every method, fixed before the first trial (docs/tuning.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.planning.variant import Variant
from cat_bench.methods.knob import knob_of

if TYPE_CHECKING:
    from cat_bench.methods.base import Method

Settings = Mapping[str, Any]  # of a method: a learning rate, and a value of its knob
KEPT = 2  # settings that a round passes on


@dataclass(frozen=True)
class Protocol:
    """The development sequence, the grid of learning rates, the replicates, and what of a model is drawn.

    rates: rising. replicates: of each setting after the first, the second and the last round.
    """

    sequence: str = "dev3"
    rates: tuple[float, ...] = (1.6e-4, 4e-4, 1e-3, 2.5e-3, 6e-3, 1.5e-2)
    replicates: tuple[int, int, int] = (1, 2, 5)
    images: int = 2  # of each evaluation prompt

    @property
    def cells(self) -> int:
        """What one method costs: all rates, then two of them and two settings more, then the best two."""
        first, second, last = self.replicates
        return len(self.rates) * first + (2 * KEPT * second - KEPT * first) + KEPT * (last - second)

    def grid(self, method: type[Method]) -> tuple[Settings, ...]:
        """The first round: every learning rate, with the usual value of the method's knob.

        Raises MethodError for a knob that cannot be turned.
        """
        if method.knob is None:
            return tuple({"lr": rate} for rate in self.rates)
        name, usual, _ = knob_of(method)
        return tuple({"lr": rate, name: usual} for rate in self.rates)

    def beside(self, method: type[Method], ahead: Sequence[Settings]) -> tuple[Settings, ...]:
        """What the second round tries besides the settings that are ahead, best first: as many again.

        The knob's other value at these rates; without a knob, half a step below and above the best rate.
        """
        if method.knob is None:
            return tuple({"lr": rate} for rate in self._half_steps(ahead[0]["lr"]))
        name, _, other = knob_of(method)
        return tuple({**settings, name: other} for settings in ahead)

    def _half_steps(self, rate: float) -> tuple[float, float]:
        """Geometric means with the neighbours in the grid, to two digits; past an end as far as on its inner side."""
        place = self.rates.index(rate)
        lower = self.rates[place - 1] if place else rate * rate / self.rates[1]
        upper = self.rates[place + 1] if place + 1 < len(self.rates) else rate * rate / self.rates[-2]
        return _between(lower, rate), _between(rate, upper)


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
