"""Held against peft's own layer: the same numbers, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from cat_bench.benchmark.learning.lean import LeanLinear


class Attention(nn.Module):
    """Three layers that read one input, as queries, keys and values do, and one with a bias that reads theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(24, 24, bias=False) for _ in range(3))
        self.out = nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1) @ self.v(x))
        return found


def learned(layer: type[nn.Module], x: Tensor, half: bool, alpha: int, held: torch.dtype) -> list[Tensor]:
    """The answer, and every gradient."""
    torch.manual_seed(0)
    network, x = Attention().requires_grad_(False).to(held), x.clone().requires_grad_()
    config = LoraConfig(r=4, lora_alpha=alpha, target_modules=["q", "k", "v", "out"])
    config._register_custom_module({nn.Linear: layer})
    inject_adapter_in_model(config, network)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        nn.init.normal_(parameter)
    inside = x * torch.ones((), dtype=x.dtype)  # not a leaf, as in a network
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        answer = network(inside)
    torch.autograd.backward(answer.float().square().mean())
    gradients = [tensor.grad for tensor in (x, *trained)]
    assert all(gradient is not None and gradient.any() for gradient in gradients)
    return [answer, *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("alpha", [4, 6])
@pytest.mark.parametrize(
    ("half", "given", "held"),
    [
        (False, torch.float32, torch.float32),
        (True, torch.float32, torch.float32),
        (True, torch.bfloat16, torch.bfloat16),
        (False, torch.bfloat16, torch.bfloat16),  # no plain case: left to peft
    ],
)
def test_it_answers_and_learns_exactly_as_pefts_layer(
    half: bool, given: torch.dtype, held: torch.dtype, alpha: int
) -> None:
    x = torch.randn(3, 7, 24, generator=torch.Generator().manual_seed(1)).to(given)
    lean, peft = (learned(layer, x, half, alpha, held) for layer in (LeanLinear, Linear))
    for mine, theirs in zip(lean, peft, strict=True):
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs)


def test_no_gradient_is_computed_for_an_input_that_wants_none(monkeypatch: Any) -> None:
    network = Attention().requires_grad_(False)
    config = LoraConfig(r=4, target_modules=["q"])
    config._register_custom_module({nn.Linear: LeanLinear})
    inject_adapter_in_model(config, network)
    with torch.profiler.profile() as seen:
        torch.autograd.backward(network.q(torch.randn(2, 24)).sum())
    assert sum(event.name == "aten::mm" for event in seen.events()) == 3 + 3  # forward; B's input, dB, dA
