"""Learning one concept with a text-to-image model: its batches and predictor, handed to the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.learning.trainer import fit
from cat_bench.benchmark.planning.events import Learning
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.planning.spec import Economy
from cat_bench.benchmark.system.device import Precision
from cat_bench.benchmark.text_to_image.batches import Batches, Concept
from cat_bench.benchmark.text_to_image.predictor import Predictor
from cat_bench.methods.base import Method


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
    z_t. `seed` is the root of the streams init, data and noise; `earlier` are the concepts this adapter has learned
    before, `tokens` their learned embeddings (1, d) by trigger. Between two steps the UNet is W0 with the adapter on,
    so the caller may look at it or sample from it. Raises TrainingError for captions that do not fit the images or the
    trigger, and for a loss that is not finite.
    """
    # Not the stream that an adapter's maker draws from: a fold at the stage's end would then draw the same A again.
    adapter.enter(generator(seed, "init", concept.id, "stage"), method.keeps_factors)
    method.earlier = tuple(earlier)
    method.begin(concept, adapter)
    batches = Batches(backbone, concept, "trigger" if method.uses_noun else "token", seed)
    predict = Predictor(backbone, adapter, precision, tokens or {}, concept.trigger)
    predict.encode([*batches.prompts, *batches.without])
    with backbone.only_unet(), _checkpointing(backbone, economy.checkpointing):
        yield from fit(
            batches,
            predict,
            adapter=adapter,
            method=method,
            config=method.config,
            precision=precision,
            economy=economy,
            what=concept.id,
        )
    method.end(concept, adapter)


@contextmanager
def _checkpointing(backbone: Backbone, wanted: bool) -> Iterator[None]:
    if wanted:
        backbone.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if wanted:
            backbone.unet.disable_gradient_checkpointing()
