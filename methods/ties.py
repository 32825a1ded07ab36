"""TIES-merging of adapters that were trained apart."""

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Concept, Method
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("ties")
class TIES(Method):
    """TIES: each adapter is trained on W0 alone; sampled is their merge, trimmed and with elected signs.

    Trim: of each ΔW_i, all layers together, the share `density` of largest magnitude is kept, the rest is 0. Elect: the
    sign of each weight is that of the sum. Merge: the mean of those entries that have this sign, times `scale`.
    """

    title = "TIES"
    source = "Yadav et al. 2023, arXiv 2306.01708"
    carries = "all adapters and their merge"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3, "density": 0.5}}
    knob = ("density", (0.2, 0.5))

    class Config(Method.Config):
        density: float = Field(default=0.2, gt=0, le=1, description="of an adapter's entries that are kept")
        scale: float = Field(default=1.0, gt=0, description="λ of the merge")

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.adapters: list[dict[str, tuple[Tensor, Tensor]]] = []  # A, B with the scaling inside

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        if self.adapters:
            adapter.replace({name: torch.zeros_like(adapter.past(name)) for name in adapter.names})

    @torch.no_grad()
    def end(self, concept: Concept, adapter: Adapter) -> None:
        own = {n: (adapter.A[n].detach().clone(), adapter.scaling * adapter.B[n].detach()) for n in adapter.names}
        self.adapters.append(own)
        adapter.replace(elected([{n: B @ A for n, (A, B) in one.items()} for one in self.adapters], self.config))

    def state(self) -> dict[str, Tensor]:
        layers = ((i, name, pair) for i, one in enumerate(self.adapters) for name, pair in one.items())
        return {f"{i}.{key}.{name}": part for i, name, pair in layers for key, part in zip("AB", pair, strict=True)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        count = len({key.partition(".")[0] for key in state})
        names = sorted({key.split(".", 2)[2] for key in state})
        self.adapters = [{n: (state[f"{i}.A.{n}"], state[f"{i}.B.{n}"]) for n in names} for i in range(count)]


def elected(deltas: Sequence[Mapping[str, Tensor]], config: TIES.Config) -> dict[str, Tensor]:
    """{name: (out, in)} the merge of the deltas {name: (out, in)} of each concept."""
    trimmed = [_trimmed(one, config.density) for one in deltas]
    merged = {}
    for name in deltas[0]:
        stack = torch.stack([one[name] for one in trimmed])  # (t, out, in)
        agree = stack.sign() == stack.sum(0).sign()
        agree &= stack != 0
        merged[name] = config.scale * (stack * agree).sum(0) / agree.sum(0).clamp_min(1)
    return merged


def _trimmed(delta: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    sizes = torch.cat([weight.abs().flatten() for weight in delta.values()])
    kept = math.ceil(density * len(sizes))
    least = sizes.kthvalue(len(sizes) - kept + 1).values
    return {name: torch.where(weight.abs() >= least, weight, 0) for name, weight in delta.items()}
