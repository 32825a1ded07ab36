"""The adapter that a method trains, as far as a method sees it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter


class Adapter(Protocol):
    """A low-rank adapter on the backbone's attention layers, and what earlier concepts left behind.

    The weight of layer `name` is W0 + past(name) + delta(name), and that sum is what is sampled after a stage, unless
    `Method.route` weighs the factors. A method that trains only a part sets `requires_grad_(False)` on the rest in
    `begin`; every stage starts with all of it trainable.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The adapted layers, in module order."""

    @property
    def A(self) -> Mapping[str, Parameter]:
        """(rank, in), trained."""

    @property
    def B(self) -> Mapping[str, Parameter]:
        """(out, rank), trained."""

    @property
    def rank(self) -> int: ...

    @property
    def scaling(self) -> float:
        """alpha / rank."""

    @property
    def factors(self) -> Sequence[Mapping[str, tuple[Tensor, Tensor]]]:
        """For each folded adapter, oldest first, {name: (A (rank, in), B (out, rank))}, ΔW = B @ A: scaling is in B."""

    @property
    def dense(self) -> Mapping[str, Tensor]:
        """{name: (out, in)} the part of the past that is not low-rank; {} if there is none."""

    @property
    def generator(self) -> torch.Generator:
        """This stage's own stream for initial values; a method draws from no other."""

    @property
    def token(self) -> Parameter | None:
        """(1, d) learned embedding that stands for the trigger, drawn anew for each concept; None without `token`."""

    def past(self, name: str) -> Tensor:
        """(out, in) fp32, frozen: ΔW of all earlier concepts, dense + Σ B_i A_i; zeros before the second concept."""

    def delta(self, name: str) -> Tensor:
        """(out, in) scaling · B @ A, differentiable."""

    def reset(self, A: Mapping[str, Tensor] | None = None) -> None:
        """Start afresh: B = 0; A as given, or drawn from `generator` as peft does."""

    def fold(self) -> None:
        """Append (A, scaling · B) to `factors`, then reset(): the sampled model stays the same."""

    def replace(self, dense: Mapping[str, Tensor]) -> None:
        """The past becomes exactly `dense`, `factors` is cleared, then reset()."""
