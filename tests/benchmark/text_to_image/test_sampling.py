from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.errors import AdapterError, SamplingError
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, initial_noise, sample

PROMPTS = ["a hat", "the person", "a zorvex person with a hat"]
SEEDS = [11, 12, 13]


def images(*args: Any, **options: Any) -> Any:
    return np.concatenate([batch for _, batch in sample(*args, **options)])


def stock(pipe: StableDiffusionPipeline, backbone: Backbone, sampler: SamplerConfig) -> Any:
    """The stock pipeline from the same initial latents."""
    kind, extra = (
        (DPMSolverMultistepScheduler, {}) if sampler.name == "dpm++" else (DDIMScheduler, {"clip_sample": False})
    )
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **extra)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        PROMPTS,
        num_inference_steps=sampler.steps,
        guidance_scale=sampler.guidance,
        latents=initial_noise(backbone, SEEDS),
        output_type="np",
    ).images
    return (made * 255).round().astype(np.uint8)


def largest_difference(a: Any, b: Any) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("name", ["dpm++", "ddim"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_untouched_model_gives_the_stock_pipelines_images(
    name: Any, guidance: float, kind: str, tiny_epsilon_folder: Path, tiny_backbone_folder: Path
) -> None:
    folder = tiny_epsilon_folder if kind == "epsilon" else tiny_backbone_folder
    backbone, sampler = Backbone.load(folder, device="cpu"), SamplerConfig(name, steps=5, guidance=guidance)
    mine = images(backbone, None, PROMPTS, SEEDS, sampler)
    theirs = stock(StableDiffusionPipeline.from_pretrained(folder), backbone, sampler)
    assert mine.shape == (3, 32, 32, 3) and mine.std() > 5
    assert largest_difference(mine, theirs) <= 1  # a value on the edge of two levels may fall to either


def test_folded_deltas_are_the_adapter_switched_on(tiny: Backbone) -> None:
    """The oracle is the stock pipeline with peft's own layers in its UNet, never merged."""
    sampler = SamplerConfig(steps=5)
    adapter = LoraAdapter(tiny, 2, None, ("to_q", "to_v", "to_out.0"), generator(0, "init"))
    with torch.no_grad():
        for B in adapter.B.values():
            B.copy_(0.3 * torch.randn(B.shape, generator=adapter.generator))
    pipe = StableDiffusionPipeline.from_pretrained(tiny.folder)
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=list(adapter.names)), pipe.unet)
    for name in adapter.names:
        layer = pipe.unet.get_submodule(name)
        layer.lora_A["default"].weight.data.copy_(adapter.A[name])
        layer.lora_B["default"].weight.data.copy_(adapter.B[name])
    expected = stock(pipe, tiny, sampler)

    base = images(tiny, None, PROMPTS, SEEDS, sampler)  # with the adapter still in the UNet: left out all the same
    inside = images(tiny, adapter.deltas(), PROMPTS, SEEDS, sampler)
    assert largest_difference(inside, expected) <= 1 < largest_difference(base, expected)
    adapter.close()
    np.testing.assert_array_equal(images(tiny, adapter.deltas(), PROMPTS, SEEDS, sampler), inside)
    np.testing.assert_array_equal(images(tiny, None, PROMPTS, SEEDS, sampler), base)


def test_noise_belongs_to_the_image_not_to_the_batch(tiny: Backbone) -> None:
    together = initial_noise(tiny, SEEDS)
    for position, seed in enumerate(SEEDS):
        assert torch.equal(together[position], initial_noise(tiny, [seed])[0])
    whole = images(tiny, None, PROMPTS, SEEDS, SamplerConfig(steps=3))
    pairs = list(sample(tiny, None, PROMPTS, SEEDS, SamplerConfig(steps=3, batch=2)))
    assert [(start, len(batch)) for start, batch in pairs] == [(0, 2), (2, 1)]
    assert largest_difference(np.concatenate([batch for _, batch in pairs]), whole) <= 1
    turned = images(tiny, None, PROMPTS[::-1], SEEDS[::-1], SamplerConfig(steps=3))
    assert largest_difference(turned[::-1], whole) <= 1


