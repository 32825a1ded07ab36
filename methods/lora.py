"""Naive continual LoRA."""

from cat_bench.methods.base import Method
from cat_bench.methods.registry import register

# Shared by the four methods of that paper (SDXL, 1024 px, text encoders frozen, constant lr, 8-bit AdamW). Weight decay
# and clipping are defaults of the released training script, not stated in the paper. It starts A from N(0, 1/rank²);
# here every method starts as peft does by default, from U(−1/√in, 1/√in).
STANISZEWSKI = {"rank": 64, "alpha": 64, "lr": 1e-5, "steps": 850, "batch_size": 1, "weight_decay": 1e-4}


@register("lora")
class LoRA(Method):
    """Naive LoRA: one adapter goes on training on each next concept."""

    title = "Naive LoRA"
    source = "Staniszewski et al. 2024, arXiv 2410.04891 (baseline); LoRA: Hu et al. 2021, arXiv 2106.09685"
    presets = {"paper": STANISZEWSKI, "avatars64": {}}
