"""Online elastic weight consolidation in the space of the adapter."""

from collections.abc import Iterator, Mapping

import torch
from pydantic import Field
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Method, mse
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("ewc")
class EWC(Method):
    """Online EWC: one adapter goes on, held where earlier concepts' gradients say that its numbers matter.

    L = ‖ε_on(z_t, t, c_T) − ε‖² + λ/2 · Σ F (θ − θ*)², θ the entries of A and B, θ* theirs as the stage began. After a
    concept F ← γF + F_t, F_t the mean over `items` single items of (∂‖ε_on − ε‖² / ∂θ)², without the penalty.
    """

    title = "EWC, online"
    source = "Kirkpatrick et al. 2017, arXiv 1612.00796; online: Schwarz et al. 2018, arXiv 1805.06370"
    carries = "one adapter, as many Fisher values"
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 2.5e-3}}
    knob = ("weight", (1e6, 1e4))

    class Config(Method.Config):
        weight: float = Field(default=1e6, ge=0, description="λ; 0 is naive LoRA. Squared gradients are tiny")
        decay: float = Field(default=1.0, ge=0, le=1, description="γ")
        items: int = Field(default=64, ge=1, description="whose gradients are squared after a concept")

    config: Config

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config)
        self.fisher: dict[str, Tensor] = {}
        self.seen: dict[str, Tensor] = {}  # F_t as far as it is summed up
        self.start: dict[str, Tensor] = {}

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        self.start = {key: value.detach().clone() for key, value in parameters(adapter)}
        self.seen = {}

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        learn = mse(predicted["learn"], batch.target)
        if not (self.fisher and self.config.weight):
            return learn
        moved = [(self.fisher[key] * (value - self.start[key]).square()).sum() for key, value in parameters(adapter)]
        return learn + 0.5 * self.config.weight * torch.stack(moved).sum()

    def survey(self) -> int:
        return self.config.items

    def surveyed(self, gradients: Mapping[str, Tensor], adapter: Adapter) -> None:
        for key, gradient in gradients.items():
            self.seen[key] = self.seen.get(key, torch.zeros_like(gradient)) + gradient.square() / self.config.items

    def end(self, concept: Concept, adapter: Adapter) -> None:
        for key, value in self.seen.items():
            before = self.fisher.get(key, torch.zeros_like(value))
            self.fisher[key] = self.config.decay * before + value

    def state(self) -> dict[str, Tensor]:
        return dict(self.fisher)

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.fisher = dict(state)


def parameters(adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """A and B of each layer, as a survey's gradients are called."""
    for name in adapter.names:
        yield f"A.{name}", adapter.A[name]
        yield f"B.{name}", adapter.B[name]
