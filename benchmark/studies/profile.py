"""Where the time of a training step and of a batch of images goes, and the floor beside it.

    python -m cat_bench.benchmark.studies.profile --method lora --method cat

`nox -s bench -- --profile` runs it. Read shares before seconds. One floor is the network alone: the same forwards and
backwards on prepared tensors, without an adapter, an optimiser or a method. The other is its arithmetic at the speed at
which the device multiplies large matrices.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated

import torch
import typer
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.registry import registered
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.learning.swap import cast_swaps, swapped
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.system.device import Precision, autocast, compute_dtype, resolve_device, resolve_precision
from cat_bench.benchmark.text_to_image.predictor import Predictor
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import Batch
from cat_bench.methods.registry import methods
from cat_bench.tasks.sequence import load_sequence

IMAGES = 32
WARM_UP = 3
# By what an operation's name contains, the first that fits; what is left allocates, views, records and dispatches.
KINDS = {
    "optimiser, clipping": ("adamw", "vector_norm", "_foreach_", "Optimizer"),
    "convolutions": ("conv",),
    "attention": ("bmm", "softmax", "scaled_dot_product", "aten::where", "aten::all", "isneginf"),
    "linear layers": ("aten::mm", "addmm"),
    "norms": ("group_norm", "layer_norm"),
    "copies, casts, filling": ("copy_", "aten::cat", "fill_", "zero_", "index", "repeat"),
    "element by element": (
        *("aten::add", "aten::mul", "aten::div", "aten::sub", "gelu", "silu", "upsample", "aten::sum", "aten::pow"),
        *("aten::mean", "aten::clamp", "aten::round"),
    ),
}
LAUNCHING, PYTHON = "views, allocation, autograd", "Python, between operations"


@dataclass
class Shares:
    """One kind of work: processor seconds of a unit, of its floor, shares of time by kind, operations of a unit."""

    work: str
    seconds: float = 0.0
    floor: float = 0.0
    flops: float = 0.0
    operations: int = 0
    shares: dict[str, float] = field(default_factory=dict)


def training(backbone: Backbone, name: str, precision: Precision, units: int) -> Shares:
    """A step of a method with its settings for this backbone, and the network's part of it on prepared tensors."""
    method = methods.get(name)
    config = method.configure(backbone=backbone.id, overrides={"steps": 2 * units + WARM_UP})
    concept, found = load_sequence("smoke2").concepts[0], Shares(f"training step, {name}")

    def adapter() -> LoraAdapter:
        made = generator(0, "init", concept.id)
        return LoraAdapter(backbone, config.rank, config.alpha, config.targets, made, config.token)

    with closing(adapter()) as own:
        _measure(found, train(backbone, own, method(config), concept, seed=0, precision=precision), units)
    with closing(adapter()) as own:
        predict, mine = Predictor(backbone, own, precision, {}, concept.trigger), method(config)
        mine.begin(concept, own)
        prompts = tuple(concept.fill("a {}", "trigger") for _ in range(config.batch_size))
        without = tuple(concept.fill("a {}", "noun") for _ in range(config.batch_size))
        asked = Counter(q.adapter for q in mine.queries(Batch(torch.empty(0), prompts, without, 0)).values())

        def bare() -> None:
            for mode, count in asked.items():
                size = count * config.batch_size
                noisy = torch.randn(size, *backbone.latent_shape, device=backbone.device, requires_grad=mode == "on")
                context = backbone.encode_prompts(["a person"] * size).context.to(compute_dtype(precision))
                times = torch.full((size,), 500, device=backbone.device)
                with torch.set_grad_enabled(mode == "on"), predict.network("off"):
                    with autocast(backbone.device, precision):
                        answer = backbone.unet(noisy, times, context, return_dict=False)[0]
                    if mode == "on":
                        torch.autograd.backward(answer.float().square().mean())

        _floor(found, bare, units)
    return found


