"""The second opinion on likeness: images to unit vectors by DINO, a vision transformer that never saw a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from transformers import ViTModel
from transformers.utils import logging

from cat_bench.benchmark.errors import MetricModelError
from cat_bench.benchmark.extractors.base import Features, as_picture
from cat_bench.benchmark.extractors.folders import DINO, WEIGHTS, find_dino, fingerprint
from cat_bench.benchmark.planning.identity import DINO as ROLE
from cat_bench.benchmark.system.device import resolve_device

# ImageNet's, as in DINO's own evaluation
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(eq=False, repr=False)
class DinoModel:
    """A frozen ViT in fp32; an image's feature is its last CLS token."""

    id: str
    folder: Path
    device: torch.device
    network: Any
    batch: int = 64

    @classmethod
    def load(cls, name: str | Path = DINO, device: str | torch.device = "auto") -> DinoModel:
        """Load a model of the Hub by its id, or a folder. Only safetensors are read. Raises MetricModelError."""
        id_, folder = find_dino(str(name))
        assert folder is not None  # fetched, or an error was raised
        where = resolve_device(device)
        verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()  # a pooling layer that is there and not wanted is no news
        logging.disable_progress_bar()
        try:
            network, report = ViTModel.from_pretrained(
                folder,
                add_pooling_layer=False,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise MetricModelError(f"DINO model {folder} cannot be loaded: {reason}") from error
        finally:
            logging.set_verbosity(verbosity)
            if bar:
                logging.enable_progress_bar()
        if lacking := sorted(report["missing_keys"]):  # transformers would make them up
            raise MetricModelError(f"DINO model {folder / WEIGHTS} lacks {len(lacking)} weights, such as {lacking[0]}")
        network.requires_grad_(False).eval().to(where)
        return cls(id_, folder, where, network)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the bytes of configuration and weights."""
        return fingerprint(ROLE, self.folder)

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image] | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Features:
        """Unit vectors (n, d) of n RGB images: PIL, or uint8 arrays (H, W, 3)."""
        config = self.network.config
        found = [np.zeros((0, config.hidden_size), dtype=np.float32)]
        for start in range(0, len(images), self.batch):
            part = [prepared(as_picture(image), config.image_size) for image in images[start : start + self.batch]]
            pixels = torch.from_numpy(np.stack(part)).to(self.device)
            classes = self.network(pixel_values=pixels).last_hidden_state[:, 0]
            found.append(torch.nn.functional.normalize(classes.float(), dim=-1).cpu().numpy())
        return np.concatenate(found)


def prepared(picture: Image.Image, side: int) -> NDArray[np.float32]:
    """(3, side, side) as DINO's own evaluation makes it: shorter side to 256 (bicubic), centre crop of 224, ImageNet's
    mean and deviation; for a model of another side the same shares of it.
    """
    short = round(side * 256 / 224)
    scale = [short * length // min(picture.size) for length in picture.size]
    resized = picture.resize((scale[0], scale[1]), Image.Resampling.BICUBIC)
    left, top = (round((length - side) / 2) for length in resized.size)
    pixels = np.asarray(resized.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    return np.ascontiguousarray(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1))
