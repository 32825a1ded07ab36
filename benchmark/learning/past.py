"""What earlier concepts left in the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cat_bench.benchmark.errors import AdapterError

Weights = tuple[float, ...]  # of the factors, oldest first


@dataclass(frozen=True, eq=False)
class Past:
    """ΔW of earlier concepts by layer: a dense part + Σ B_i A_i of the factors, oldest first. Never written to."""

    factors: list[dict[str, tuple[Tensor, Tensor]]] = field(default_factory=list)  # A (r, in), B (out, r)
    dense: dict[str, Tensor] = field(default_factory=dict)  # (out, in)
    _sums: dict[tuple[str, Weights | None], Tensor] = field(default_factory=dict)  # computed on demand

    def __bool__(self) -> bool:
        return bool(self.factors or self.dense)

    def of(self, name: str, weight: Tensor, weights: Weights | None = None) -> Tensor:
        """(out, in) in fp32; weight: the layer's own, of that shape.

        weights: dense + Σ w_i B_i A_i instead, for a prompt that is routed. Raises AdapterError unless there is one for
        each factor.
        """
        if not self.factors and name in self.dense and not weights:
            return self.dense[name]
        if weights is not None and len(weights) != len(self.factors):
            raise AdapterError(
                f"route() gave {len(weights)} weights for {len(self.factors)} folded adapters: give one for "
                "each of `concepts`, and fold() each concept's adapter in end()"
            )
        if (name, weights) not in self._sums:
            total = torch.zeros_like(weight, dtype=torch.float32)
            if name in self.dense:
                total += self.dense[name]
            for number, factor in enumerate(self.factors):
                A, B = factor[name]
                if weights is None or weights[number] == 1:
                    total += B @ A
                elif weights[number]:
                    total += weights[number] * (B @ A)
            self._sums[name, weights] = total
        return self._sums[name, weights]

    def compact(self, weights: dict[str, Tensor]) -> Past:
        """The same as one dense sum, where that is smaller. weights: the layers' own.

        Equal bit for bit: a sum goes on in the order in which it was begun.
        """
        thin = sum(A.numel() + B.numel() for factor in self.factors for A, B in factor.values())
        kept = sum(tensor.numel() for tensor in self.dense.values())
        if thin + kept <= sum(weight.numel() for weight in weights.values()):
            return self
        return Past(dense={name: self.of(name, weight) for name, weight in weights.items()})
