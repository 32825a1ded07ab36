"""Orthogonal Adaptation: concepts learned apart on inputs that no two of them share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cat_bench.methods.base import Adapter, Concept, Method, MethodError
from cat_bench.methods.merge import Merge
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("orthoadapt")
class OrthogonalAdaptation(Merge):
    """Orthogonal Adaptation: A is fixed, rows of one shared orthogonal basis; only B is trained, on W0 alone.

    ΔW_t = B_t A_t with A_i A_tᵀ = 0 for i ≠ t; the deltas are summed up to be sampled. The basis of R^in is random and
    the same for everyone; concept t takes its rows (t−1)·r to t·r − 1. In the paper, whose concepts are learned by
    people who do not know of each other, the rows are chosen by chance. When the basis is used up it begins again.
    """

    title = "Orthogonal Adaptation"
    source = "Po et al. 2024, arXiv 2312.02432"
    carries = "all adapters"
    keeps_factors = True
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3}}
    alone = False  # while a concept is learned

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        self.alone, bases = True, {width: basis(width) for width in {adapter.A[n].shape[1] for n in adapter.names}}
        fixed = {}
        for name in adapter.names:
            width = adapter.A[name].shape[1]
            if width < adapter.rank:
                raise MethodError(f"orthoadapt: rank {adapter.rank} exceeds the inputs of layer {name}; lower the rank")
            first = len(adapter.factors) * adapter.rank
            fixed[name] = bases[width][[(first + row) % width for row in range(adapter.rank)]].to(adapter.A[name])
        adapter.reset(fixed)
        for name in adapter.names:
            adapter.A[name].requires_grad_(False)

    def end(self, concept: Concept, adapter: Adapter) -> None:
        super().end(concept, adapter)
        self.alone = False

    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float] | None:
        return [0.0] * len(concepts) if self.alone else None

    @classmethod
    def foresee(cls, config: Method.Config, inputs: Mapping[str, int], concepts: int) -> str | None:
        least = min(inputs.values())
        if config.rank * concepts <= least:
            return None
        fitting = least // config.rank
        return f"the narrowest layer has {least} inputs: at rank {config.rank} only {fitting} concepts share none"


def basis(width: int) -> Tensor:
    """(width, width) fp64, orthonormal rows, random and always the same."""
    draws = torch.Generator().manual_seed(width)
    rows: Tensor = torch.linalg.qr(torch.randn(width, width, generator=draws, dtype=torch.float64)).Q.T
    return rows
