"""A diffusers folder of the two families, read part by part: safetensors only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cat_bench.benchmark.backbones.folders import BACKBONE_MARK, COMPONENTS, SECOND, family, weight_file
from cat_bench.benchmark.backbones.schedule import Schedule
from cat_bench.benchmark.backbones.text_encoders import TextEncoder
from cat_bench.benchmark.errors import BackboneError


def read_pipeline(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a pipeline's folder."""
    double = family(folder) == "sdxl"
    for part in (*COMPONENTS, *(SECOND if double else ())):
        if not (folder / part).is_dir():
            raise BackboneError(f"{folder} has no {part}/: its layout must be {', '.join(COMPONENTS)}")

    def network(cls: Any, part: str, **more: Any) -> Any:
        found = weight_file(folder, part)
        if found is None:
            raise BackboneError(f"{folder / part} has no safetensors weights (pickled ones are never loaded)")
        return cls.from_pretrained(folder / part, use_safetensors=True, local_files_only=True, variant=found[1], **more)

    def tokenizer(part: str) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(folder / part, local_files_only=True)

    encoders = [TextEncoder(network(CLIPTextModel, "text_encoder", dtype=dtype), tokenizer("tokenizer"), double)]
    if double:
        second = network(CLIPTextModelWithProjection, "text_encoder_2", dtype=dtype)
        encoders.append(TextEncoder(second, tokenizer("tokenizer_2"), double))
    index = json.loads((folder / BACKBONE_MARK).read_text("utf-8"))
    return {
        "unet": network(UNet2DConditionModel, "unet", torch_dtype=dtype),
        # Always fp32: half-precision decoders of this family are known to overflow.
        "vae": network(AutoencoderKL, "vae", torch_dtype=torch.float32),
        "text_encoders": tuple(encoders),
        "schedule": Schedule(DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)),
        "empty_is_zero": double and bool(index.get("force_zeros_for_empty_prompt", True)),
    }
