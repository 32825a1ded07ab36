"""Rehearsal of a few kept pictures."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Kept, Method, Pool, Query, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("replay")
class Replay(Method):
    """Rehearsal: naive LoRA that sees a few kept pictures of every earlier concept at each step.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · ‖ε_on(z'_t', t', c'_T) − ε'‖²; z' are drawn evenly from k latents of each earlier
    concept, with their captions. No continual method without stored pictures is to be compared with it as an equal.
    """

    title = "Rehearsal"
    source = "after Chaudhry et al. 2019, arXiv 1902.10486 (experience replay from tiny memories)"
    carries = "one adapter, latents of earlier pictures"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 2e-3}}

    class Config(Method.Config):
        weight: float = Field(default=1.0, ge=0, description="w, of the rehearsed; 0 is naive LoRA")
        kept: int = Field(default=1, ge=1, description="k, pictures of each concept")

    config: Config

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"earlier": Kept(self.config.kept)} if self.config.weight else {}

    def queries(self, batch: Batch) -> dict[str, Query]:
        queries = super().queries(batch)
        if "earlier" in batch.pools:
            queries["rehearse"] = Query(batch.pools["earlier"].prompt, items="earlier")
        return queries

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if "rehearse" not in predicted:
            return learn
        return learn + self.config.weight * mse(predicted["rehearse"], batch.pools["earlier"].target)
