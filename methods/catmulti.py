"""Contrastive Adapter Training for several concepts."""

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Query, mse
from cat_bench.methods.cat import CAT
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("catmulti")
class CATMulti(CAT):
    """CAT with a second teacher: without a trigger answer as the backbone does, with an earlier one as before.

    L_CAT (see `cat`) + v · ‖ε_on(z_t, t, c_S) − ε_previous(z_t, t, c_S)‖², c_S the caption about an earlier concept S
    (see `lwf`). The CAT paper names several concepts as its outlook and gives no formula; this one is the project's.
    """

    title = "CAT, several concepts"
    source = "the outlook of Park et al. 2024, arXiv 2404.07554; the formula is this project's"
    carries = "one adapter"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 2.5e-3, "weight": 6.0}}
    knob = ("memory", (1.0, 4.0))  # w is CAT's

    class Config(CAT.Config):
        memory: float = Field(default=1.0, ge=0, description="v, of the second teacher; 0 is CAT")

    config: Config

    def queries(self, batch: Batch) -> dict[str, Query]:
        queries = super().queries(batch)
        if self.earlier and self.config.memory:
            asked = self.about(self.earlier[batch.step % len(self.earlier)], batch)
            queries |= {"now": Query(asked), "then": Query(asked, adapter="previous")}
        return queries

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        loss = super().loss(batch, predicted, adapter)
        if "then" not in predicted:
            return loss
        return loss + self.config.memory * mse(predicted["now"], predicted["then"])
