"""CIDM, the concept-incremental diffusion model, as far as its released code says."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, mse
from cat_bench.methods.clora import CLoRA
from cat_bench.methods.isolated import names
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("cidm")
class CIDM(CLoRA):
    """CIDM: adapters learned apart, kept from each other's outputs, and summed up for each prompt as it needs them.

    L = L_diffusion + λ · mean over i < t and layers of mean |B_t B_iᵀ|, on W0 alone, all of cross-attention, with a
    learned token before the class noun. Sampled: W0 + Σ_i w_i B_i A_i, w_i ∝ max_k cos(e_i, e_k)⁴ over the concepts k
    that the prompt names, e their tokens, Σ w_i = 1; all w_i equal where it names none.
    Not here: tokens, their text features and w_i layer by layer, several tokens a concept, the term that draws B to
    ones, LoRA in the text encoder, attention regularisation, the shared part, regions. λ was not found.
    """

    title = "CIDM (in part)"
    source = "Dong et al. 2024, arXiv 2410.17594; after the released code, in part"
    carries = "all adapters, one embedding a concept"
    keeps_factors = True
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 6e-3, "weight": 1.0}}
    knob = ("weight", (0.1, 1.0))
    alone = False  # while a concept is learned

    class Config(CLoRA.Config):
        targets: tuple[str, ...] = Field(
            default=("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"), min_length=1
        )
        weight: float = Field(default=0.1, ge=0, description="λ; 0 leaves the adapters to themselves")
        noun: bool = True
        token: Literal[True] = True  # they say how much each adapter counts

    config: Config

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        self.alone = True

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if not (adapter.factors and self.config.weight):
            return learn
        terms = [
            (adapter.B[name].float() @ factor[name][1].T).abs().mean()
            for factor in adapter.factors
            for name in adapter.names
        ]
        return learn + self.config.weight * torch.stack(terms).mean()

    def end(self, concept: Concept, adapter: Adapter) -> None:
        super().end(concept, adapter)
        self.alone = False

    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        named = [self.tokens[concept.id] for concept in concepts if names(prompt, concept)]
        if self.alone:
            return [0.0] * len(concepts)
        if not named:
            return [1 / len(concepts)] * len(concepts)
        alike = [max(_cosine(self.tokens[concept.id], other) for other in named) ** 4 for concept in concepts]
        return [share / sum(alike) for share in alike]


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.float().cpu(), other.float().cpu()))
