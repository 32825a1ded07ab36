"""What an adapter needs of the frozen model that it is put into, and where in it it goes."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cat_bench.benchmark.errors import AdapterError


class Host(Protocol):
    """A frozen model with linear layers; a backbone is one."""

    @property
    def id(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def network(self) -> Any:
        """The nn.Module whose linear layers are adapted."""

    @property
    def token_width(self) -> int:
        """d of a learned token (1, d)."""

    def random_token(self, generator: torch.Generator) -> Tensor:
        """(1, d), as a token of the model's own might be."""


def linear_layers(network: nn.Module, targets: tuple[str, ...]) -> dict[str, nn.Linear]:
    """The linear layers whose names end in one of the targets, in module order."""
    linear = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            raise AdapterError(f"target {target!r} is the ending of no linear layer's name in the UNet")
    found = {n: layer for n, layer in linear.items() if any(f".{n}".endswith(f".{target}") for target in targets)}
    if not found:
        raise AdapterError("an adapter needs at least one target layer")
    return found
