"""DreamBooth's prior preservation on a low-rank adapter."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Generated, Method, Pool, Query, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("dreambooth")
class DreamBooth(Method):
    """DreamBooth with LoRA: beside the concept, go on learning what the untouched backbone draws of its class.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · ‖ε_on(z'_t', t', c') − ε'‖²; z' are `images` pictures that the untouched backbone
    drew for c' = "a <class noun>", each with noise and timestep of its own. The paper is about one concept and trains
    all weights; here one adapter goes on training, as in naive LoRA.
    """

    title = "DreamBooth"
    source = "Ruiz et al. 2023, arXiv 2208.12242"
    carries = "one adapter"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 2e-3, "images": 64}}

    class Config(Method.Config):
        weight: float = Field(default=1.0, ge=0, description="w, of the prior's term; 0 is naive LoRA")
        images: int = Field(default=200, ge=1, description="of the class, drawn anew for each concept")

    config: Config

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        if not self.config.weight:
            return {}
        return {"class": Generated((concept.fill("a {}", "noun"),), self.config.images)}

    def queries(self, batch: Batch) -> dict[str, Query]:
        queries = super().queries(batch)
        if "class" in batch.pools:
            queries["prior"] = Query(batch.pools["class"].prompt, items="class")
        return queries

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if "prior" not in predicted:
            return learn
        return learn + self.config.weight * mse(predicted["prior"], batch.pools["class"].target)
