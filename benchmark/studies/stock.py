"""The same work as diffusers' own scripts and pipelines do it, to compare with."""

from __future__ import annotations

import time
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.learning.swap import bare_swaps
from cat_bench.benchmark.system.device import Precision, autocast
from cat_bench.methods.base import Method


def stock_pipeline(backbone: Backbone) -> Any:
    """diffusers' pipeline around the backbone's own networks."""
    first, *second = backbone.text_encoders
    parts = {
        "unet": backbone.unet,
        "vae": backbone.vae,
        "text_encoder": first.network,
        "tokenizer": first.tokenizer,
        "scheduler": DPMSolverMultistepScheduler.from_config(backbone.schedule.scheduler.config),
    }
    if second:
        parts |= {"text_encoder_2": second[0].network, "tokenizer_2": second[0].tokenizer}
        pipe = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        pipe = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def image_seconds(backbone: Backbone, precision: Precision, steps: int, guidance: float, count: int) -> list[float]:
    """Seconds of each image, one by one, under the same autocast; the first, which warms up, is left out."""
    pipe, side, times = stock_pipeline(backbone), backbone.resolution, []
    for number in range(count + 1):
        began = time.perf_counter()
        with autocast(backbone.device, precision):
            noise = torch.Generator("cpu").manual_seed(number)
            made = pipe(
                "a person", num_inference_steps=steps, guidance_scale=guidance, generator=noise, height=side, width=side
            )
        assert made.images
        times.append(time.perf_counter() - began)
    return times[1:]


def step_seconds(backbone: Backbone, config: Method.Config, concept: Any, precision: Precision) -> list[float]:
    """Seconds of each training step as diffusers' DreamBooth-LoRA example does it: everything is encoded at every step.

    The target is the noise, also where the model predicts the velocity: it takes the same time.
    """
    pipe, device, unet = stock_pipeline(backbone), backbone.device, backbone.unet
    unet.add_adapter(LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=list(config.targets)))
    weights = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    for parameter in weights:
        parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW(weights, lr=config.lr)
    pixels = pipe.image_processor.preprocess(concept.train_images(backbone.resolution)).to(device)
    side, size, times = backbone.resolution, config.batch_size, []
    for _ in range(config.steps):
        began = time.perf_counter()
        chosen = torch.randint(len(pixels), (size,))
        with torch.no_grad():
            latents = pipe.vae.encode(pixels[chosen.to(device)]).latent_dist.sample() * pipe.vae.config.scaling_factor
            encoded = pipe.encode_prompt(
                [concept.fill(concept.train_captions[int(i)], "trigger") for i in chosen],
                device=device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )
        noise, moments = torch.randn_like(latents), torch.randint(1000, (size,), device=device)
        asked: dict[str, Any] = {"encoder_hidden_states": encoded[0]}
        if len(encoded) == 4:
            ids = torch.tensor([[side, side, 0, 0, side, side]] * size, device=device, dtype=encoded[2].dtype)
            asked["added_cond_kwargs"] = {"text_embeds": encoded[2], "time_ids": ids}
        noisy = backbone.schedule.noised(latents, noise, moments)
        with autocast(device, precision):
            answer = unet(noisy.to(encoded[0].dtype), moments, **asked).sample
        loss = torch.nn.functional.mse_loss(answer.float(), noise)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
        times.append(time.perf_counter() - began)
    for table, key, layer in bare_swaps(unet):  # for good: the UNet is what it was before
        table[key] = layer
    del unet.peft_config
    unet._hf_peft_config_loaded = False
    return times
