"""Images from the backbone, untouched or with what was learned folded into its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from numpy.typing import NDArray
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.text_encoders import Conditioning
from cat_bench.benchmark.errors import AdapterError, SamplingError
from cat_bench.benchmark.learning.lora import folded
from cat_bench.benchmark.learning.swap import Swap, bare_swaps, cast_swaps, parameter_swap, swapped
from cat_bench.benchmark.system.device import Precision, autocast, compute_dtype, input_dtype


@dataclass(frozen=True)
class SamplerConfig:
    """How images are made. `guidance` w extrapolates: ε(∅) + w (ε(prompt) − ε(∅)); at w ≤ 1 there is none."""

    name: Literal["dpm++", "ddim"] = "dpm++"
    steps: int = 20
    guidance: float = 4.0
    batch: int = 32


def make_scheduler(
    backbone: Backbone, name: str
) -> Any:  # diffusers hides its schedulers' attributes from type checkers
    """DPM-Solver++ (2M, deterministic) or DDIM (η = 0) on the backbone's own noise schedule."""
    schedule = backbone.scheduler.config
    if name == "dpm++":
        return DPMSolverMultistepScheduler.from_config(schedule, algorithm_type="dpmsolver++")
    if name == "ddim":  # clipping is for pixels: latents are not within ±1
        return DDIMScheduler.from_config(schedule, clip_sample=False)
    raise SamplingError(f"sampler {name!r} is unknown; use dpm++ or ddim")


def initial_noise(backbone: Backbone, seeds: Sequence[int]) -> Tensor:
    """(n, c, h, w) in fp32: each image's noise from a CPU generator of its own, whatever is made beside it."""
    noise = [torch.randn(backbone.latent_shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(backbone.device)


def sample(
    backbone: Backbone,
    deltas: Mapping[str, Tensor] | None,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampler: SamplerConfig = SamplerConfig(),
    token: Mapping[str, Tensor] | None = None,
    precision: Precision = "fp32",
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (index of the first image, images (n, H, W, 3)) batch by batch: image i is prompts[i] from seeds[i].

    `deltas` ΔW (out, in) by layer name are folded into the pristine W0 (None: the untouched backbone), an adapter that
    is in the UNet is left out meanwhile, and W0 is back in place whenever the caller has the word. `token` has learned
    embeddings (1, d) by trigger. Raises SamplingError, and AdapterError where deltas do not fit.
    """
    if len(prompts) != len(seeds):
        raise SamplingError(f"{len(prompts)} prompts and {len(seeds)} seeds; every image needs one of each")
    if sampler.steps < 1 or sampler.batch < 1:
        raise SamplingError(f"sampler needs at least one step and a batch of one, not {sampler.steps}, {sampler.batch}")
    solver = make_scheduler(backbone, sampler.name)
    network = _static_weights(backbone, deltas or {}, precision)
    for start in range(0, len(prompts), sampler.batch):
        part = slice(start, start + sampler.batch)
        with torch.no_grad(), swapped(network), autocast(backbone.device, precision):
            told = _conditioning(backbone, prompts[part], sampler.guidance, token)
            images = _draw(backbone, solver, sampler, initial_noise(backbone, seeds[part]), told, precision)
        yield start, images


def _conditioning(
    backbone: Backbone, prompts: Sequence[str], guidance: float, token: Mapping[str, Tensor] | None
) -> Conditioning:
    """For one forward: with guidance 2n items, those of the empty prompt first; else n."""
    with torch.autocast(backbone.device.type, enabled=False):  # as in training, whichever comes first into the cache
        prompted = backbone.encode_prompts(prompts, token)
        return prompted.after(backbone.encode_empty(len(prompts))) if guidance > 1 else prompted


def _draw(
    backbone: Backbone, solver: Any, sampler: SamplerConfig, noise: Tensor, told: Conditioning, precision: Precision
) -> NDArray[np.uint8]:
    """Images (n, H, W, 3); in two halves, and those in halves again, where the device's memory does not hold all."""
    try:
        dtype = input_dtype(precision, backbone.unet.dtype)
        latents = _denoise(backbone, solver, sampler, noise, told, dtype)
        with autocast(backbone.device, _decoding(precision)):
            return backbone.decode(latents)
    except RuntimeError as error:
        if len(noise) == 1 or not should_reduce_batch_size(error):
            raise
    clear_device_cache(garbage_collection=True)  # after the except block: until then the traceback holds the tensors
    half, count = len(noise) // 2, len(noise)
    rows = torch.arange(len(told.context)) % count  # with guidance each image has two
    parts = (rows < half, rows >= half)
    pictures = [
        _draw(backbone, solver, sampler, some, told.rows(which.nonzero().flatten().to(noise.device)), precision)
        for some, which in zip((noise[:half], noise[half:]), parts, strict=True)
    ]
    return np.concatenate(pictures)


def _decoding(precision: Precision) -> Precision:
    """The autoencoder's: decoders of this family overflow in fp16, not in bf16, which has fp32's range."""
    return "fp32" if precision == "fp16" else precision


def _denoise(
    backbone: Backbone, solver: Any, sampler: SamplerConfig, noise: Tensor, told: Conditioning, dtype: torch.dtype
) -> Tensor:
    unet, guided = backbone.unet, sampler.guidance > 1
    arguments = told.arguments(dtype)
    solver.set_timesteps(sampler.steps, device=backbone.device)
    latents: Tensor = noise * solver.init_noise_sigma
    for time in solver.timesteps:
        noisy = solver.scale_model_input(torch.cat([latents, latents]) if guided else latents, time)
        predicted = unet(noisy.to(dtype), time, **arguments, return_dict=False)[0].float()
        if guided:
            empty, prompted = predicted.chunk(2)
            predicted = empty + sampler.guidance * (prompted - empty)
        latents = solver.step(predicted, time, latents, return_dict=False)[0]
    return latents


def _static_weights(backbone: Backbone, deltas: Mapping[str, Tensor], precision: Precision) -> list[Swap]:
    """W0 + ΔW in place of W0, no LoRA layers, and all cast once to what autocast would cast them to at every call."""
    unet, dtype = backbone.unet, compute_dtype(precision)
    swaps = [
        *cast_swaps(unet, dtype),
        *cast_swaps(backbone.vae, compute_dtype(_decoding(precision))),
        *bare_swaps(unet),
    ]
    for name, delta in deltas.items():
        try:
            layer = unet.get_submodule(name)
        except AttributeError as error:
            raise AdapterError(f"ΔW is for layer {name!r}, which backbone {backbone.id} has not") from error
        base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        if not isinstance(base, nn.Linear) or base.weight.shape != delta.shape:
            raise AdapterError(f"ΔW {tuple(delta.shape)} does not fit layer {name!r} of backbone {backbone.id}")
        swaps.append(parameter_swap(base, "weight", folded(base, delta, dtype)))
    return swaps
