"""What a training step shows a method, and what a method asks of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from cat_bench.methods.errors import MethodError


@dataclass(frozen=True)
class Query:
    """One prediction a method needs at this step, for the same noisy latents and timesteps as every other of the step.

    prompt   n texts, one for each item of the batch.
    adapter  "on": the model as it is being trained; "off": the untouched backbone; "previous": the model as it entered
             this stage. Only "on" carries a gradient.
    items    None: the batch's own; else the name of a pool, whose n items, noise and timesteps are asked about instead.

    Raises MethodError for another adapter.
    """

    prompt: tuple[str, ...]
    adapter: Literal["on", "off", "previous"] = "on"
    items: str | None = None

    def __post_init__(self) -> None:
        if self.adapter not in ("on", "off", "previous"):
            raise MethodError(f"Query: adapter {self.adapter!r}; give 'on', 'off' or 'previous'")


@dataclass(frozen=True)
class Batch:
    """One training step's items.

    target                  (n, c, h, w) what the backbone should predict: the noise or the velocity
    prompt                  n captions with the concept's trigger
    prompt_without_trigger  the same captions without it
    step                    from 0
    templates               the same captions with "{}" in the place of the concept, for `Method.about`
    pools                   n items of each of the method's pools that has any, by name
    """

    target: Tensor
    prompt: tuple[str, ...]
    prompt_without_trigger: tuple[str, ...]
    step: int
    templates: tuple[str, ...] = ()
    pools: "Mapping[str, Batch]" = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Kept:
    """Items of every earlier concept that were kept when it was learned, `count` of each; they are carried and counted.

    Declare it from the first concept on: what is declared there is what later ones can have. Raises MethodError unless
    count is 1 or more.
    """

    count: int

    def __post_init__(self) -> None:
        _count("Kept", self.count)


@dataclass(frozen=True)
class Generated:
    """Items that the untouched backbone ("off") or the model as it enters the stage draws, `count` for each prompt.

    Their captions, with and without a trigger, are the prompts as they stand. Raises MethodError for one text in the
    place of several, for a count below 1 and for another adapter.
    """

    prompts: tuple[str, ...]
    count: int
    adapter: Literal["off", "previous"] = "off"

    def __post_init__(self) -> None:
        _count("Generated", self.count)
        given: object = self.prompts
        if isinstance(given, str):
            raise MethodError(f"Generated: give a tuple of prompts, ({given!r},), not one text")
        if self.adapter not in ("off", "previous"):
            raise MethodError(
                f"Generated: adapter {self.adapter!r}; only 'off' and 'previous' draw, as the stage begins"
            )


@dataclass(frozen=True)
class Everything:
    """All training items of every earlier concept, which no continual method has: for references only."""


Pool = Kept | Generated | Everything


def _count(kind: str, count: int) -> None:
    if not isinstance(count, int) or count < 1:
        raise MethodError(f"{kind}: a count of {count!r}; give a whole number, 1 or more")
