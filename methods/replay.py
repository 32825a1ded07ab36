"""Rehearsal of a few kept pictures."""

from collections.abc import Mapping

from pydantic import Field

from cat_bench.methods.base import Concept, Kept, Pool
from cat_bench.methods.registry import register
from cat_bench.methods.rehearsal import Rehearsal
from cat_bench.methods.settings import COMMON


@register("replay")
class Replay(Rehearsal):
    """Rehearsal: naive LoRA that sees a few kept pictures of every earlier concept at each step.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · ‖ε_on(z'_t', t', c'_T) − ε'‖²; z' are drawn evenly from k latents of each earlier
    concept, with their captions. No continual method without stored pictures is to be compared with it as an equal.
    """

    title = "Rehearsal"
    source = "after Chaudhry et al. 2019, arXiv 1902.10486 (experience replay from tiny memories)"
    carries = "one adapter, latents of earlier pictures"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3}}

    class Config(Rehearsal.Config):
        kept: int = Field(default=1, ge=1, description="k, pictures of each concept")

    config: Config

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"earlier": Kept(self.config.kept)} if self.config.weight else {}
