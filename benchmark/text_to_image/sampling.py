"""Images from the backbone, untouched or with what was learned folded into its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from numpy.typing import NDArray
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from cat_bench.benchmark.backbones.attention import lean_attention, remembered_contexts
from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.conditioning import Conditioning
from cat_bench.benchmark.errors import AdapterError, SamplingError
from cat_bench.benchmark.learning.past import Weights
from cat_bench.benchmark.learning.routed import Routed
from cat_bench.benchmark.learning.swap import Swap, bare_swaps, cast_swaps, folded, parameter_swap, swapped
from cat_bench.benchmark.planning.items import portions
from cat_bench.benchmark.system.device import Precision, autocast, compute_dtype, input_dtype


@dataclass(frozen=True)
class SamplerConfig:
    """How images are made. `guidance` w extrapolates: ε(∅) + w (ε(prompt) − ε(∅)); at w ≤ 1 there is none."""

    name: Literal["dpm++", "ddim"] = "dpm++"
    steps: int = 20
    guidance: float = 4.0
    batch: int = 32


@dataclass
class Capacity:
    """How many images the device holds at once: unknown until it has run out of memory, then remembered."""

    images: int | None = None

    def least(self, wanted: int) -> int:
        """As many of the wanted as are known to fit."""
        return wanted if self.images is None else min(self.images, wanted)


def initial_noise(backbone: Backbone, seeds: Sequence[int]) -> Tensor:
    """(n, c, h, w) in fp32: each image's noise from a CPU generator of its own, whatever is made beside it."""
    noise = [torch.randn(backbone.latent_shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(backbone.device)


def sample(
    backbone: Backbone,
    deltas: Mapping[str, Tensor] | Routed | None,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampler: SamplerConfig = SamplerConfig(),
    *,
    kinds: Sequence[str] | None = None,
    tokens: Mapping[str, Tensor] | None = None,
    precision: Precision = "fp32",
    capacity: Capacity | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (index of the first image, images (n, H, W, 3)) batch by batch: image i is prompts[i] from seeds[i].

    Images of different `kinds` share no batch (None: all are of one).
    `deltas` ΔW (out, in) by layer name are folded into the pristine W0 (None: the untouched backbone), an adapter that
    is in the UNet is left out meanwhile, and W0 is back in place whenever the caller has the word. Where they are
    routed, those images of a batch whose prompts get equal weights are drawn together. `tokens` has learned
    embeddings (1, d) by trigger. Where the device's memory does not hold a batch, parts of it are drawn one after
    another; `capacity` remembers how large a part fits, for the next call too. Raises SamplingError, and AdapterError
    where deltas do not fit.
    """
    if len(prompts) != len(seeds):
        raise SamplingError(f"{len(prompts)} prompts and {len(seeds)} seeds; every image needs one of each")
    if sampler.steps < 1 or sampler.batch < 1:
        raise SamplingError(f"sampler needs at least one step and a batch of one, not {sampler.steps}, {sampler.batch}")
    solver = backbone.schedule.solver(sampler.name)
    routed = deltas if isinstance(deltas, Routed) else None
    routes: list[Weights | None] = [routed.route(prompt) if routed else None for prompt in prompts]
    network, of = [], object()  # the static weights at hand, and of which route
    capacity = capacity or Capacity()
    for part in portions(kinds or [""] * len(prompts), sampler.batch):
        drawn: dict[int, NDArray[np.uint8]] = {}
        for weights in dict.fromkeys(routes[part]):
            if weights != of:
                change = deltas if not isinstance(deltas, Routed) else deltas.deltas(weights)
                network, of = _static_weights(backbone, change or {}, precision), weights
            chosen = [number for number in range(part.start, part.stop) if routes[number] == weights]
            with torch.no_grad(), swapped(network), autocast(backbone.device, precision):
                conditioning = _conditioning(backbone, [prompts[i] for i in chosen], sampler.guidance, tokens)
                noise = initial_noise(backbone, [seeds[i] for i in chosen])
                with swapped(remembered_contexts(backbone.unet)):
                    images = _draw(backbone, solver, sampler, noise, conditioning, precision, capacity)
            drawn |= dict(zip(chosen, images, strict=True))
        yield part.start, np.stack([drawn[number] for number in range(part.start, part.stop)])


def _conditioning(
    backbone: Backbone, prompts: Sequence[str], guidance: float, tokens: Mapping[str, Tensor] | None
) -> Conditioning:
    """For one forward: with guidance 2n items, those of the empty prompt first; else n."""
    with torch.autocast(backbone.device.type, enabled=False):  # as in training, whichever comes first into the cache
        prompted = backbone.encode_prompts(prompts, tokens)
        return prompted.after(backbone.encode_empty(len(prompts))) if guidance > 1 else prompted


def _draw(
    backbone: Backbone,
    solver: Any,
    sampler: SamplerConfig,
    noise: Tensor,  # (n, c, h, w)
    conditioning: Conditioning,
    precision: Precision,
    capacity: Capacity,
) -> NDArray[np.uint8]:
    """Images (n, H, W, 3), as many at once as the device's memory holds."""
    count, dtype = len(noise), input_dtype(precision, backbone.unet.dtype)
    drawn: list[NDArray[np.uint8]] = []
    start = 0
    while start < count:
        size = capacity.least(count - start)
        # With guidance each image has two rows of conditioning: one of the empty prompt, one of its own.
        rows = torch.arange(len(conditioning.context)) % count
        mine = ((rows >= start) & (rows < start + size)).nonzero().flatten().to(noise.device)
        part = conditioning if size == count else conditioning.rows(mine)
        try:
            latents = _denoise(backbone, solver, sampler, noise[start : start + size], part, dtype)
            with autocast(backbone.device, _decoding(precision)):
                drawn.append(backbone.decode(latents))
            start += size
            continue
        except RuntimeError as error:
            if size == 1 or not should_reduce_batch_size(error):
                raise
        # After the except block: until then the traceback holds the tensors.
        clear_device_cache(garbage_collection=True)
        capacity.images = size // 2
    return np.concatenate(drawn)


def _decoding(precision: Precision) -> Precision:
    """The autoencoder's: decoders of this family overflow in fp16, not in bf16, which has fp32's range."""
    return "fp32" if precision == "fp16" else precision


def _denoise(
    backbone: Backbone,
    solver: Any,
    sampler: SamplerConfig,
    noise: Tensor,  # (n, c, h, w)
    conditioning: Conditioning,
    dtype: torch.dtype,
) -> Tensor:
    """Latents (n, c, h, w) in fp32."""
    unet, guided = backbone.unet, sampler.guidance > 1
    arguments = conditioning.arguments(dtype)
    solver.set_timesteps(sampler.steps, device=backbone.device)
    latents: Tensor = noise * solver.init_noise_sigma
    for time in solver.timesteps:
        doubled = torch.cat([latents, latents]) if guided else latents  # (2n, c, h, w) with guidance
        noisy = solver.scale_model_input(doubled, time)
        predicted = unet(noisy.to(dtype), time, **arguments, return_dict=False)[0].float()
        if guided:
            empty, prompted = predicted.chunk(2)  # (n, c, h, w) each
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
        *lean_attention(unet),
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
