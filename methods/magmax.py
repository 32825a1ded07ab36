"""Selective update by magnitude."""

import torch

from cat_bench.methods.base import Adapter, Concept, Method
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON, STANISZEWSKI


@register("magmax")
class MagMax(Method):
    """MagMax: each weight keeps the larger, in magnitude, of its earlier change and of what the last concept changed.

    τ_prev = θ_{t−1} − θ_0, τ_last = θ_t − θ_{t−1}; elementwise τ = τ_last where |τ_last| ≥ |τ_prev|, else τ_prev;
    θ = θ_0 + τ. The next concept starts from there with a fresh adapter. What is carried is therefore dense. This is
    the rule of the first source. The second fine-tunes one model through all tasks, without merging in between, and
    takes the elementwise maximum of all τ_t = θ_t − θ_0 at the end.
    """

    title = "MagMax"
    source = "Staniszewski et al. 2024, arXiv 2410.04891, after the MagMax of Marczak et al. 2024, arXiv 2407.06322"
    carries = "merged weights"
    presets = {"paper": STANISZEWSKI, **COMMON, "avatars64.v2": {"steps": 80, "lr": 4e-4}}

    @torch.no_grad()
    def end(self, concept: Concept, adapter: Adapter) -> None:
        kept = {}
        for name in adapter.names:
            previous, last = adapter.past(name), adapter.delta(name).float()
            kept[name] = torch.where(last.abs() >= previous.abs(), last, previous)
        adapter.replace(kept)
