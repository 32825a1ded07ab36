"""DreamBooth's prior preservation on a low-rank adapter."""

from collections.abc import Mapping

from pydantic import Field

from cat_bench.methods.base import Concept, Generated, Pool
from cat_bench.methods.registry import register
from cat_bench.methods.rehearsal import Rehearsal
from cat_bench.methods.settings import COMMON


@register("dreambooth")
class DreamBooth(Rehearsal):
    """DreamBooth with LoRA: beside the concept, go on learning what the untouched backbone draws of its class.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · ‖ε_on(z'_t', t', c') − ε'‖²; z' are `images` pictures that the untouched backbone
    drew for c' = "a <class noun>", each with noise and timestep of its own. The paper is about one concept and trains
    all weights; here one adapter goes on training, as in naive LoRA.
    """

    title = "DreamBooth"
    source = "Ruiz et al. 2023, arXiv 2208.12242"
    carries = "one adapter"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 2.5e-3, "images": 64}}

    class Config(Rehearsal.Config):
        images: int = Field(default=200, ge=1, description="of the class, drawn anew for each concept")

    config: Config

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        if not self.config.weight:
            return {}
        return {"class": Generated((concept.fill("a {}", "noun"),), self.config.images)}
