"""The model behind the scores: images and texts to unit vectors, by open_clip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from cat_bench.benchmark.errors import MetricModelError
from cat_bench.benchmark.extractors.base import Features, as_picture
from cat_bench.benchmark.extractors.folders import find_metric, fingerprint
from cat_bench.benchmark.planning.identity import CLIP
from cat_bench.benchmark.system.device import resolve_device


@dataclass(eq=False, repr=False)
class MetricModel:
    """A frozen CLIP model in fp32, never the backbone's own text encoder."""

    id: str
    folder: Path | None  # None: one that open_clip knows by name
    device: torch.device
    model: Any
    preprocess: Any
    tokenizer: Any
    batch: int = 64

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "auto") -> MetricModel:
        """Load a shipped model by name, an open_clip folder, or `ARCHITECTURE:TAG` as open_clip names them.

        Only the last may download. Only safetensors are read, never pickles. Raises MetricModelError.
        """
        id_, folder = find_metric(str(name))
        where = resolve_device(device)
        architecture = f"local-dir:{folder}" if folder else id_.partition(":")[0]
        settings = {} if folder else _pretrained(id_)
        try:
            model, preprocess = open_clip.create_model_from_pretrained(architecture, device=where, **settings)
            tokenizer = open_clip.get_tokenizer(architecture)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise MetricModelError(f"metric model {folder or id_} cannot be loaded: {reason}") from error
        model.requires_grad_(False).eval()
        return cls(id_, folder, where, model, preprocess, tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the folder's files, or over the weights of a model without a folder."""
        if self.folder is not None:
            return fingerprint(CLIP, self.folder)
        total = hashlib.sha256(self.id.encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            total.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image] | Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Features:
        """Unit vectors (n, d) of n RGB images: PIL, or uint8 arrays (H, W, 3)."""
        found = []
        for start in range(0, len(images), self.batch):
            part = [as_picture(image) for image in images[start : start + self.batch]]
            pixels = torch.stack([self.preprocess(picture) for picture in part]).to(self.device)
            found.append(self.model.encode_image(pixels, normalize=True).float().cpu().numpy())
        return np.concatenate(found) if found else self._none()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Features:
        """Unit vectors (n, d) of n texts."""
        found = []
        for start in range(0, len(texts), self.batch):
            tokens = self.tokenizer(list(texts[start : start + self.batch])).to(self.device)
            found.append(self.model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(found) if found else self._none()

    def _none(self) -> Features:
        width = int(self.model.visual.output_dim)
        return np.zeros((0, width), dtype=np.float32)


def _pretrained(id_: str) -> dict[str, Any]:
    """What open_clip is told for `ARCHITECTURE:TAG`: the weights as safetensors, and how pictures are prepared.

    Left to itself open_clip would take pickled weights where the safetensors cannot be had, and read weights that were
    trained with QuickGELU with another activation if the architecture's name does not say so.
    """
    from huggingface_hub import hf_hub_download

    architecture, _, tag = id_.partition(":")
    about = open_clip.get_pretrained_cfg(architecture, tag)
    if not about:
        raise MetricModelError(
            f"metric model {id_!r}: open_clip knows no such pair; open_clip.list_pretrained() has all"
        )
    repository, _, file = str(about.get("hf_hub", "")).rpartition("/")
    if not repository:
        raise MetricModelError(f"metric model {id_!r} is not on the Hugging Face Hub; give its folder instead")
    file = f"{Path(file).stem}.safetensors" if file else "open_clip_model.safetensors"
    try:
        weights = hf_hub_download(repository, file)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MetricModelError(
            f"metric model {id_!r} is not on this machine and could not be fetched ({reason}); with a network,"
            f" `hf download {repository} {file}` and copy the cache, or give an open_clip folder with --metric"
        ) from error
    named = {"mean": "image_mean", "std": "image_std", "interpolation": "image_interpolation"}
    named |= {"resize_mode": "image_resize_mode"}
    settings = {theirs: about[mine] for mine, theirs in named.items() if mine in about}
    return {"pretrained": weights, "force_quick_gelu": bool(about.get("quick_gelu", False)), **settings}
