"""A tiny random Stable Diffusion pipeline and a tiny random metric model, made and saved by the stock libraries."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # imported where they are needed: the tests of tasks and results do without them
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

CONTEXT = 48


def tiny_tokenizer() -> CLIPTokenizer:
    """Letters, digits and a few merges; the end-of-text token has the highest id, which CLIP's pooling relies on."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + string.punctuation
    merges = [("t", "h"), ("th", "e</w>"), ("p", "e"), ("r", "s"), ("o", "n</w>"), ("pe", "rs"), ("pers", "on</w>")]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def tiny_pipeline(prediction_type: str = "v_prediction") -> StableDiffusionPipeline:
    """32×32 pixels, latents 8×8×4, random weights from a fixed seed."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.set_num_threads(1)  # the tensors are tiny: more threads only get in each other's way
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(16, 32),
            norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=24,
            attention_head_dim=2,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
            scaling_factor=0.5,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=24,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=CONTEXT,
                projection_dim=24,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        with torch.no_grad():  # a random text encoder's output hardly depends on the words; make it
            text_encoder.get_input_embeddings().weight.normal_()
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear", prediction_type=prediction_type, clip_sample=False, steps_offset=1
    )
    return StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_family(kind: str) -> Any:
    """A small random pipeline, 32×32 pixels, in the shape of sd15 (noise, convolutions as projections), sd21 (velocity,
    linear projections) or sdxl (noise, two text encoders, pooled embedding, sizes).
    """
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    base = tiny_pipeline("v_prediction" if kind == "sd21" else "epsilon")
    shape: dict[str, Any] = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "use_linear_projection": kind != "sd15",
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 24,
        "attention_head_dim": 2 if kind == "sd15" else (2, 4),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if kind != "sdxl":
            base.unet = UNet2DConditionModel(**shape)
            return base
        shape |= {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2),
            "cross_attention_dim": 24 + 40,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 40,
        }
        sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": CONTEXT}
        special = {name: getattr(base.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        common = {**sizes, **special, "vocab_size": len(base.tokenizer)}
        first = CLIPTextConfig(hidden_size=24, intermediate_size=48, projection_dim=24, **common)
        second = CLIPTextConfig(
            hidden_size=40, intermediate_size=48, projection_dim=40, hidden_act="gelu", **common | {"pad_token_id": 0}
        )
        encoders = CLIPTextModel(first), CLIPTextModelWithProjection(second)
        with torch.no_grad():
            for encoder in encoders:
                encoder.get_input_embeddings().weight.normal_()
        other = tiny_tokenizer()
        other.pad_token = "!"
        return StableDiffusionXLPipeline(
            vae=base.vae,
            text_encoder=encoders[0],
            text_encoder_2=encoders[1],
            tokenizer=base.tokenizer,
            tokenizer_2=other,
            unet=UNet2DConditionModel(**shape),
            scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"),
            add_watermarker=False,
        )


@pytest.fixture(scope="session")
def tiny_families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A diffusers folder of each family's shape."""
    root = tmp_path_factory.mktemp("families")
    folders = {kind: root / f"tiny-{kind}" for kind in ("sd15", "sd21", "sdxl")}
    for kind, folder in folders.items():
        tiny_family(kind).save_pretrained(folder)
    return folders


@pytest.fixture(scope="session")
def tiny_backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder that predicts v."""
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_epsilon_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pipeline, declared to predict the noise."""
    folder = tmp_path_factory.mktemp("backbones") / "tiny-epsilon"
    tiny_pipeline("epsilon").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_metric_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder for `local-dir:`, 32×32 pixels, embeddings of 16."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("metrics") / "tiny-clip"
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    config: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(tokenizer),
            "width": 32,
            "heads": 2,
            "layers": 1,
            "hf_tokenizer_name": "tiny-clip",
        },
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = open_clip.CLIP(**config)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder
