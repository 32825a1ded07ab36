"""Changes of weights as one pair of thin matrices a layer, the form in which other programs load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 0.01


@dataclass(frozen=True)
class LowRank:
    """ΔW ≈ B A. layers: A (rank, in), B (out, rank) by name, in fp32. error: ‖ΔW − BA‖_F / ‖ΔW‖_F, all layers."""

    layers: dict[str, tuple[Tensor, Tensor]]
    rank: int
    error: float


def concatenated(factors: Sequence[Mapping[str, tuple[Tensor, Tensor]]]) -> LowRank:
    """Σ B_i A_i exactly: [B_1 B_2 …] [A_1; A_2; …], of rank Σ r_i. All factors have the same layers."""
    layers = {
        name: (torch.cat([factor[name][0] for factor in factors]), torch.cat([f[name][1] for f in factors], dim=1))
        for name in factors[0]
    }
    return LowRank(layers, next(iter(layers.values()))[0].shape[0], 0.0)


def truncated(deltas: Mapping[str, Tensor], rank: int | None = None, tolerance: float = TOLERANCE) -> LowRank:
    """The nearest ΔW (out, in) of that rank, layer by layer (SVD); None: the least rank within the tolerance.

    All layers get the same rank, since loaders otherwise scale them apart; where it is more than a layer can have, the
    rest is zeros, and it is never more than the largest layer can have.
    """
    svd = {name: torch.linalg.svd(delta.float(), full_matrices=False) for name, delta in deltas.items()}
    energy = torch.zeros(max(len(S) for _, S, _ in svd.values()), dtype=torch.float64)
    for _, S, _ in svd.values():
        energy[: len(S)] += S.double().square()
    left = torch.cat([energy.flip(0).cumsum(0).flip(0), torch.zeros(1)])  # left[r]: what rank r leaves out
    errors = (left / left[0].clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    if rank is None:
        rank = max(1, int((errors > tolerance).sum()))
    rank = min(rank, len(energy))
    layers = {}
    for name, (U, S, Vh) in svd.items():
        A, B = Vh.new_zeros(rank, Vh.shape[1]), U.new_zeros(U.shape[0], rank)
        kept = min(rank, len(S))
        root = S[:kept].sqrt()  # half to either side: both stay well inside the range of half precision
        A[:kept], B[:, :kept] = root[:, None] * Vh[:kept], U[:, :kept] * root
        layers[name] = (A, B)
    return LowRank(layers, rank, float(errors[rank]))
