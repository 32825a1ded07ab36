"""Sequential merging with orthogonal initialisation."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from cat_bench.methods.base import Adapter, Concept, Method, MethodError
from cat_bench.methods.merge import Merge
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON, STANISZEWSKI


@register("ortho")
class Ortho(Merge):
    """Sequential merging in which each new A starts orthogonal to the earlier ones.

    variant "paper": the rows of A are orthonormal and orthogonal to the row spaces of all earlier A's, scaled to the
    norm of a standard start (see `orthogonal_rows`, also for what happens when the inputs of a layer are used up).
    variant "released": what the authors' code does instead. Column j of the new A is a unit vector orthogonal to
    column j of the earlier A, in rank space, which leaves the input subspaces as they would fall by chance; and
    adapters are merged as (Σ B)(Σ A), whose cross terms no concept has trained.
    """

    title = "Merge, orthogonal init"
    carries = "all adapters"
    keeps_factors = True
    presets = {"paper": STANISZEWSKI, **COMMON, "avatars64.v2": {"steps": 80, "lr": 4e-4}}

    class Config(Method.Config):
        variant: Literal["paper", "released"] = "paper"

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.sums: dict[str, Tensor] = {}  # "A.<layer>" and "B.<layer>" (scaling inside) of the released variant

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        if self.config.variant == "released":
            if adapter.rank < 2:
                raise MethodError("ortho: variant 'released' needs rank ≥ 2: nothing is orthogonal to a column of one")
            if self.sums:
                adapter.reset({name: orthogonal_columns(self.sums[f"A.{name}"]) for name in adapter.names})
            return
        narrow = [name for name in adapter.names if adapter.A[name].shape[1] < adapter.rank]
        if narrow:
            raise MethodError(f"ortho: rank {adapter.rank} exceeds the inputs of layer {narrow[0]}; lower the rank")
        if adapter.factors:
            earlier = {name: [factor[name][0] for factor in adapter.factors] for name in adapter.names}
            adapter.reset({name: orthogonal_rows(adapter.A[name], earlier[name]) for name in adapter.names})

    @torch.no_grad()
    def end(self, concept: Concept, adapter: Adapter) -> None:
        if self.config.variant == "paper":
            return super().end(concept, adapter)
        merged = {}
        for name in adapter.names:
            for key, current in (("A", adapter.A[name]), ("B", adapter.scaling * adapter.B[name])):
                self.sums[f"{key}.{name}"] = self.sums.get(f"{key}.{name}", torch.zeros(())).to(current) + current
            merged[name] = self.sums[f"B.{name}"] @ self.sums[f"A.{name}"]
        adapter.replace(merged)

    @classmethod
    def foresee(cls, config: Method.Config, inputs: Mapping[str, int], concepts: int) -> str | None:
        least, needed = min(inputs.values()), config.rank * concepts
        if needed <= least or getattr(config, "variant", "") == "released":
            return None
        return (
            f"{concepts} concepts of rank {config.rank} need {needed} input directions and the narrowest layer has "
            f"{least}: from concept {least // config.rank + 1} on, rows of A overlap earlier ones"
        )

    def state(self) -> dict[str, Tensor]:
        return dict(self.sums)

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.sums = dict(state)


@torch.no_grad()
def orthogonal_rows(fresh: Tensor, earlier: Sequence[Tensor]) -> Tensor:
    """(r, in) orthogonal rows, each orthogonal to every row of `earlier` [(r_i, in)], with `fresh`'s Frobenius norm.

    fresh  (r, in) a standard start with r ≤ in; it decides which directions of the complement are taken.
    If fewer than r directions are left, all of those are taken, and the missing rows are the directions in which the
    earlier A's have the least energy (their last right singular vectors). Computed in fp64 on the CPU.
    """
    r, width = fresh.shape
    start = fresh.detach().to("cpu", torch.float64)
    past = torch.cat([A.detach().to("cpu", torch.float64) for A in earlier])
    _, energy, basis = torch.linalg.svd(past, full_matrices=False)
    taken = int((energy > energy[0] * max(past.shape) * torch.finfo(torch.float32).eps).sum())
    if width - taken >= r:
        basis, rows = basis[:taken], start
        for _ in range(2):  # once more removes what rounding left
            rows = rows - rows @ basis.T @ basis
        rows = torch.linalg.qr(rows.T).Q.T
    else:
        rows = torch.linalg.svd(past, full_matrices=True).Vh[-r:].flip(0)
    scaled: Tensor = rows * (start.norm() / r**0.5)
    return scaled.to(fresh)


@torch.no_grad()
def orthogonal_columns(earlier: Tensor) -> Tensor:
    """(r, in) whose column j is the unit vector that an SVD of column j of `earlier` (r, in) names last.

    Not rescaled, as released: in peft's Gaussian start of std 1/r the norm would be √r times smaller. The last singular
    vector of one vector is close to the last axis, so nearly all the energy falls into the last row.
    """
    columns: Tensor = earlier.detach().to("cpu", torch.float32).T.unsqueeze(1)  # (in, 1, r)
    last: Tensor = torch.linalg.svd(columns, full_matrices=True).Vh[:, -1]  # (in, r)
    return last.T.contiguous().to(earlier)
