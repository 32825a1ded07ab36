"""What tells the UNet what to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """What tells the UNet what to draw, for n items.

    context  (n, L, d) one embedding for each place of the prompt
    pooled   (n, p) one for the whole prompt; Stable Diffusion XL only
    sizes    (n, 6) original height and width, crop's top and left, target height and width; likewise
    """

    context: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def arguments(self, dtype: torch.dtype) -> dict[str, Any]:
        """The keyword arguments of a diffusers UNet."""
        given: dict[str, Any] = {"encoder_hidden_states": self.context.to(dtype)}
        if self.pooled is not None and self.sizes is not None:
            given["added_cond_kwargs"] = {"text_embeds": self.pooled.to(dtype), "time_ids": self.sizes.to(dtype)}
        return given

    def rows(self, which: slice | Tensor | list[int]) -> Conditioning:
        """Those of some items."""
        return Conditioning(*(None if part is None else part[which] for part in self._parts))  # type: ignore[arg-type]

    def after(self, first: Conditioning) -> Conditioning:
        """These items behind those of `first`."""
        pairs = zip(first._parts, self._parts, strict=True)
        joined = (None if mine is None or theirs is None else torch.cat([theirs, mine]) for theirs, mine in pairs)
        return Conditioning(*joined)  # type: ignore[arg-type]

    def zeros(self) -> Conditioning:
        """As many items that say nothing; their sizes stay."""
        nothing = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.context), nothing, self.sizes)

    @property
    def _parts(self) -> tuple[Tensor | None, ...]:
        return (self.context, self.pooled, self.sizes)
