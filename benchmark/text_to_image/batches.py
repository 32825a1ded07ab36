"""A concept's training pictures as the batches of its steps: latents, captions, noise and time steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.text_encoders import word
from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.methods import base as methods
from cat_bench.methods.base import Batch


class Concept(methods.Concept, Protocol):
    """What the trainer needs of a concept beyond what a method does (cat_bench.tasks.concept.Concept has it)."""

    @property
    def train_captions(self) -> tuple[str, ...]: ...
    def train_images(self, size: int) -> list[Image.Image]: ...
    def fill(self, template: str, form: str) -> str: ...


@dataclass(frozen=True)
class Drawn:
    """A training step's items: the batch as a method sees it, the noisy latents z_t (n, c, h, w), time steps (n,)."""

    batch: Batch
    noisy: Tensor
    times: Tensor

    def __len__(self) -> int:
        return len(self.noisy)

    def parts(self, size: int) -> Iterator[Drawn]:
        """In order, `size` items each."""
        b = self.batch
        for start in range(0, len(self), size):
            cut = slice(start, start + size)
            batch = Batch(b.target[cut], b.prompt[cut], b.prompt_without_trigger[cut], b.step)
            yield Drawn(batch, self.noisy[cut], self.times[cut])


class Batches:
    """A concept's latents and captions, drawn without replacement until all were seen, with noise and time steps."""

    def __init__(self, backbone: Backbone, concept: Concept, form: str, seed: int) -> None:
        captions, images = concept.train_captions, concept.train_images(backbone.resolution)
        if len(captions) != len(images) or not images:
            raise TrainingError(f"{concept.id}: {len(images)} training images but {len(captions)} captions")
        self.prompts = [concept.fill(caption, form) for caption in captions]
        self.without = [concept.fill(caption, "noun") for caption in captions]
        trigger = word(concept.trigger)
        for prompt, without in zip(self.prompts, self.without, strict=True):
            if not trigger.search(prompt) or trigger.search(without):
                raise TrainingError(
                    f"{concept.id}: trigger {concept.trigger!r} must be in {prompt!r} and must not be in {without!r}"
                )
        self.backbone = backbone
        self.latents = backbone.encode_images(images)
        self.picks = generator(seed, "data", concept.id)
        self.noise = generator(seed, "noise", concept.id)
        self.queue: list[int] = []

    def draw(self, size: int, step: int) -> Drawn:
        """The next items. All is drawn on the CPU, so that every device sees the same numbers."""
        while len(self.queue) < size:
            self.queue += torch.randperm(len(self.prompts), generator=self.picks).tolist()
        chosen, self.queue = self.queue[:size], self.queue[size:]
        schedule, device = self.backbone.schedule, self.backbone.device
        noise = torch.randn(size, *self.latents.shape[1:], generator=self.noise)  # (n, c, h, w)
        times = schedule.times(size, self.noise)  # (n,)
        # Not waited for: a GPU is still at the step before.
        noise, times, rows = (t.to(device, non_blocking=True) for t in (noise, times, torch.tensor(chosen)))
        clean = self.latents[rows]  # (n, c, h, w)
        prompts = tuple(self.prompts[i] for i in chosen)
        without = tuple(self.without[i] for i in chosen)
        batch = Batch(schedule.target(clean, noise, times), prompts, without, step)
        return Drawn(batch, schedule.noised(clean, noise, times), times)
