"""Sequential merging."""

from cat_bench.methods.base import Adapter, Concept, Method
from cat_bench.methods.lora import STANISZEWSKI
from cat_bench.methods.registry import register


@register("merge")
class Merge(Method):
    """Sequential merging: each adapter is folded into the weights, and the next concept starts a fresh one (B = 0)."""

    title = "Merge"
    source = "Staniszewski et al. 2024, arXiv 2410.04891"
    presets = {"paper": STANISZEWSKI, "avatars64": {}}

    def end(self, concept: Concept, adapter: Adapter) -> None:
        adapter.fold()
