"""Rehearsal of pictures that the model draws of what it learned before."""

from collections.abc import Mapping

from pydantic import Field

from cat_bench.methods.base import Concept, Generated, Pool
from cat_bench.methods.registry import register
from cat_bench.methods.rehearsal import Rehearsal
from cat_bench.methods.settings import COMMON


@register("genreplay")
class GenerativeReplay(Rehearsal):
    """Generative replay: rehearse pictures that the model, as it enters the stage, draws of the earlier triggers.

    As rehearsal, with z' drawn by the previous model for "a <trigger> <class noun>" of each earlier concept, `images`
    of each, anew at every stage. No picture is stored; what the model has forgotten, it rehearses forgotten.
    """

    title = "Generative replay"
    source = "after Shin et al. 2017, arXiv 1705.08690"
    carries = "one adapter"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3}}

    class Config(Rehearsal.Config):
        images: int = Field(default=16, ge=1, description="drawn of each earlier concept")

    config: Config

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        prompts = tuple(old.fill("a {}", self.form) for old in self.earlier)
        return {"earlier": Generated(prompts, self.config.images, "previous")} if self.config.weight else {}
