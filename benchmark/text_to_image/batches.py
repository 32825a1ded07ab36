"""Training pictures as the batches of steps: latents, captions, noise and time steps, of a concept and of its pools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
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


@dataclass(frozen=True)
class Drawn:
    """A training step's items: the batch as a method sees it, the noisy latents z_t (n, c, h, w), time steps (n,).

    pools: as many items of each pool.
    """

    batch: Batch
    noisy: Tensor
    times: Tensor
    pools: Mapping[str, Drawn] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.noisy)

    def parts(self, size: int) -> Iterator[Drawn]:
        """In order, `size` items each."""
        for start in range(0, len(self), size):
            yield self._cut(slice(start, start + size))

    def _cut(self, cut: slice) -> Drawn:
        b, pools = self.batch, {name: pool._cut(cut) for name, pool in self.pools.items()}
        batch = Batch(b.target[cut], b.prompt[cut], b.prompt_without_trigger[cut], b.step, b.templates[cut])
        return Drawn(batch, self.noisy[cut], self.times[cut]).beside(pools)

    def beside(self, pools: Mapping[str, Drawn]) -> Drawn:
        """The same items with those of the pools."""
        seen = {name: pool.batch for name, pool in pools.items()}
        return replace(self, batch=replace(self.batch, pools=seen), pools=dict(pools)) if pools else self


@dataclass(frozen=True)
class Items:
    """Latents (n, c, h, w), and n captions each: with trigger, without, and with "{}" for the concept."""

    latents: Tensor
    prompts: tuple[str, ...]
    without: tuple[str, ...]
    templates: tuple[str, ...]

    @classmethod
    def of(cls, backbone: Backbone, concept: Concept, form: str) -> Items:
        """A concept's training pictures. Raises TrainingError for captions that do not fit them or the trigger."""
        captions, images = concept.train_captions, concept.train_images(backbone.resolution)
        if len(captions) != len(images) or not images:
            raise TrainingError(f"{concept.id}: {len(images)} training images but {len(captions)} captions")
        trigger, items = word(concept.trigger), cls.captioned(backbone.encode_images(images), captions, concept, form)
        for prompt, without in zip(items.prompts, items.without, strict=True):
            if not trigger.search(prompt) or trigger.search(without):
                raise TrainingError(
                    f"{concept.id}: trigger {concept.trigger!r} must be in {prompt!r} and must not be in {without!r}"
                )
        return items

    @classmethod
    def captioned(cls, latents: Tensor, captions: Sequence[str], concept: Concept, form: str) -> Items:
        """Latents of a concept with the templates of their captions."""
        prompts = tuple(concept.fill(caption, form) for caption in captions)
        return cls(latents, prompts, tuple(concept.fill(caption, "noun") for caption in captions), tuple(captions))

    @classmethod
    def joined(cls, parts: Sequence[Items]) -> Items:
        """All of them, in order."""
        return cls(
            torch.cat([part.latents for part in parts]),
            tuple(text for part in parts for text in part.prompts),
            tuple(text for part in parts for text in part.without),
            tuple(text for part in parts for text in part.templates),
        )

    def packed(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """Some of them as tensors on the CPU, to be carried along."""
        captions = json.dumps([self.templates[i] for i in chosen]).encode()
        text = torch.from_numpy(np.frombuffer(captions, dtype=np.uint8).copy())
        return {"latents": self.latents[list(chosen)].cpu().contiguous(), "captions": text}

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], concept: Concept, form: str, device: torch.device) -> Items:
        """The inverse."""
        captions = json.loads(bytes(tensors["captions"].cpu().numpy()))
        return cls.captioned(tensors["latents"].to(device), captions, concept, form)


class Stream:
    """Items drawn without replacement until all were seen, with noise and time steps."""

    def __init__(self, backbone: Backbone, items: Items, seed: int, *axes: str) -> None:
        """axes: of the streams `data` and `noise` that are drawn from."""
        self.backbone, self.items = backbone, items
        self.picks = generator(seed, "data", *axes)
        self.noise = generator(seed, "noise", *axes)
        self.queue: list[int] = []

    def draw(self, size: int, step: int) -> Drawn:
        """The next items. All is drawn on the CPU, so that every device sees the same numbers."""
        items = self.items
        while len(self.queue) < size:
            self.queue += torch.randperm(len(items.prompts), generator=self.picks).tolist()
        chosen, self.queue = self.queue[:size], self.queue[size:]
        schedule, device = self.backbone.schedule, self.backbone.device
        noise = torch.randn(size, *items.latents.shape[1:], generator=self.noise)  # (n, c, h, w)
        times = schedule.times(size, self.noise)  # (n,)
        # Not waited for: a GPU is still at the step before.
        noise, times, rows = (t.to(device, non_blocking=True) for t in (noise, times, torch.tensor(chosen)))
        clean = items.latents[rows]  # (n, c, h, w)
        prompts, without, templates = (
            tuple(texts[i] for i in chosen) for texts in (items.prompts, items.without, items.templates)
        )
        batch = Batch(schedule.target(clean, noise, times), prompts, without, step, templates)
        return Drawn(batch, schedule.noised(clean, noise, times), times)


@dataclass(frozen=True)
class Batches:
    """A concept's own stream and those of its pools."""

    own: Stream
    pools: Mapping[str, Stream]

    def draw(self, size: int, step: int) -> Drawn:
        """The next items of each."""
        return self.own.draw(size, step).beside({name: pool.draw(size, step) for name, pool in self.pools.items()})
