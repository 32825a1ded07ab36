"""Can the backbone learn a sequence's concepts at all? Two upper ends to hold the continual methods against.

joint  one adapter trained on all concepts at once: are the triggers told apart?
alone  one adapter per concept, each from the untouched backbone: is one concept learned well?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.planning.seeds import generator, stream
from cat_bench.benchmark.pretrain.figures.figure import Figure
from cat_bench.benchmark.system.device import autocast, resolve_precision, training_attention
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.benchmark.text_to_image.training import train
from cat_bench.methods.base import mse
from cat_bench.methods.registry import methods
from cat_bench.results.scoring.formulas import clip_i, clip_i_left_out
from cat_bench.results.scoring.recognition import recognise
from cat_bench.tasks.concept import Concept
from cat_bench.tasks.sequence import load_sequence

IMAGES = 4  # for each evaluation prompt
JOINT_STEPS = 450
JOINT_BATCH = 9


class Sitting:
    """A sequence's concepts before a backbone, with what it takes to judge pictures of them."""

    def __init__(
        self, backbone: Backbone, judge: MetricModel, sampler: SamplerConfig, sequence: str, seed: int = 0
    ) -> None:
        self.backbone, self.judge, self.sampler, self.seed = backbone, judge, sampler, seed
        self.concepts = load_sequence(sequence).concepts
        self.precision = resolve_precision("auto", backbone.device)
        self.references = {c.id: judge.images(c.reference_images(backbone.resolution)) for c in self.concepts}
        self.method = methods.get("lora")
        self.config = self.method.configure(backbone=backbone.id)

    def adapter(self) -> LoraAdapter:
        """A fresh one with naive LoRA's settings."""
        c = self.config
        return LoraAdapter(self.backbone, c.rank, c.alpha, c.targets, generator(self.seed, "init"), False)

    def features(self, concept: Concept, deltas: dict[str, torch.Tensor] | None) -> NDArray[np.float32]:
        """Of pictures for the evaluation prompts (prompts × IMAGES, d); the noise depends on the prompt only."""
        prompts = [concept.fill(p, "trigger") for p in concept.prompts for _ in range(IMAGES)]
        seeds = [stream(self.seed, "eval", p, i) for p in concept.prompts for i in range(IMAGES)]
        batches = sample(self.backbone, deltas, prompts, seeds, self.sampler, precision=self.precision)
        return self.judge.images(np.concatenate([images for _, images in batches]))

    def accuracy(self, concept: Concept, features: NDArray[np.float32]) -> float:
        """Share of pictures nearest to the right concept's references."""
        return float(np.mean(recognise(features, self.references, concept.id).correct))

    def joint(self) -> dict[str, torch.Tensor]:
        """ΔW of one adapter trained on every concept's pictures at once."""
        adapter = self.adapter()
        adapter.enter(generator(self.seed, "init", "joint"))
        latents, prompts = _all_pictures(self.backbone, self.concepts)
        embeddings = self.backbone.encode_prompts(prompts)
        dice, schedule = generator(self.seed, "data", "joint"), self.backbone.schedule
        optimiser = torch.optim.AdamW(adapter.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        device = self.backbone.device
        places = self.backbone.latent_shape[-1] * self.backbone.latent_shape[-2]
        for _ in range(JOINT_STEPS):
            rows = torch.randint(len(latents), (JOINT_BATCH,), generator=dice)
            noise = torch.randn(latents[rows].shape, generator=dice).to(device)
            times = schedule.times(JOINT_BATCH, dice).to(device)
            noisy = schedule.noised(latents[rows], noise, times)
            target = schedule.target(latents[rows], noise, times)
            with autocast(device, self.precision), training_attention(device, self.precision, places):
                predicted = self.backbone.unet(noisy, times, embeddings.context[rows], return_dict=False)[0]
            mse(predicted, target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        deltas = dict(adapter.deltas())
        adapter.close()
        return deltas

    def alone(self, concept: Concept) -> dict[str, torch.Tensor]:
        """ΔW of an adapter trained on this concept only."""
        adapter, method = self.adapter(), self.method(self.config)
        for _ in train(self.backbone, adapter, method, concept, seed=self.seed, precision=self.precision):
            pass
        deltas = dict(adapter.deltas())
        adapter.close()
        return deltas


def _all_pictures(backbone: Backbone, concepts: Sequence[Concept]) -> tuple[torch.Tensor, list[str]]:
    latents = [backbone.encode_images(c.train_images(backbone.resolution)) for c in concepts]
    prompts = [c.fill(caption, "trigger") for c in concepts for caption in c.train_captions]
    return torch.cat(latents), prompts


def learnable(
    backbone: Backbone, judge: MetricModel, sampler: SamplerConfig, sequence: str = "faces5", seed: int = 0
) -> Iterator[Figure]:
    """Concept accuracy jointly and alone, and how much of CLIP-I's way from floor to ceiling is made alone."""
    sitting = Sitting(backbone, judge, sampler, sequence, seed)
    n = sum(len(c.prompts) for c in sitting.concepts) * IMAGES
    together = sitting.joint()
    values = [sitting.accuracy(c, sitting.features(c, together)) for c in sitting.concepts]
    yield Figure("joint", f"{sequence}, joint training: concept accuracy", float(np.mean(values)), 0.95, "", n)
    accuracies, shares = [], []
    for concept in sitting.concepts:
        made = sitting.features(concept, sitting.alone(concept))
        own = sitting.references[concept.id]
        accuracies.append(sitting.accuracy(concept, made))
        floor = float(clip_i(sitting.features(concept, None), own).mean())
        ceiling = float(clip_i_left_out(own).mean())
        shares.append((float(clip_i(made, own).mean()) - floor) / (ceiling - floor))
    yield Figure(
        "alone", f"{sequence}, one adapter per concept: concept accuracy", float(np.mean(accuracies)), 0.90, "", n
    )
    yield Figure(
        "gap",
        f"{sequence}, one adapter per concept: CLIP-I, share of floor to ceiling",
        float(np.mean(shares)),
        0.70,
        "",
        n,
    )
