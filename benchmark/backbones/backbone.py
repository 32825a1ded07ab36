"""The frozen text-to-image model that is personalised: Stable Diffusion's layout in a diffusers folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging as transformers_logging

from cat_bench.benchmark.backbones.folders import backbone_folder, metric_for
from cat_bench.benchmark.backbones.registry import described, registered
from cat_bench.benchmark.backbones.stable_diffusion import COMPONENTS, SECOND, read_pipeline
from cat_bench.benchmark.backbones.text_encoders import Conditioning, PromptEncoder, TextEncoder
from cat_bench.benchmark.errors import BackboneError
from cat_bench.benchmark.system.device import resolve_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    scheduler: Any  # DDPMScheduler: the noise schedule the model was trained with
    empty_is_zero: bool = False  # guidance starts from zeros, not from the embedding of the empty prompt

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "auto", weights: str = "auto") -> Backbone:
        """Load a backbone by its registered name, a diffusers folder, or `owner/name` from the Hugging Face Hub.

        `weights` is how the UNet's and the text encoders' are held. `auto` is fp32, on a GPU as `backbones.toml` says:
        adapters are folded into these weights, and bf16's 8 bits would swallow small ones; autocast gives half
        precision its speed anyway. Only safetensors are read, never pickles. Raises BackboneError.
        """
        if weights not in ("auto", *DTYPES):
            raise BackboneError(f"weights {weights!r} are unknown; use one of auto, {', '.join(DTYPES)}")
        id_, folder = backbone_folder(str(name))
        where = resolve_device(device)
        if weights == "auto":
            weights = described(id_, folder).weights if where.type == "cuda" else "fp32"
        if weights == "fp16" and where.type == "cpu":
            raise BackboneError("weights fp16 cannot be computed with on a CPU; use fp32 or bf16")
        bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            backbone = cls(id_, folder, where, **read_pipeline(folder, DTYPES[weights]))
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
        if self.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise BackboneError(
                f"{self.folder / 'scheduler'}: prediction_type {self.scheduler.config.prediction_type!r} is not"
                " supported (epsilon and v_prediction are)"
            )
        entry = registered().get(self.id)
        if entry and (self.prediction_type, self.resolution) != (entry.prediction, entry.resolution):
            raise BackboneError(
                f"{self.folder} is not {self.id}: it predicts {self.prediction_type} at {self.resolution} pixels,"
                f" and {self.id} {entry.prediction} at {entry.resolution}"
            )
        if self.unet.config.in_channels != self.vae.config.latent_channels:
            raise BackboneError(
                f"{self.folder}: the UNet takes {self.unet.config.in_channels} channels and the autoencoder makes"
                f" {self.vae.config.latent_channels}; inpainting and depth models are not supported"
            )

    @property
    def prediction_type(self) -> Literal["epsilon", "v_prediction"]:
        """What the UNet predicts: the noise ε, or the velocity v = √ᾱ·ε − √(1−ᾱ)·z0."""
        kind: Literal["epsilon", "v_prediction"] = self.scheduler.config.prediction_type
        return kind

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image's latent."""
        size = int(self.unet.config.sample_size)
        return int(self.unet.config.in_channels), size, size

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""
        return self.latent_shape[1] * int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def metric(self) -> str:
        """The metric model that goes with this backbone, as `MetricModel.load` takes it."""
        return metric_for(self.id, self.folder)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names and bytes of all component files that can be loaded (configs, weights, vocabulary)."""
        total = hashlib.sha256()
        parts = (self.folder / part for part in (*COMPONENTS, *SECOND))
        files = (path for part in parts if part.is_dir() for path in part.iterdir())
        for path in sorted(files, key=lambda path: path.relative_to(self.folder).as_posix()):
            if path.suffix in (".safetensors", ".json", ".txt"):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                total.update(f"{path.relative_to(self.folder).as_posix()} {digest}\n".encode())
        return total.hexdigest()

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
