"""Pipelines of the true size with random weights: what speed and memory depend on, without any download."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.registry import registered
from cat_bench.benchmark.backbones.schedule import Schedule
from cat_bench.benchmark.backbones.text_encoders import TextEncoder
from cat_bench.benchmark.system.device import DTYPES

SIZES = ("sd15", "sdxl")


def true_size(name: str, device: torch.device, weights: str) -> Backbone:
    """sd15 or sdxl as their published configurations describe them; the weights are random, so the images are noise."""
    if name not in SIZES:
        raise ValueError(f"there is no true-size pipeline {name!r}; there is: {', '.join(SIZES)}")
    xl = name == "sdxl"
    dtype = DTYPES[weights]
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(**_unet(xl)).to(dtype)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            scaling_factor=0.13025 if xl else 0.18215,
        )
        first = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)).to(dtype)
        encoders = [TextEncoder(first, _tokenizer(), penultimate=xl)]
        if xl:
            wide = CLIPTextConfig(
                hidden_size=1280,
                intermediate_size=5120,
                num_hidden_layers=32,
                num_attention_heads=20,
                projection_dim=1280,
                hidden_act="gelu",
            )
            encoders.append(TextEncoder(CLIPTextModelWithProjection(wide).to(dtype), _tokenizer(), penultimate=True))
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    for network in (unet, vae, *(encoder.network for encoder in encoders)):
        network.requires_grad_(False).eval()
    backbone = Backbone(name, Path(name), device, unet, vae, tuple(encoders), Schedule(schedule), empty_is_zero=xl)
    assert backbone.resolution == registered()[name].resolution
    return backbone


def _unet(xl: bool) -> dict[str, Any]:
    if not xl:
        return {
            "sample_size": 64,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        }  # the rest is diffusers' default
    return {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }


def _tokenizer() -> CLIPTokenizer:
    """One token for each letter: what is said does not matter here, only how long it takes."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77)
