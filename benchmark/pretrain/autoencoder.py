"""The autoencoder of `avatars64.v2`: 64×64×3 pixels to 16×16×12 latents and back, a stock diffusers AutoencoderKL."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from cat_bench.benchmark.pretrain.loop import Progress, compiled, train
from cat_bench.benchmark.pretrain.team import team_size

BATCH = 32
CHANNELS = 12
EDGE_WEIGHT = 1.5  # squared and absolute errors alone reward blur; errors of differences between neighbours do not
KL_WEIGHT = (
    1e-4  # of the mean over latent elements: keeps the latents near unit scale and the decoder tolerant of small errors
)


def new_autoencoder() -> AutoencoderKL:
    """The architecture, with random weights."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


def to_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, h, w, 3) to float (n, 3, h, w) in −1..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def train_autoencoder(
    pixels: NDArray[np.uint8], steps: int, checkpoint: Path, device: str, seed: int
) -> Iterator[Progress | AutoencoderKL]:
    """Train encoder and decoder together on pictures (n, 64, 64, 3); yields progress, last the trained model.

    Loss: `reconstruction_loss` + KL_WEIGHT · KL of the latents.
    """
    torch.manual_seed(seed)
    model = new_autoencoder().to(device, memory_format=torch.channels_last)

    def objective(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        moments = model.encode(x).latent_dist
        z = moments.mean + moments.std * noise
        y: torch.Tensor = model.decode(z, return_dict=False)[0].float()
        return reconstruction_loss(y, x) + KL_WEIGHT * _kl(moments.mean, moments.logvar)

    fast = compiled(objective)

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(pixels), (BATCH // team_size(),), generator=generator)
        x = to_tensor(pixels[rows.numpy()]).to(device, memory_format=torch.channels_last)
        noise = torch.randn(len(rows), CHANNELS, 16, 16, generator=generator).to(device)
        with torch.autocast(device, torch.bfloat16):
            return fast(x, noise)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's remarks about diffusers' own code
        yield from train(model, loss, steps=steps, peak=2e-3, checkpoint=checkpoint, seed=seed)
    yield model


def reconstruction_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 + mean squared error + EDGE_WEIGHT · L1 of vertical and horizontal differences, of pictures (n, 3, h, w)."""
    error = made - true
    down, right = error[:, :, 1:] - error[:, :, :-1], error[:, :, :, 1:] - error[:, :, :, :-1]
    return error.abs().mean() + error.square().mean() + EDGE_WEIGHT * (down.abs().mean() + right.abs().mean())


def _kl(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    mean, logvar = mean.float(), logvar.float()
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


@torch.inference_mode()
def encode(model: AutoencoderKL, pixels: NDArray[np.uint8], device: str, batch: int = 128) -> NDArray[np.float16]:
    """Posterior means (n, 12, 16, 16) of pictures, unscaled, as float16."""
    rows = []
    for start in range(0, len(pixels), batch):
        with torch.autocast(device, torch.bfloat16):
            moments = model.encode(
                to_tensor(pixels[start : start + batch]).to(device, memory_format=torch.channels_last)
            ).latent_dist
        rows.append(moments.mean.float().cpu().numpy().astype(np.float16))
    return np.concatenate(rows)


@torch.inference_mode()
def psnr(model: AutoencoderKL, pixels: NDArray[np.uint8], device: str, batch: int = 64) -> float:
    """Mean peak signal-to-noise ratio in dB of reconstructions, rounded to 8 bits as a user sees them, in fp32."""
    values = []
    for start in range(0, len(pixels), batch):
        x = pixels[start : start + batch]
        y = model.decode(model.encode(to_tensor(x).to(device)).latent_dist.mean, return_dict=False)[0]
        back = ((y.float().cpu().permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).numpy()
        error = ((back - x.astype(np.float32)) ** 2).mean(axis=(1, 2, 3))
        values.append(10 * np.log10(255**2 / np.maximum(error, 1e-3)))
    return float(np.concatenate(values).mean())
