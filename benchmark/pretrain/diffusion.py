"""The denoiser and text encoder of `avatars64.v2`, trained together on stored latents; saved as a stock pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from cat_bench.benchmark.pretrain.autoencoder import CHANNELS
from cat_bench.benchmark.pretrain.loop import Progress, compiled, train
from cat_bench.benchmark.pretrain.pictures.rendered import Entry, caption
from cat_bench.benchmark.pretrain.team import team_size
from cat_bench.benchmark.pretrain.tokenizer import caption_corpus, learn_tokenizer
from cat_bench.benchmark.system.device import training_attention

BATCH = 32
CONTEXT = 40
WIDTH = 192
EMPTY_CAPTIONS = 0.1  # for classifier-free guidance
FULL_CAPTIONS = 0.7  # say everything: prompts are obeyed late, and what is named is learned sooner
FULL_OF_NAMED = 0.3  # the same of pictures of an inhabitant, whose name must be heard, too
FACE = (slice(4, 11), slice(4, 12))  # rows and columns of a person's face, of 16
FACE_WEIGHT = 4.0  # an expression is a fiftieth of the pixels: counted like the rest, it was not heard in 5,000 steps
NOISY = (600, 0.7)  # so large a share of the time steps is above this one, where the text decides and not the picture


def backbone_tokenizer() -> CLIPTokenizer:
    """The backbone's own tokenizer."""
    return learn_tokenizer(caption_corpus("words of avatars64"), size=1000, context=CONTEXT)


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule, predicting v, rescaled to end in pure noise: flat backgrounds keep their colour."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


class Denoiser(nn.Module):
    """UNet and text encoder: what is trained."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            layers_per_block=1,
            block_out_channels=(64, 128, 192),
            norm_num_groups=16,
            down_block_types=("CrossAttnDownBlock2D",) * 3,
            up_block_types=("CrossAttnUpBlock2D",) * 3,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,  # diffusers' name for the number of heads
        )
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=4 * WIDTH,
                num_hidden_layers=3,
                num_attention_heads=6,
                max_position_embeddings=CONTEXT,
                projection_dim=WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )

    @classmethod
    def load(cls, tokenizer: CLIPTokenizer, unet: Path, text_encoder: Path) -> Denoiser:
        """From the folders its two models were saved to."""
        model = cls(tokenizer)
        model.unet = UNet2DConditionModel.from_pretrained(unet, use_safetensors=True)
        model.text_encoder = CLIPTextModel.from_pretrained(text_encoder, use_safetensors=True)
        return model


def latent_scale(latents: NDArray[np.float16]) -> float:
    """The factor that brings latents to unit standard deviation (diffusers' `scaling_factor`)."""
    return float(1 / latents[:4096].astype(np.float32).std())


def time_steps(n: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """(n,) time steps below `count`, uniform on both sides of `NOISY`."""
    first, share = NOISY
    late = torch.rand(n, generator=generator) < share
    position = torch.rand(n, generator=generator)
    return torch.where(late, first + position * (count - first), position * first).long()


def face_weights(entries: list[Entry]) -> torch.Tensor:
    """(n, 1, 16, 16) of a picture's errors: more in the face of a person."""
    weights = torch.ones(len(entries), 1, 16, 16)
    people = [row for row, entry in enumerate(entries) if entry.picture.look.kind == "person"]
    weights[people, :, *FACE] = FACE_WEIGHT
    return weights


def heard(entry: Entry, rng: Random) -> str:
    """What is said of a picture this time: nothing, everything, or some of it."""
    if rng.random() < EMPTY_CAPTIONS:
        return ""
    return caption(entry, rng, full=rng.random() < (FULL_CAPTIONS if entry.name is None else FULL_OF_NAMED))


def train_diffusion(
    latents: NDArray[np.float16],
    entries: list[Entry],
    tokenizer: CLIPTokenizer,
    scale: float,
    steps: int,
    checkpoint: Path,
    device: str,
    seed: int,
) -> Iterator[Progress | Denoiser]:
    """Train on latents (n, 12, 16, 16) times `scale` and what they show; yields progress, last the averaged model.

    Loss: squared error of v, faces weighted, at time steps of which most are noisy; a tenth of the captions are empty.
    """
    torch.manual_seed(seed)
    model = Denoiser(tokenizer).to(device)
    unet = compiled(model.unet)
    scheduler = new_scheduler()

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(latents), (BATCH // team_size(),), generator=generator).numpy()
        rng = Random(int(torch.randint(2**31, (1,), generator=generator)))
        texts = [heard(entries[row], rng) for row in rows]
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = torch.from_numpy(latents[rows]).float() * scale
        noise = torch.randn(clean.shape, generator=generator)
        times = time_steps(len(rows), scheduler.config["num_train_timesteps"], generator)
        noisy, target = scheduler.add_noise(clean, noise, times), scheduler.get_velocity(clean, noise, times)
        with training_attention(torch.device(device), "bf16", 64), torch.autocast(device, torch.bfloat16):
            context = model.text_encoder(tokens.to(device)).last_hidden_state
            predicted = unet(noisy.to(device), times.to(device), context, return_dict=False)[0].float()
        errors = F.mse_loss(predicted, target.to(device), reduction="none")
        return (errors * face_weights([entries[r] for r in rows]).to(device)).mean()

    yield from train(model, loss, steps=steps, peak=8e-4, checkpoint=checkpoint, seed=seed, ema=0.999)
    yield model


def save_backbone(
    model: Denoiser, tokenizer: CLIPTokenizer, autoencoder: AutoencoderKL, scale: float, folder: Path
) -> None:
    """Write the diffusers folder, fp16 safetensors, that `StableDiffusionPipeline.from_pretrained` loads."""
    autoencoder.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        unet=model.unet,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
    for part in ("unet", "vae", "text_encoder"):
        path = folder / part / "config.json"
        config = json.loads(path.read_text("utf-8"))
        config.pop("_name_or_path", None)  # where a network was read from: a path that says nothing elsewhere
        if "dtype" in config:  # transformers loads as it says here, diffusers as fp32 whatever is stored
            config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    pipeline.to(dtype=torch.float32)
