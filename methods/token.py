"""Textual inversion: only the word is learned."""

from typing import Literal

from cat_bench.methods.base import Adapter, Concept, Method
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("token")
class TextualInversion(Method):
    """Textual inversion: only the embedding of the trigger is learned, and no weight of the model is changed.

    v* = argmin ‖ε_off(z_t, t, c(v)) − ε‖²; each concept has an embedding of its own, so nothing can be forgotten. It
    starts at random; the paper starts it at the embedding of the class noun.
    """

    title = "Textual inversion"
    source = "Gal et al. 2023, arXiv 2208.01618"
    carries = "one embedding a concept"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 3.9e-3}}
    knob = None  # the rank is of weights that do not train

    class Config(Method.Config):
        noun: bool = False
        token: Literal[True] = True  # all that is learned

    config: Config

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        for name in adapter.names:
            adapter.A[name].requires_grad_(False)
            adapter.B[name].requires_grad_(False)
