"""Learning one concept with a text-to-image model: its batches and predictor, handed to the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.registry import entry_for
from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.learning.routed import Route, learned, route_of
from cat_bench.benchmark.learning.trainer import fit, survey
from cat_bench.benchmark.planning.events import Learning
from cat_bench.benchmark.planning.seeds import generator, stream
from cat_bench.benchmark.planning.spec import Economy
from cat_bench.benchmark.system.device import Precision
from cat_bench.benchmark.text_to_image.batches import Batches, Concept, Items, Stream
from cat_bench.benchmark.text_to_image.predictor import Predictor
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.methods.base import Everything, Generated, Kept, Method, Pool


def train(
    backbone: Backbone,
    adapter: LoraAdapter,
    method: Method,
    concept: Concept,
    *,
    seed: int,
    earlier: Sequence[Concept] = (),
    precision: Precision = "fp32",
    tokens: Mapping[str, Tensor] | None = None,
    economy: Economy = Economy(),
) -> Iterator[Learning]:
    """Learn `concept`: `method.begin`, the steps (yielded one by one), `method.end`. Run it out, or it has not ended.

    A step draws a batch of latents, noise ε and uniform time steps t, and asks the backbone for the method's queries at
    z_t; the items of its pools are drawn beside it. `seed` is the root of the streams init, data and noise; `earlier`
    are the concepts this adapter has learned before, `tokens` their learned embeddings (1, d) by trigger. Between two
    steps the UNet is W0 with the adapter on, so the caller may look at it or sample from it. Raises TrainingError for
    captions that do not fit the images or the trigger, and for a loss that is not finite.
    """
    # Not the stream that an adapter's maker draws from: a fold at the stage's end would then draw the same A again.
    adapter.enter(generator(seed, "init", concept.id, "stage"), method.keeps_factors)
    method.earlier, method.tokens = tuple(earlier), adapter.tokens
    route = route_of(method, earlier)
    items, pools = Items.of(backbone, concept, method.form), method.pools(concept)
    found: dict[str, Items] = {}
    for name, pool in pools.items():
        draw = _Pictures(backbone, adapter, route, precision, tokens or {}, seed, (concept.id, name))
        if (filled := _filled(pool, draw, adapter, earlier, method.form)) is not None:
            found[name] = filled
    method.begin(concept, adapter)
    streams = {name: Stream(backbone, own, seed, concept.id, "pool", name) for name, own in found.items()}
    predict = Predictor(backbone, adapter, precision, tokens or {}, concept.trigger, route)
    predict.encode([text for own in (items, *found.values()) for text in (*own.prompts, *own.without)])
    with backbone.only_unet(), _checkpointing(backbone, economy.checkpointing):
        yield from fit(
            Batches(Stream(backbone, items, seed, concept.id), streams),
            predict,
            adapter=adapter,
            method=method,
            config=method.config,
            precision=precision,
            economy=economy,
            what=concept.id,
        )
        survey(Stream(backbone, items, seed, concept.id, "survey"), predict, adapter, method, precision)
    if adapter.token is not None:
        adapter.tokens[concept.id] = adapter.token.detach().clone()
    method.end(concept, adapter)
    count = max((pool.count for pool in pools.values() if isinstance(pool, Kept)), default=0)
    if count:
        chosen = torch.randperm(len(items.prompts), generator=generator(seed, "data", concept.id, "kept"))[:count]
        adapter.kept |= {f"{concept.id}/{part}": value for part, value in items.packed(chosen.tolist()).items()}


@contextmanager
def _checkpointing(backbone: Backbone, wanted: bool) -> Iterator[None]:
    if wanted:
        backbone.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if wanted:
            backbone.unet.disable_gradient_checkpointing()


@dataclass(frozen=True)
class _Pictures:
    """Draws what a pool asks for, with the backbone's own sampler, whatever the run's: a stage's key holds no other."""

    backbone: Backbone
    adapter: LoraAdapter
    route: Route
    precision: Precision
    tokens: Mapping[str, Tensor]
    seed: int
    axes: tuple[str, ...]

    def __call__(self, pool: Generated) -> Tensor:
        """Latents (n, c, h, w), prompt by prompt."""
        prompts = [prompt for prompt in pool.prompts for _ in range(pool.count)]
        seeds = [stream(self.seed, "noise", *self.axes, "picture", number) for number in range(len(prompts))]
        entry = entry_for(self.backbone.id, self.backbone.folder)
        sampler = SamplerConfig(entry.scheduler, entry.steps, entry.guidance)
        change = learned(self.adapter, self.route, prompts) if pool.adapter == "previous" else None
        options: dict[str, Any] = {"tokens": self.tokens or None, "precision": self.precision}
        batches = sample(self.backbone, change, prompts, seeds, sampler, **options)
        return self.backbone.encode_images([Image.fromarray(picture) for _, part in batches for picture in part])


def _filled(pool: Pool, draw: _Pictures, adapter: LoraAdapter, earlier: Sequence[Concept], form: str) -> Items | None:
    """A pool's items; None if it has none."""
    if isinstance(pool, Generated):
        texts = tuple(prompt for prompt in pool.prompts for _ in range(pool.count))
        return Items(draw(pool), texts, texts, texts) if texts else None
    if isinstance(pool, Everything):
        parts = [Items.of(draw.backbone, concept, form) for concept in earlier]
    else:
        parts = [Items.unpacked(_kept(adapter, old), old, form, draw.backbone.device) for old in earlier]
    return Items.joined(parts) if parts else None


def _kept(adapter: LoraAdapter, concept: Concept) -> dict[str, Tensor]:
    found = {key.removeprefix(f"{concept.id}/"): value for key, value in adapter.kept.items()}
    if "latents" not in found:
        raise TrainingError(f"nothing of {concept.id} was kept: pools() must declare Kept from the first concept on")
    return found
