"""Measure training steps, images a second, memory and the share of the device's floor.

    python -m cat_bench.benchmark.studies.speed --backbone avatars64.v2 --backbone sd15

`nox -s bench-cuda` runs it for all three backbones. Times are medians; the first steps, which warm up, do not count.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Annotated, Any

import torch
import typer
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch.utils.flop_counter import FlopCounterMode

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.registry import registered
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.studies import stock
from cat_bench.benchmark.studies.true_size import SIZES, true_size
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.system.device import Precision, resolve_device, resolve_precision
from cat_bench.benchmark.system.provenance import default_threads, peak_memory, reset_peak_memory
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import Method
from cat_bench.tasks.sequence import load_sequence

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}  # bf16, dense, as their makers state it
SAMPLER_STEPS = 20
WARM_UP = 3


@dataclass
class Speeds:
    """What one backbone does: seconds a step and a training sample's share of the floor by batch, images a second."""

    backbone: str
    flops_step: float = 0.0  # of one training sample
    flops_image: float = 0.0
    step: dict[int, float] = field(default_factory=dict)
    stock_step: dict[int, float] = field(default_factory=dict)
    images: dict[int, float] = field(default_factory=dict)  # a second
    stock_images: float = 0.0
    memory_step: dict[int, int] = field(default_factory=dict)  # bytes
    memory_images: dict[int, int] = field(default_factory=dict)


def measure(
    name: str, device: torch.device, precision: Precision, steps: int, images: int, batches: list[int]
) -> Speeds:
    """Everything about one backbone; `steps` and `images` are how many are timed."""
    held = registered()[name].weights if device.type == "cuda" else "fp32"
    backbone = true_size(name, device, held) if name in SIZES else Backbone.load(name, device)
    concept = load_sequence("smoke2").concepts[0]
    found = Speeds(name)
    guidance = registered()[name].guidance

    for batch in (1, 4):
        config = Method.Config(steps=steps + WARM_UP, batch_size=batch, lr=1e-4)
        reset_peak_memory()
        found.step[batch] = median(_steps(backbone, config, concept, precision)[WARM_UP:])
        found.memory_step[batch] = peak_memory()
        found.stock_step[batch] = median(stock.step_seconds(backbone, config, concept, precision)[WARM_UP:])
    one, two = (Method.Config(steps=count, batch_size=1, lr=1e-4) for count in (1, 2))
    counted = [_flops(partial(_steps, backbone, config, concept, precision)) for config in (one, two)]
    found.flops_step = counted[1] - counted[0]  # without the caches, which are filled before the first step

    def draw(batch: int, count: int, solver_steps: int = SAMPLER_STEPS) -> None:
        sampler = SamplerConfig(steps=solver_steps, guidance=guidance, batch=batch)
        for _ in sample(backbone, None, ["a person"] * count, list(range(count)), sampler, precision=precision):
            pass

    for batch in batches:
        try:
            draw(batch, batch, 2)
            reset_peak_memory()
            count = max(images, batch)
            began = time.perf_counter()
            draw(batch, count)
            found.images[batch] = count / (time.perf_counter() - began)
            found.memory_images[batch] = peak_memory()
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            break
    clear_device_cache(garbage_collection=True)
    found.stock_images = 1 / median(stock.image_seconds(backbone, precision, SAMPLER_STEPS, guidance, min(images, 4)))
    found.flops_image = _flops(lambda: draw(1, 1))
    return found


def _steps(backbone: Backbone, config: Method.Config, concept: Any, precision: Precision) -> list[float]:
    """Seconds of each step of naive LoRA; the losses are read, so a step has ended when it is counted."""
    adapter = LoraAdapter(backbone, config.rank, None, config.targets, generator(0, "init"))
    times, began = [], time.perf_counter()
    for _ in train(backbone, adapter, Method(config), concept, seed=0, precision=precision):
        now = time.perf_counter()
        times.append(now - began)
        began = now
    adapter.close()
    return times


def _flops(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def peak_of(device: torch.device, given: float | None) -> float | None:
    """FLOP/s of the device: as given (in TFLOP/s), else by its name; None if it is not known."""
    if given is not None:
        return given * 1e12
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((value for key, value in PEAK.items() if key in name), None)


def rows(found: Speeds, peak: float | None) -> list[str]:
    """Markdown lines of one backbone."""

    def line(work: str, ours: str, theirs: str, ratio: float, flops: float, memory: int) -> str:
        share = f"{flops / peak:.1%}" if peak else ""  # flops: a second
        return f"| {found.backbone} | {work} | {ours} | {theirs} | {ratio:.2f}× | {share} | {memory / 2**30:.1f} |"

    lines = []
    for batch, seconds in found.step.items():
        theirs, flops = found.stock_step[batch], found.flops_step * batch / seconds
        work = f"training step, batch {batch}"
        lines.append(
            line(work, f"{seconds:.4f} s", f"{theirs:.4f} s", theirs / seconds, flops, found.memory_step[batch])
        )
    best = max(found.images, key=lambda batch: found.images[batch], default=None)
    for batch in dict.fromkeys([min(found.images), best]) if best else ():  # none, if one image is too much
        rate, theirs = found.images[batch], found.stock_images
        flops = found.flops_image * rate
        work = f"images, batch {batch}"
        lines.append(line(work, f"{rate:.2f} /s", f"{theirs:.2f} /s", rate / theirs, flops, found.memory_images[batch]))
    return lines


def main(
    backbone: Annotated[list[str] | None, typer.Option(help="avatars64.v2, sd15 or sdxl; again for more.")] = None,
    device: Annotated[str, typer.Option(help="auto, cuda or cpu.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    steps: Annotated[int, typer.Option(help="Training steps that are timed.")] = 20,
    images: Annotated[int, typer.Option(help="Images that are timed, at least.")] = 32,
    batch: Annotated[
        list[int] | None, typer.Option(help="Batches of images to try.  [default: 1 4 8 16 32 64]")
    ] = None,
    peak_tflops: Annotated[float | None, typer.Option(help="The device's own, where it is not known.")] = None,
    fixed: Annotated[bool, typer.Option(help="Deterministic kernels, as a run uses them.")] = True,
) -> None:
    """Print a Markdown table of speeds beside diffusers' own way."""
    where = resolve_device(device)
    kind = resolve_precision(precision, where)
    peak = peak_of(where, peak_tflops)
    named = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {default_threads()} threads"
    typer.echo(f"{named}, {kind}, torch {torch.__version__}, {SAMPLER_STEPS} sampler steps with guidance\n")
    typer.echo("| backbone | work | cat-bench | diffusers' own way | ratio | of the device's peak | memory, GiB |")
    typer.echo("| --- | --- | --- | --- | --- | --- | --- |")
    with deterministic(default_threads()) if fixed else nullcontext():
        for name in backbone or ["avatars64.v2", *SIZES]:
            for line in rows(measure(name, where, kind, steps, images, batch or [1, 4, 8, 16, 32, 64]), peak):
                typer.echo(line)
            gc.collect()


if __name__ == "__main__":
    typer.run(main)
