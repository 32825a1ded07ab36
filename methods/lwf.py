"""Learning without forgetting."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Method, Query, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("lwf")
class LwF(Method):
    """Learning without forgetting: for an earlier trigger, answer as the model did when it entered the stage.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + w · ‖ε_on(z_t, t, c_S) − ε_previous(z_t, t, c_S)‖²; c_S is the caption about an
    earlier concept S instead, one after another step by step, on the current concept's latents: no picture is stored.
    """

    title = "LwF"
    source = "after Li and Hoiem 2016, arXiv 1606.09282"
    carries = "one adapter"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 4e-4, "weight": 4.0}}
    knob = ("weight", (1.0, 4.0))

    class Config(Method.Config):
        weight: float = Field(default=1.0, ge=0, description="w, of the distillation; 0 is naive LoRA")

    config: Config

    def queries(self, batch: Batch) -> dict[str, Query]:
        queries = super().queries(batch)
        if self.earlier and self.config.weight:
            asked = self.about(self.earlier[batch.step % len(self.earlier)], batch)
            queries |= {"now": Query(asked), "then": Query(asked, adapter="previous")}
        return queries

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if "then" not in predicted:
            return learn
        return learn + self.config.weight * mse(predicted["now"], predicted["then"])
