"""The frozen text-to-image model that is personalised: Stable Diffusion's layout in a diffusers folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from cat_bench.benchmark.device import resolve_device
from cat_bench.benchmark.errors import BackboneError
from cat_bench.benchmark.folders import find_backbone, metric_for
from cat_bench.benchmark.prompts import PromptEncoder

WEIGHED = ("unet", "vae", "text_encoder")
COMPONENTS = (*WEIGHED, "tokenizer", "scheduler")
DTYPES = {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(eq=False, repr=False)
class Backbone:
    """A text-to-image model, all of it frozen. `unet` is shared by the adapters that are injected into it in turn."""

    id: str
    folder: Path
    device: torch.device
    # diffusers' decorators hide its classes' attributes from type checkers; hence Any.
    unet: Any  # UNet2DConditionModel
    vae: Any  # AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: Any  # DDPMScheduler: the noise schedule the model was trained with

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "auto", dtype: str = "auto") -> Backbone:
        """Load a shipped backbone by name, a diffusers folder, or `owner/name` from the Hugging Face Hub.

        `dtype` is how the UNet's and the text encoder's weights are held. `auto` is fp32 everywhere: adapters are
        folded into these weights, and bf16's 8 bits would swallow small ones; autocast gives bf16 its speed anyway.
        Only safetensors are read, never pickles. Raises BackboneError.
        """
        if dtype not in DTYPES:
            raise BackboneError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
        id_, folder = find_backbone(str(name))
        for part in COMPONENTS:
            if not (folder / part).is_dir():
                raise BackboneError(f"{folder} has no {part}/: the layout must be {', '.join(COMPONENTS)}")
            if part in WEIGHED and not any((folder / part).glob("*.safetensors")):
                raise BackboneError(f"{folder / part} has no safetensors weights (pickled ones are never loaded)")
        where = resolve_device(device)
        safe: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
        bar = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        try:
            backbone = cls(
                id=id_,
                folder=folder,
                device=where,
                unet=UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=DTYPES[dtype], **safe),
                # Always fp32: half-precision decoders of this family are known to overflow.
                vae=AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, **safe),
                text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=DTYPES[dtype], **safe),
                tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
                scheduler=DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise BackboneError(f"{folder} cannot be read as a Stable Diffusion pipeline: {reason}") from error
        finally:
            if bar:
                transformers_logging.enable_progress_bar()
        backbone._check()
        for network in (backbone.unet, backbone.vae, backbone.text_encoder):
            network.requires_grad_(False).eval().to(where)
        return backbone

    def _check(self) -> None:
        if self.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise BackboneError(
                f"{self.folder / 'scheduler'}: prediction_type {self.scheduler.config.prediction_type!r} is not"
                " supported (epsilon and v_prediction are)"
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
        return metric_for(self.folder)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the names and bytes of all component files that can be loaded (configs, weights, vocabulary)."""
        total = hashlib.sha256()
        files = (path for part in COMPONENTS for path in (self.folder / part).iterdir())
        for path in sorted(files, key=lambda path: path.relative_to(self.folder).as_posix()):
            if path.suffix in (".safetensors", ".json", ".txt"):
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                total.update(f"{path.relative_to(self.folder).as_posix()} {digest}\n".encode())
        return total.hexdigest()

    @property
    def token_table(self) -> Tensor:
        """The text encoder's own token embeddings (vocabulary, d)."""
        table: Tensor = self.text_encoder.get_input_embeddings().get_parameter("weight").detach()
        return table

    @cached_property
    def _prompts(self) -> PromptEncoder:
        return PromptEncoder(self.text_encoder, self.tokenizer, self.device)

    def encode_prompts(self, prompts: Sequence[str], token: Mapping[str, Tensor] | None = None) -> Tensor:
        """Embeddings (n, L, d) of n prompts, cached by string; `token` gives learned embeddings (1, d) by trigger."""
        return self._prompts(prompts, token)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Latents (n, c, h, w) in fp32: the posterior's mean (no sampling), shifted and scaled as the UNet expects."""
        side = self.resolution
        wrong = next((image.size for image in images if image.size != (side, side)), None)
        if wrong is not None:
            raise BackboneError(f"images must be {side}×{side} pixels for {self.id}; one is {wrong[0]}×{wrong[1]}")
        pixels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
        scaled = (torch.from_numpy(pixels) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        batches = [scaled[start : start + 8].to(self.device) for start in range(0, len(scaled), 8)]  # fits a small GPU
        means = [self.vae.encode(batch).latent_dist.mean for batch in batches]
        return (torch.cat(means) - self._shift) * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures (n, H, W, 3) of latents (n, c, h, w), rounded to uint8 as diffusers does."""
        unscaled = latents.float() / float(self.vae.config.scaling_factor) + self._shift
        pixels = self.vae.decode(unscaled, return_dict=False)[0].float()
        levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        pictures: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return pictures

    @property
    def _shift(self) -> float:
        return float(getattr(self.vae.config, "shift_factor", None) or 0.0)
