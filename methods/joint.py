"""All concepts' data at once: what no continual method has."""

from collections.abc import Mapping

from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Everything, Method, Pool, Query, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("joint")
class Joint(Method):
    """Joint training (a reference): one adapter goes on with the data of all concepts so far, none of them put away.

    L = (L_t + (t − 1) · L_{<t}) / t: the mean over the concepts, that of the t−1 earlier ones estimated from as many
    items as the last one's, drawn evenly from all of theirs: one with more pictures has more of them. The first concept
    is naive LoRA.
    """

    title = "Joint training"
    source = "reference: all data at once, as in any study of continual learning"
    carries = "one adapter, all earlier data"
    reference = True
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3}}

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"earlier": Everything()}

    def queries(self, batch: Batch) -> dict[str, Query]:
        queries = super().queries(batch)
        if "earlier" in batch.pools:
            queries["earlier"] = Query(batch.pools["earlier"].prompt, items="earlier")
        return queries

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn, before = mse(predicted["learn"], batch.target), len(self.earlier)
        if not before:
            return learn
        return (learn + before * mse(predicted["earlier"], batch.pools["earlier"].target)) / (before + 1)
