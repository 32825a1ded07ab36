"""What every model that judges has in common: pictures to unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Features = NDArray[np.float32]


class Extractor(Protocol):
    """A frozen model; `id` stands in the records, `fingerprint` in the keys."""

    @property
    def id(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def images(self, images: Sequence[Image.Image] | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Features:
        """Unit vectors (n, d) of n RGB images: PIL, or uint8 arrays (H, W, 3)."""


def as_picture(image: Image.Image | NDArray[np.uint8]) -> Image.Image:
    """An RGB picture of an array (H, W, 3), or of what is one already."""
    return (image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))).convert("RGB")