def test_the_weights_are_pristine_whenever_the_caller_has_the_word(tiny: Backbone) -> None:
    name = next(n for n, _ in tiny.unet.named_modules() if n.endswith("attn1.to_q"))
    own = tiny.unet.get_submodule(name).weight
    deltas = {name: torch.ones_like(own)}
    batches = sample(tiny, deltas, PROMPTS, SEEDS, SamplerConfig(steps=1, batch=1), precision="bf16")
    next(batches)
    assert tiny.unet.get_submodule(name).weight is own  # the `tiny` fixture compares all of them afterwards
    batches.close()


def test_bf16_is_close_to_fp32(tiny: Backbone) -> None:
    exact = images(tiny, None, PROMPTS, SEEDS, SamplerConfig(steps=4, guidance=2.0))
    fast = images(tiny, None, PROMPTS, SEEDS, SamplerConfig(steps=4, guidance=2.0), precision="bf16")
    assert 0 < np.abs(exact.astype(int) - fast.astype(int)).mean() < 4
    with deterministic(threads=1):
        again = images(tiny, None, PROMPTS, SEEDS, SamplerConfig(steps=4, guidance=2.0), precision="bf16")
    np.testing.assert_array_equal(fast, again)


def test_a_learned_token_is_seen_by_the_prompts_that_name_it_only(tiny: Backbone) -> None:
    token = {"zorvex": torch.full((1, 24), 0.5)}
    sampler = SamplerConfig(steps=3)
    plain, learned = (images(tiny, None, PROMPTS, SEEDS, sampler, tokens=t) for t in (None, token))
    np.testing.assert_array_equal(plain[:2], learned[:2])
    assert largest_difference(plain[2], learned[2]) > 1


def test_mistakes_are_one_clear_line(tiny: Backbone) -> None:
    name = next(n for n, _ in tiny.unet.named_modules() if n.endswith("attn1.to_q"))
    cases: list[tuple[type[Exception], str, Any]] = [
        (SamplingError, "3 prompts and 2 seeds", lambda: sample(tiny, None, PROMPTS, SEEDS[:2])),
        (SamplingError, "at least one step", lambda: sample(tiny, None, PROMPTS, SEEDS, SamplerConfig(steps=0))),
        (SamplingError, "'euler' is unknown", lambda: sample(tiny, None, PROMPTS, SEEDS, SamplerConfig("euler"))),  # type: ignore[arg-type]  # on purpose
        (
            AdapterError,
            "'nowhere', which backbone tiny",
            lambda: sample(tiny, {"nowhere": torch.ones(1)}, PROMPTS, SEEDS),
        ),
        (AdapterError, r"ΔW \(1, 1\) does not fit", lambda: sample(tiny, {name: torch.ones(1, 1)}, PROMPTS, SEEDS)),
    ]
    for kind, message, call in cases:
        with pytest.raises(kind, match=message):
            next(call())
    assert list(sample(tiny, None, [], [])) == []


def test_images_of_a_kind_are_the_same_to_the_bit_whatever_is_drawn_before_them(tiny: Backbone) -> None:
    """A change of zero, and other images before: what the batches are made of must not show."""
    sampler, kept = SamplerConfig(steps=2, batch=2), ["a hat", "the person", "a person"]
    name = next(name for name, _ in tiny.unet.named_modules() if name.endswith("attn1.to_q"))
    zero = {name: torch.zeros_like(tiny.unet.get_submodule(name).weight)}

    def drawn(deltas: Any, before: int) -> Any:
        prompts, seeds = [*["a zorvex person"] * before, *kept], list(range(100 - before, 103))
        kinds = ["concept"] * before + ["preservation"] * 3
        return images(tiny, deltas, prompts, seeds, sampler, kinds=kinds)[before:]

    first = drawn(None, 1)
    assert (drawn(zero, 2) == first).all() and (drawn(zero, 3) == first).all()
