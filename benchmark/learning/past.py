"""What earlier concepts left in the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Past:
    """ΔW of earlier concepts by layer: a dense part + Σ B_i A_i of the factors, oldest first. Never written to."""

    factors: list[dict[str, tuple[Tensor, Tensor]]] = field(default_factory=list)  # A (r, in), B (out, r)
    dense: dict[str, Tensor] = field(default_factory=dict)  # (out, in)
    _sums: dict[str, Tensor] = field(default_factory=dict)  # computed on demand

    def __bool__(self) -> bool:
        return bool(self.factors or self.dense)

    def of(self, name: str, weight: Tensor) -> Tensor:
        """(out, in) in fp32; weight: the layer's own, of that shape."""
        if not self.factors and name in self.dense:
            return self.dense[name]
        if name not in self._sums:
            total = torch.zeros_like(weight, dtype=torch.float32)
            if name in self.dense:
                total += self.dense[name]
            for factor in self.factors:
                A, B = factor[name]
                total += B @ A
            self._sums[name] = total
        return self._sums[name]

    def compact(self, weights: dict[str, Tensor]) -> Past:
        """The same as one dense sum, where that is smaller. weights: the layers' own.

        Equal bit for bit: a sum goes on in the order in which it was begun.
        """
        thin = sum(A.numel() + B.numel() for factor in self.factors for A, B in factor.values())
        kept = sum(tensor.numel() for tensor in self.dense.values())
        if thin + kept <= sum(weight.numel() for weight in weights.values()):
            return self
        return Past(dense={name: self.of(name, weight) for name, weight in weights.items()})
