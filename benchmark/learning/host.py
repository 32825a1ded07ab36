"""What an adapter needs of the frozen model that it is put into."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


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
