"""O-LoRA, orthogonal low-rank adaptation."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, mse
from cat_bench.methods.merge import Merge
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("olora")
class OLoRA(Merge):
    """O-LoRA: the inputs that a concept's adapter reads stay orthogonal to those of the earlier adapters.

    L = L_diffusion + λ · Σ_{i<t} Σ_layers ‖A_i A_tᵀ‖₁ (sum of magnitudes), every A_i frozen; adapters are merged after
    each concept. The paper is about language models.
    """

    title = "O-LoRA"
    source = "Wang et al. 2023, arXiv 2310.14152"
    carries = "all adapters"
    keeps_factors = True
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3}}
    knob = ("weight", (0.1, 1e-3))

    class Config(Merge.Config):
        weight: float = Field(default=0.1, ge=0, description="λ; 0 is sequential merging")

    config: Config

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if not (adapter.factors and self.config.weight):
            return learn
        terms = [
            (factor[name][0] @ adapter.A[name].float().T).abs().sum()
            for factor in adapter.factors
            for name in adapter.names
        ]
        return learn + self.config.weight * torch.stack(terms).sum()
