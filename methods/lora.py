"""Naive continual LoRA."""

from cat_bench.methods.base import Method
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON, STANISZEWSKI


@register("lora")
class LoRA(Method):
    """Naive LoRA: one adapter goes on training on each next concept."""

    title = "Naive LoRA"
    source = "Staniszewski et al. 2024, arXiv 2410.04891 (baseline); LoRA: Hu et al. 2021, arXiv 2106.09685"
    carries = "one adapter"
    presets = {"paper": STANISZEWSKI, **COMMON, "avatars64.v2": {"steps": 80, "lr": 1e-3}}
