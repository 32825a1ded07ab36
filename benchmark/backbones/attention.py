"""diffusers' attention in fewer operations, with the same numbers bit for bit, and a kernel to train with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]  # query, key, value (n, heads, places, d) → (n, heads, places, d)
FEW = 2**14  # scores of one head; of 256 places among themselves there are four times as many
Exchange = tuple[dict[str, Any], str, Any]  # as `learning.swap` takes them: a table, its key, what stands in


def in_full(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """In fp32, whatever is given: by plain products where there are few scores, else by PyTorch's fused kernel.

    The products are those of SDPBackend.MATH, which searches the scores for rows that are wholly masked besides.
    """
    with torch.autocast(query.device.type, enabled=False):
        q, k, v = query.float(), key.float(), value.float()
        if q.shape[-2] * k.shape[-2] > FEW:
            return F.scaled_dot_product_attention(q, k, v).to(query.dtype)
        root = (q.shape[-1] ** -0.5) ** 0.5
        scores = (q * root) @ (k.transpose(-2, -1) * root)
        return (torch.softmax(scores, dim=-1) @ v).to(query.dtype)


class LeanAttention:
    """Attention without a mask, as diffusers' processor does it, less the divisions by one and the rest."""

    def __init__(self, kernel: Kernel = F.scaled_dot_product_attention) -> None:
        self.kernel, self.stock = kernel, AttnProcessor2_0()

    def __call__(
        self,
        attn: Any,  # diffusers' Attention
        hidden_states: Tensor,  # (n, places, width)
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is not None or hidden_states.ndim != 3:
            answer: Tensor = self.stock(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
            return answer
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        query, key, value = (one.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for one in projected)
        mixed = self.kernel(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = attn.to_out[0](mixed)
        return result


def lean_attention(network: nn.Module, kernel: Kernel = F.scaled_dot_product_attention) -> list[Exchange]:
    """`LeanAttention` in place of the processor of every attention layer that does nothing else."""
    lean = LeanAttention(kernel)
    return [(layer.__dict__, "processor", lean) for layer in network.modules() if _plain(layer)]


def _plain(layer: nn.Module) -> bool:
    if not (isinstance(layer, Attention) and type(layer.processor) is AttnProcessor2_0):
        return False
    extras = (layer.spatial_norm, layer.group_norm, layer.norm_q, layer.norm_k)
    nothing_else = layer.rescale_output_factor == 1 and not layer.residual_connection and not layer.norm_cross
    return nothing_else and not layer.training and all(extra is None for extra in extras)


class Remembered(nn.Module):
    """A layer that is asked about the same tensor again and again, and computes its answer once."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.asked: Tensor | None = None
        self.answer: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.asked is not x or self.answer is None:
            self.asked, self.answer = x, self.layer(x)
        return self.answer


def remembered_contexts(network: nn.Module) -> list[Exchange]:
    """Keys and values of the prompts are computed once for all steps of a solver, which do not change them."""
    return [
        (layer._modules, name, Remembered(layer.get_submodule(name)))
        for layer in network.modules()
        if isinstance(layer, Attention) and layer.is_cross_attention
        for name in ("to_k", "to_v")
    ]