def sampling(backbone: Backbone, precision: Precision, units: int) -> Shares:
    """A batch of images as a run draws it, and the network's forwards and the decoder's on prepared tensors."""
    known, found = registered()[backbone.id], Shares(f"{IMAGES} images")
    sampler = SamplerConfig(known.scheduler, known.steps, known.guidance, IMAGES)

    def batches() -> Iterator[object]:
        while True:
            yield list(sample(backbone, None, ["a person"] * IMAGES, range(IMAGES), sampler, precision=precision))

    _measure(found, batches(), units)
    dtype = compute_dtype(precision)
    noisy = torch.randn(2 * IMAGES, *backbone.latent_shape, device=backbone.device)
    context = backbone.encode_prompts(["a person"] * 2 * IMAGES).context.to(dtype)

    def bare() -> None:
        static = [*cast_swaps(backbone.unet, dtype), *cast_swaps(backbone.vae, dtype)]
        with torch.no_grad(), swapped(static), autocast(backbone.device, precision):
            for _ in range(sampler.steps):
                backbone.unet(noisy, 500, context, return_dict=False)
            backbone.decode(noisy[:IMAGES])

    _floor(found, bare, units)
    return found


def _measure(found: Shares, work: Iterator[object], units: int) -> None:
    """Seconds and shares of what `work` does from one yield to the next; the first ones warm up."""
    for _ in range(WARM_UP):
        next(work)
    found.seconds = _seconds(lambda: next(work), units)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as seen:
        began = time.perf_counter()
        for _ in range(units):
            next(work)
        whole = time.perf_counter() - began
    spent: defaultdict[str, float] = defaultdict(float)
    for event in seen.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), LAUNCHING)
        spent[kind] += event.self_cpu_time_total / 1e6
        found.operations += event.count if event.key.startswith("aten::") else 0
    found.operations //= units
    spent[PYTHON] = max(0.0, whole - sum(spent.values()))
    found.shares = {kind: spent[kind] / whole for kind in (*KINDS, LAUNCHING, PYTHON)}


def _floor(found: Shares, bare: Callable[[], None], units: int) -> None:
    with FlopCounterMode(display=False) as counter:
        bare()
    found.flops, found.floor = float(counter.get_total_flops()), _seconds(bare, units)


def _seconds(work: Callable[[], object], units: int) -> float:
    """Processor seconds of one unit, the median."""
    times = []
    for _ in range(units):
        began = time.process_time()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.process_time() - began)
    return median(times)


def speed(device: torch.device, precision: Precision) -> float:
    """FLOP/s of one large matrix product, the best of ten."""
    matrix = torch.randn(1024, 1024, device=device, dtype=compute_dtype(precision))
    return 2 * 1024**3 / min(_seconds(lambda: matrix @ matrix, 1) for _ in range(10))


def main(
    method: Annotated[list[str] | None, typer.Option(help="A method; again for more.  [default: lora, cat]")] = None,
    backbone: Annotated[str, typer.Option(help="A registered backbone.")] = "avatars64.v2",
    precision: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    units: Annotated[int, typer.Option(help="Steps that are timed, and as many that are profiled.")] = 8,
) -> None:
    """Print a Markdown table: shares of time by kind, operations and the floor of each work."""
    device = resolve_device("auto")
    kind = resolve_precision(precision, device)
    with deterministic(1):
        loaded, rate = Backbone.load(backbone, device), speed(device, kind)
        found = [training(loaded, name, kind, units) for name in method or ["lora", "cat"]]
        found.append(sampling(loaded, kind, max(1, units // 4)))
    typer.echo("| | " + " | ".join(one.work for one in found) + " |\n" + "| --- " * (len(found) + 1) + "|")
    for kind_of in found[0].shares:
        typer.echo(f"| {kind_of} | " + " | ".join(f"{one.shares[kind_of]:.1%}" for one in found) + " |")
    lines = {
        "operations": [f"{one.operations:,}" for one in found],
        "seconds": [f"{one.seconds:.3f}" for one in found],
        "the network alone, seconds": [f"{one.floor:.3f}" for one in found],
        "its arithmetic alone, seconds": [f"{one.flops / rate:.3f}" for one in found],
    }
    for name, values in lines.items():
        typer.echo(f"| {name} | " + " | ".join(values) + " |")


if __name__ == "__main__":
    typer.run(main)
