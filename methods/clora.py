"""C-LoRA, self-regularised continual low-rank adaptation."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Method, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("clora")
class CLoRA(Method):
    """C-LoRA: a fresh adapter per concept, kept out of the weights that earlier concepts have changed.

    L = L_diffusion + λ · Σ_layers ‖ |Σ_{t'<t} ΔW_t'| ⊙ ΔW_t ‖_F², the past frozen; K and V of cross-attention only.
    The trigger is a new, randomly initialised, learned token, and prompts do without the class noun.
    """

    title = "C-LoRA"
    source = "Smith et al. 2024 (TMLR), arXiv 2304.06027"
    carries = "merged weights, one embedding a concept"
    keeps_factors = False
    # The paper's λ, rank, learning rate and steps are not known here and it has no released code: "paper" is only the
    # choice of layers, which is the default already. λ = 1e6 at rank 16 is what another code base uses.
    presets = {
        "paper": {"targets": ("attn2.to_k", "attn2.to_v")},
        **COMMON,
        "avatars64.v2": {"steps": 80, "lr": 2.5e-3, "weight": 100.0},
    }
    knob = ("weight", (1e4, 1e2))

    class Config(Method.Config):
        targets: tuple[str, ...] = Field(default=("attn2.to_k", "attn2.to_v"), min_length=1)
        # The penalty falls with the fourth power of ΔW, so only a huge λ acts; tune it anew for each rank and lr.
        weight: float = Field(default=1e6, ge=0, description="λ of the penalty; 0 is sequential merging")
        noun: bool = False
        token: bool = True

    config: Config

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if not adapter.factors and not adapter.dense:  # the first concept
            return learn
        return learn + self.config.weight * penalty(adapter)

    def end(self, concept: Concept, adapter: Adapter) -> None:
        adapter.fold()


def penalty(adapter: Adapter) -> Tensor:
    """() Σ over layers of ‖|past| ⊙ delta‖_F², in fp32: products of four small numbers do not survive bf16's 8 bits."""
    with torch.autocast(adapter.B[adapter.names[0]].device.type, enabled=False):
        terms = [(adapter.past(name).abs() * adapter.delta(name).float()).square().sum() for name in adapter.names]
        return torch.stack(terms).sum()
