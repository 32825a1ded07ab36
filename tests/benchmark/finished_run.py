"""A run of the tiny random backbone, finished in seconds and trained hard enough that every stage shows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.planning.items import NOISE_ROOT
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.planning.variant import Variant, names_of
from cat_bench.methods.registry import methods as registry
from cat_bench.results.records.images import StageImages
from cat_bench.tasks.sequence import load_sequence

STEPS, GUIDANCE = 4, 2.0


def finish(folder: Path, backbone: Path, metric: Path, methods: Sequence[str], **overrides: Any) -> Path:
    """Run `methods` on smoke2 and return the run's folder; `overrides` are further settings of a method."""
    model = folder / "models" / "tiny"
    shutil.copytree(backbone, model)
    shutil.copytree(metric, model.with_name("tiny-clip"))
    hard = {"rank": 2, "alpha": 3.0, "lr": 0.03, "steps": 3, "batch_size": 2}
    spec = {
        "sequence": "smoke2",
        "backbone": str(model),
        "methods": tuple(methods),
        "sampler": {"steps": STEPS, "guidance": GUIDANCE, "batch": 4},
        "images_per_prompt": 1,
        "precision": "fp32",
        "device": "cpu",
        "overrides": {name: {**hard, **overrides.get(name, {})} for name in names_of(tuple(methods))},
    }
    for _ in run(resolve(spec), folder / "runs"):
        pass
    return folder / "runs" / "smoke2"


def drawn(run_folder: Path, method: str, stage: int = 2) -> tuple[list[str], list[int], NDArray[np.uint8]]:
    """The prompts, noise seeds and pictures (n, H, W, 3) of all concepts as that stage of the run drew them."""
    concepts = load_sequence("smoke2").concepts[:stage]
    place = run_folder / method / "order0-seed0" / f"{stage:02d}-{concepts[-1].id}"
    images = StageImages(place / "images.parquet")
    form = registry.get(Variant.parse(method).name)().form
    texts, seeds, pictures = [], [], []
    for concept in concepts:
        for number, template in enumerate(concept.prompts):
            texts.append(concept.fill(template, form))
            seeds.append(stream(NOISE_ROOT, "eval", concept.id, template, 0))
            found = images.find(concept.id, number, 0)
            assert found is not None
            pictures.append(np.asarray(Image.open(BytesIO(found.read_bytes()))))
    return texts, seeds, np.stack(pictures)


def stock(pipe: Any, texts: list[str], seeds: list[int]) -> NDArray[np.uint8]:
    """What a stock pipeline draws from the same initial noise, with the run's steps and guidance."""
    size = pipe.unet.config.sample_size
    noise = [torch.randn(4, size, size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    pipe.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "np"}
    levels: NDArray[np.uint8] = (
        (pipe(texts, latents=torch.stack(noise), **settings).images * 255).round().astype(np.uint8)
    )
    return levels


def largest(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    """Difference of two sets of pictures, in levels of 255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())
