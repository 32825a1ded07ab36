"""Held against diffusers' own processor and PyTorch's own kernel: the same numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cat_bench.benchmark.backbones.attention import (
    Exchange,
    LeanAttention,
    in_full,
    lean_attention,
    remembered_contexts,
)
from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.learning.swap import swapped
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample


def asked(tiny: Backbone, exchanged: list[Exchange], half: bool) -> tuple[Tensor, Tensor]:
    """The UNet's answer, and what it says about its input."""
    stream = torch.Generator().manual_seed(0)
    noisy = torch.randn(3, *tiny.latent_shape, generator=stream).requires_grad_()
    context = tiny.encode_prompts(["a hat", "a person", ""]).context
    with swapped(exchanged), torch.autocast("cpu", torch.bfloat16, enabled=half):
        answer = tiny.unet(noisy, torch.tensor([3, 500, 999]), context).sample
        torch.autograd.backward(answer.float().square().mean())
    assert noisy.grad is not None
    return answer.detach(), noisy.grad


@pytest.mark.parametrize("half", [False, True])
def test_every_layer_answers_as_with_the_stock_processor(tiny: Backbone, half: bool) -> None:
    lean = lean_attention(tiny.unet)
    assert len(lean) == 7 * 2  # blocks; self and cross
    for mine, theirs in zip(asked(tiny, lean, half), asked(tiny, [], half), strict=True):
        assert torch.equal(mine, theirs)
    assert not any(isinstance(module.processor, LeanAttention) for module in _attention(tiny))


def test_few_scores_are_those_of_pytorchs_math_kernel_in_half_precision(tiny: Backbone) -> None:
    mine = asked(tiny, lean_attention(tiny.unet, in_full), half=True)
    with sdpa_kernel(SDPBackend.MATH):
        theirs = asked(tiny, [], half=True)
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_many_scores_are_computed_in_fp32_too() -> None:
    stream = torch.Generator().manual_seed(0)
    given = [torch.randn(2, 3, 160, 8, generator=stream).bfloat16().requires_grad_() for _ in range(3)]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    with torch.autocast("cpu", torch.bfloat16):
        mine = in_full(*given)
    theirs = torch.nn.functional.scaled_dot_product_attention(*exact)
    assert mine.dtype == torch.bfloat16
    torch.testing.assert_close(mine.double(), theirs, atol=1e-4, rtol=2**-8)  # what bf16 itself rounds away
    for answer in (mine, theirs):
        torch.autograd.backward(answer, torch.ones_like(answer))
    for tensor, other in zip(given, exact, strict=True):
        torch.testing.assert_close(tensor.grad, other.grad, atol=1e-3, rtol=1e-2, check_dtype=False)


def test_a_layer_that_does_more_keeps_its_processor(tiny: Backbone) -> None:
    first = _attention(tiny)[0]
    first.rescale_output_factor = 2.0
    try:
        assert len(lean_attention(tiny.unet)) == 7 * 2 - 1
    finally:
        first.rescale_output_factor = 1.0


def test_keys_and_values_of_prompts_are_computed_once_a_batch(tiny: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]

    def count(module: torch.nn.Module, *_: object) -> None:
        calls[0] += 1

    handles = [layer.to_k.register_forward_hook(count) for layer in _attention(tiny) if layer.is_cross_attention]
    drawn: Callable[[], object] = lambda: np.concatenate(  # noqa: E731
        [batch for _, batch in sample(tiny, None, ["a hat", "a person"] * 2, range(4), SamplerConfig(steps=5, batch=2))]
    )
    try:
        once = drawn()
        assert calls[0] == len(handles) * 2  # batches; not their five steps
        module = "cat_bench.benchmark.text_to_image.sampling"
        monkeypatch.setattr(f"{module}.remembered_contexts", lambda _: [])
        monkeypatch.setattr(f"{module}.lean_attention", lambda _: [])
        assert np.array_equal(once, drawn())
        assert calls[0] == len(handles) * (2 + 2 * 5)
    finally:
        for handle in handles:
            handle.remove()
    assert len(remembered_contexts(tiny.unet)) == 2 * len(handles)


def _attention(tiny: Backbone) -> list[torch.nn.Module]:
    return [module for module in tiny.unet.modules() if hasattr(module, "processor")]
