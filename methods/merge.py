"""Sequential merging."""

from cat_bench.methods.base import Adapter, Concept, Method
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON, STANISZEWSKI


@register("merge")
class Merge(Method):
    """Sequential merging: each adapter is folded into the weights, and the next concept starts a fresh one (B = 0)."""

    title = "Merge"
    keeps_factors = False
    carries = "merged weights"
    source = "Staniszewski et al. 2024, arXiv 2410.04891"
    presets = {"paper": STANISZEWSKI, **COMMON, "avatars64.v2": {"steps": 80, "lr": 4e-4}}

    def end(self, concept: Concept, adapter: Adapter) -> None:
        adapter.fold()
