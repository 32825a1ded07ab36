"""peft's LoRA layer in fewer operations: the same numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PEFT_NAME = "default"


class LeanLinear(Linear):  # type: ignore[misc]  # peft has no types
    """W x + b + scaling · B A x as one node of autograd's graph, where peft's makes some twenty.

    The input is cast once for W and A together, nothing passes through a dropout that drops nothing, and a scaling of 1
    is no multiplication. Whatever is not the plain case (one active adapter, all in one type) is left to peft.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base, names, device = self.base_layer, self.active_adapters, x.device.type
        cast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if cast else x.dtype
        if not args and not kwargs and len(names) == 1 and not (self.disable_adapters or self.merged):
            A, B = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight
            usual = isinstance(self.lora_dropout[names[0]], nn.Identity) and not self.lora_variant
            if usual and (cast or dtype == base.weight.dtype == A.dtype):
                found: Tensor = _Lean.apply(x, x, A, B, base.weight, base.bias, self.scaling[names[0]], dtype)
                return found
        return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]


class _Lean(torch.autograd.Function):
    """The input comes twice: autograd then adds its two gradients, A's and W's, one by one as it does for peft."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (…, in)
        again: Tensor,  # x
        A: Tensor,  # (r, in)
        B: Tensor,  # (out, r)
        weight: Tensor,  # (out, in), frozen
        bias: Tensor | None,
        scaling: float,
        dtype: torch.dtype,
    ) -> Tensor:
        cast, W, A_, B_ = (tensor.to(dtype) for tensor in (x, weight, A, B))
        flat = cast.reshape(-1, cast.shape[-1])  # (n, in)
        inner = F.linear(flat, A_)  # (n, r)
        change = F.linear(inner, B_)  # (n, out)
        result = F.linear(flat, W, None if bias is None else bias.to(dtype))
        result += change if scaling == 1 else change * scaling
        ctx.save_for_backward(flat, inner, A_, B_, W)
        ctx.scaling, ctx.shape, ctx.types = scaling, x.shape, (x.dtype, A.dtype, B.dtype)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, A, B, W = ctx.saved_tensors
        of_x, of_A, of_B = ctx.types
        outer = gradients[0].reshape(-1, W.shape[0])  # (n, out)
        scaled = outer if ctx.scaling == 1 else outer * ctx.scaling
        middle = scaled.mm(B)  # (n, r)
        dB, dA = scaled.t().mm(inner).to(of_B), middle.t().mm(flat).to(of_A)
        if not ctx.needs_input_grad[0]:
            return None, None, dA, dB, None, None, None, None
        by_A, by_W = (grad.to(of_x).view(ctx.shape) for grad in (middle.mm(A), outer.mm(W)))
        return by_A, by_W, dA, dB, None, None, None, None


def inject(
    network: nn.Module, names: Sequence[str], rank: int, scaling: float
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Put such layers in the place of these linear ones; A and B of each, in fp32 whatever the base is held in."""
    with torch.random.fork_rng(devices=[]):  # peft draws its A from the global stream; ours is drawn later
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(names))
        config._register_custom_module({nn.Linear: LeanLinear})
        inject_adapter_in_model(config, network, PEFT_NAME)
    found: tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]] = ({}, {})
    for name in names:
        layer = network.get_submodule(name)
        assert isinstance(layer, LeanLinear)  # injected above
        layer.scaling[PEFT_NAME] = scaling  # peft wants a whole alpha
        for mine, theirs in zip(found, (layer.lora_A, layer.lora_B), strict=True):
            mine[name] = theirs[PEFT_NAME].float().get_parameter("weight")
    return found
