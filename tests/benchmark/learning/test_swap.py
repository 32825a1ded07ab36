from __future__ import annotations

import pytest
import torch
from torch import nn

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.learning.swap import cast_swaps, parameter_swap, swapped


def test_what_was_there_comes_back_the_very_same_even_after_an_error() -> None:
    layer = nn.Linear(3, 3)
    own = layer.weight
    with pytest.raises(KeyError), swapped([parameter_swap(layer, "weight", torch.zeros(3, 3))]):
        assert layer.weight.abs().sum() == 0 and not layer.weight.requires_grad
        raise KeyError
    assert layer.weight is own


def test_a_recorded_graph_survives_the_next_swap() -> None:
    """Two forwards under two sets of weights, one backward after both: each has its own weights' gradient."""
    layer, x = nn.Linear(3, 3, bias=False).requires_grad_(False), torch.ones(1, 3, requires_grad=True)
    first, second = torch.full((3, 3), 2.0), torch.full((3, 3), 5.0)
    with swapped([parameter_swap(layer, "weight", first)]):
        a = layer(x).sum()
    with swapped([parameter_swap(layer, "weight", second)]):
        b = layer(x).sum()
    a.backward(retain_graph=True)
    assert x.grad is not None and torch.equal(x.grad, torch.full((1, 3), 6.0))
    b.backward()
    assert torch.equal(x.grad, torch.full((1, 3), 21.0))


def test_weights_cast_beforehand_give_exactly_what_autocast_gives(tiny: Backbone) -> None:
    generator = torch.Generator().manual_seed(0)
    latents, context = torch.randn(2, 4, 8, 8, generator=generator), tiny.encode_prompts(["a hat", "a person"]).context
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = tiny.unet(latents, 500, context).sample
        with swapped(cast_swaps(tiny.unet, torch.bfloat16)):
            assert tiny.unet.conv_in.weight.dtype == torch.bfloat16
            assert torch.equal(tiny.unet(latents, 500, context).sample, plain)
