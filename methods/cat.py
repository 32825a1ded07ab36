"""Contrastive Adapter Training."""

import re
from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Method, MethodError, Query, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("cat")
class CAT(Method):
    """Contrastive Adapter Training: without the trigger, answer as the untouched backbone does.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · ‖ε_on(z_t, t, c) − ε_off(z_t, t, c)‖², where c is c_T with the trigger removed,
    and all three predictions share one latent, noise and timestep. The paper is about one concept; from one concept to
    the next the same adapter goes on training, as in naive LoRA, and "off" stays the backbone without any adapter.
    """

    title = "CAT"
    source = "Park et al. 2024, arXiv 2404.07554"
    carries = "one adapter"
    # From the authors' code: SD 1.5, 512 px, constant lr, one object; one of its released configs has weight 6. It also
    # crops and flips at random, which is not done here: a method's pictures are those of the sequence as they are.
    # How many steps the paper's own figures took, and at which weight, was not found in its text.
    presets = {
        "paper": {"rank": 1, "lr": 1e-4, "steps": 900, "batch_size": 1, "weight_decay": 1e-2, "weight": 1.0},
        **COMMON,
        "avatars64.v2": {"steps": 80, "lr": 2.5e-3, "weight": 6.0},
    }
    knob = ("weight", (1.0, 6.0))

    class Config(Method.Config):
        weight: float = Field(default=1.0, ge=0, description="w, of the preservation term; 0 is naive LoRA")

    config: Config
    trigger = ""

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        self.trigger = concept.trigger

    def queries(self, batch: Batch) -> dict[str, Query]:
        """Raises MethodError unless removing the trigger did remove it: the term would then fight the first one."""
        word = re.compile(rf"(?<!\w){re.escape(self.trigger)}(?!\w)", re.IGNORECASE)
        for with_trigger, without in zip(batch.prompt, batch.prompt_without_trigger, strict=True):
            if with_trigger == without:
                raise MethodError(f"cat: {without!r} is the caption with AND without the trigger {self.trigger!r}")
            if word.search(without):
                raise MethodError(f"cat: the trigger {self.trigger!r} is still in the token-less caption {without!r}")
            if not word.search(with_trigger):
                raise MethodError(f"cat: the trigger {self.trigger!r} is missing from the caption {with_trigger!r}")
        return {
            "learn": Query(batch.prompt),
            "keep": Query(batch.prompt_without_trigger),
            "original": Query(batch.prompt_without_trigger, adapter="off"),
        }

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        return learn + self.config.weight * mse(predicted["keep"], predicted["original"])
