"""Let other weights or modules take the place of a network's own, for the length of a `with`.

Only references are exchanged, never the numbers behind them: the network's own tensors cannot drift, an exchange
costs microseconds, and a graph recorded under one set of weights is still right after the next set has moved in
(autograd holds on to the very tensors it saw; overwriting `.data` between forward and backward would corrupt it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

Swap = tuple[dict[str, Any], str, Any]  # the table that holds the reference, its key, what stands in


@contextmanager
def swapped(swaps: Iterable[Swap]) -> Iterator[None]:
    """Put the stand-ins in, in order; afterwards put back exactly what was there."""
    own: list[Swap] = []
    try:
        for table, key, other in swaps:
            own.append((table, key, table[key]))
            table[key] = other
        yield
    finally:
        for table, key, mine in reversed(own):
            table[key] = mine


def parameter_swap(module: nn.Module, key: str, tensor: Tensor) -> Swap:
    """`tensor` stands in, frozen, for the module's parameter of that name."""
    return (module._parameters, key, nn.Parameter(tensor, requires_grad=False))


def module_swap(network: nn.Module, name: str, other: nn.Module) -> Swap:
    """`other` stands in for the submodule of that dotted name."""
    parent, _, child = name.rpartition(".")
    return (network.get_submodule(parent)._modules, child, other)


def uncompiled(network: nn.Module) -> list[Swap]:
    """Modules that torch.compile compiled in place, as they are written: what was compiled for sampling would be
    compiled again for gradients and for each adapter, for minutes, and be no faster.
    """
    compiled = (module for module in network.modules() if module._compiled_call_impl is not None)
    return [(module.__dict__, "_compiled_call_impl", None) for module in compiled]


def cast_swaps(network: nn.Module, dtype: torch.dtype | None) -> list[Swap]:
    """The frozen weights of linear and convolution layers, cast once to `dtype` (None: no swaps).

    These are the layers autocast casts at every call; cast beforehand, the results are the same bit for bit.
    """
    if dtype is None:
        return []
    return [
        parameter_swap(module, key, parameter.to(dtype))
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d)
        for key, parameter in module._parameters.items()
        if parameter is not None and not parameter.requires_grad and parameter.dtype != dtype
    ]


def bare_swaps(network: nn.Module) -> list[Swap]:
    """Every LoRA layer of peft replaced by the layer it wraps: the network as if no adapter were there."""
    return [
        module_swap(network, name, layer.get_base_layer())
        for name, layer in network.named_modules()
        if isinstance(layer, LoraLayer)
    ]


@torch.no_grad()
def folded(layer: nn.Linear, delta: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """W0 + ΔW, added in fp32, given back in `dtype` (None: W0's)."""
    return (layer.weight.float() + delta.to(layer.weight.device)).to(dtype or layer.weight.dtype)
