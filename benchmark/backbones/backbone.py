"""The frozen text-to-image model that is personalised: Stable Diffusion's layout in a diffusers folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging as transformers_logging

from cat_bench.benchmark.backbones.conditioning import Conditioning
from cat_bench.benchmark.backbones.folders import backbone_folder, fingerprint
from cat_bench.benchmark.backbones.registry import entry_for, registered
from cat_bench.benchmark.backbones.schedule import Schedule
from cat_bench.benchmark.backbones.stable_diffusion import read_pipeline
from cat_bench.benchmark.backbones.text_encoders import PromptEncoder, TextEncoder
from cat_bench.benchmark.errors import BackboneError
from cat_bench.benchmark.system.device import resolve_device, weights_dtype


@dataclass(eq=False, repr=False)
class Backbone:
    """A text-to-image model, all of it frozen. `unet` is shared by the adapters that are injected into it in turn."""

    id: str
    folder: Path
    device: torch.device
    # diffusers' decorators hide its classes' attributes from type checkers; hence Any.
    unet: Any  # UNet2DConditionModel
    vae: Any  # AutoencoderKL
    text_encoders: tuple[TextEncoder, ...]  # one, or Stable Diffusion XL's two
    schedule: Schedule  # that the model was trained with
    empty_is_zero: bool = False  # guidance starts from zeros, not from the embedding of the empty prompt

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "auto", weights: str = "auto") -> Backbone:
        """Load a backbone by its registered name, a diffusers folder, or `owner/name` from the Hugging Face Hub.

        `weights` is how the UNet's and the text encoders' are held (see `weights_dtype`). Only safetensors are read,
        never pickles. Raises BackboneError, or SpecError for a device or weights that cannot be.
        """
        id_, folder = backbone_folder(str(name))
        where = resolve_device(device)
        dtype = weights_dtype(weights, where, entry_for(id_, folder).weights)
        bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            backbone = cls(id_, folder, where, **read_pipeline(folder, dtype))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            if isinstance(error, BackboneError):
                raise
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise BackboneError(f"{folder} cannot be read as a Stable Diffusion pipeline: {reason}") from error
        finally:
            if bar:
                transformers_logging.enable_progress_bar()
        backbone._check()
        for network in (backbone.unet, *backbone._helpers):
            network.requires_grad_(False).eval().to(where)
        return backbone

    def _check(self) -> None:
        try:
            kind = self.schedule.prediction_type
        except BackboneError as error:
            raise BackboneError(f"{self.folder / 'scheduler'}: {error}") from None
        entry = registered().get(self.id)
        if entry and (kind, self.resolution) != (entry.prediction, entry.resolution):
            raise BackboneError(
                f"{self.folder} is not {self.id}: it predicts {kind} at {self.resolution} pixels,"
                f" and {self.id} {entry.prediction} at {entry.resolution}"
            )
        if self.unet.config.in_channels != self.vae.config.latent_channels:
            raise BackboneError(
                f"{self.folder}: the UNet takes {self.unet.config.in_channels} channels and the autoencoder makes"
                f" {self.vae.config.latent_channels}; inpainting and depth models are not supported"
            )

    @property
    def network(self) -> Any:
        """What adapters are put into."""
        return self.unet

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image's latent."""
        size = int(self.unet.config.sample_size)
        return int(self.unet.config.in_channels), size, size

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        return self.latent_shape[1] * int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names and bytes of all component files that can be loaded (configs, weights, vocabulary)."""
        return fingerprint(self.folder)

    @property
    def token_width(self) -> int:
        """d of a learned token (1, d): the widths of all text encoders' embeddings together."""
        return sum(encoder.table.shape[1] for encoder in self.text_encoders)

    def random_token(self, generator: torch.Generator) -> Tensor:
        """(1, d) in fp32: normal, with the mean and the spread of each text encoder's embedding table."""
        drawn = torch.randn(1, self.token_width, generator=generator).to(self.device)
        tables = [encoder.table.float().to(self.device) for encoder in self.text_encoders]
        parts = torch.split(drawn, [table.shape[1] for table in tables], dim=1)
        return torch.cat([t.mean() + t.std() * part for t, part in zip(tables, parts, strict=True)], dim=1)

    @cached_property
    def _prompts(self) -> PromptEncoder:
        side = self.resolution
        sizes = (side, side, 0, 0, side, side) if len(self.text_encoders) > 1 else None
        return PromptEncoder(self.text_encoders, self.device, sizes)

    def encode_prompts(self, prompts: Sequence[str], token: Mapping[str, Tensor] | None = None) -> Conditioning:
        """What n prompts say to the UNet, cached by string; `token` gives learned embeddings (1, d) by trigger."""
        if not self._prompts.cached(prompts, tuple(token or {})):
            self._fetch(*(encoder.network for encoder in self.text_encoders))
        return self._prompts(prompts, token)

    def encode_empty(self, count: int) -> Conditioning:
        """What guidance starts from, for n items: the empty prompt, or nothing at all where the pipeline does so."""
        empty = self.encode_prompts([""] * count)
        return empty.zeros() if self.empty_is_zero else empty

    @property
    def _helpers(self) -> tuple[Any, ...]:
        """Every network but the UNet."""
        return (self.vae, *(encoder.network for encoder in self.text_encoders))

    def _fetch(self, *networks: Any) -> None:
        for network in networks:
            if next(network.parameters()).device != self.device:
                network.to(self.device)

    @contextmanager
    def only_unet(self) -> Iterator[None]:
        """While it lasts the other networks are in the CPU's memory; one that is asked for comes back by itself."""
        try:
            if self.device.type == "cuda":
                for network in self._helpers:
                    network.to("cpu")
                torch.cuda.empty_cache()
            yield
        finally:
            self._fetch(*self._helpers)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Latents (n, c, h, w) in fp32: the posterior's mean (no sampling), shifted and scaled as the UNet expects."""
        side = self.resolution
        wrong = next((image.size for image in images if image.size != (side, side)), None)
        if wrong is not None:
            raise BackboneError(f"images must be {side}×{side} pixels for {self.id}; one is {wrong[0]}×{wrong[1]}")
        self._fetch(self.vae)
        pixels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
        scaled = (torch.from_numpy(pixels) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        batches = [scaled[start : start + 8].to(self.device) for start in range(0, len(scaled), 8)]  # fits a small GPU
        means = [self.vae.encode(batch).latent_dist.mean for batch in batches]
        return (torch.cat(means) - self._shift) * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures (n, H, W, 3) of latents (n, c, h, w), rounded to uint8 as diffusers does."""
        self._fetch(self.vae)
        unscaled = latents.float() / float(self.vae.config.scaling_factor) + self._shift
        pixels = self.vae.decode(unscaled, return_dict=False)[0].float()
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        pictures: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return pictures

    @property
    def _shift(self) -> float:
        return float(getattr(self.vae.config, "shift_factor", None) or 0.0)
