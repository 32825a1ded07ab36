"""What was learned, prompt by prompt, where a method weighs the adapters that it folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cat_bench.benchmark.learning.adapter_state import Factor
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.learning.past import Past, Weights
from cat_bench.methods.base import Concept, Method

Route = Callable[[str], Weights | None]  # the weights for a prompt; None: the whole past


def route_of(method: Method, concepts: Sequence[Concept]) -> Route:
    """How a method that has learned these concepts weighs its factors."""

    def route(prompt: str) -> Weights | None:
        weights = method.route(prompt, concepts)
        return None if weights is None else tuple(map(float, weights))

    return route


@dataclass(frozen=True)
class Routed:
    """ΔW = dense + Σ w_i(prompt) B_i A_i + what was not folded."""

    factors: Sequence[Factor]
    dense: Mapping[str, Tensor]
    last: Factor  # the adapter that was not folded, scaling inside B
    route: Route

    def deltas(self, weights: Weights | None) -> dict[str, Tensor]:
        """ΔW (out, in) by layer; {} where nothing is changed at all."""
        past, found = Past([dict(factor) for factor in self.factors], dict(self.dense)), {}
        for name, (A, B) in self.last.items():
            change = B @ A
            found[name] = past.of(name, change, weights) + change
        return found if any(bool(delta.any()) for delta in found.values()) else {}


def learned(adapter: LoraAdapter, route: Route, prompts: Sequence[str]) -> Mapping[str, Tensor] | Routed:
    """All that an adapter has learned, as these prompts are to be drawn with it."""
    if all(route(prompt) is None for prompt in prompts):
        return adapter.deltas()
    return Routed(tuple(adapter.factors), dict(adapter.dense), adapter.current(), route)
