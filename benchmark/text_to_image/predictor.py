"""Answers a training step's queries with the UNet; those for the same adapter state share one forward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from cat_bench.benchmark.backbones.attention import in_full, lean_attention
from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.conditioning import Conditioning
from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.learning.lora import LoraAdapter, Mode
from cat_bench.benchmark.learning.swap import Swap, cast_swaps, swapped, uncompiled
from cat_bench.benchmark.system.device import Precision, attention_in_full, autocast, compute_dtype, input_dtype
from cat_bench.benchmark.text_to_image.batches import Drawn
from cat_bench.methods.base import Query


class Predictor:
    """Implements `learning.trainer.Predictor` for text-to-image models.

    tokens: earlier concepts' learned embeddings (1, d) by trigger; the adapter's own stands for `trigger`.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: LoraAdapter,
        precision: Precision,
        tokens: Mapping[str, Tensor],
        trigger: str,
    ) -> None:
        self.backbone, self.adapter, self.precision = backbone, adapter, precision
        self.tokens = dict(tokens) if adapter.token is None else {**tokens, trigger: adapter.token}
        self.dtype = input_dtype(precision, backbone.unet.dtype)
        self.static: list[Swap] = cast_swaps(backbone.unet, compute_dtype(precision))
        self.static += uncompiled(backbone.unet)
        full = attention_in_full(backbone.device, precision)
        self.static += lean_attention(backbone.unet, in_full) if full else lean_attention(backbone.unet)

    def __call__(self, queries: Mapping[str, Query], drawn: Drawn) -> dict[str, Tensor]:
        groups: defaultdict[Mode, list[str]] = defaultdict(list)
        for name, query in queries.items():
            if len(query.prompt) != len(drawn):
                raise TrainingError(f"query {name!r} has {len(query.prompt)} prompts for a batch of {len(drawn)}")
            groups[query.adapter].append(name)
        answers: dict[str, Tensor] = {}
        for mode, names in groups.items():
            k = len(names)
            prompts = [prompt for name in names for prompt in queries[name].prompt]
            noisy, times = drawn.noisy.repeat(k, 1, 1, 1), drawn.times.repeat(k)  # (k·n, c, h, w), (k·n,)
            with torch.set_grad_enabled(mode == "on"):
                conditioning = self.backbone.encode_prompts(prompts, self.tokens)  # context (k·n, L, d)
                predicted = self._forward(mode, noisy, times, conditioning)  # (k·n, c, h, w)
            answers.update(zip(names, predicted.chunk(k), strict=True))
        return {name: answers[name] for name in queries}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> None:
        """Fill the cache, so that the text encoders are not needed again where no token is learned."""
        self.backbone.encode_prompts(prompts, self.tokens)

    def _forward(self, mode: Mode, noisy: Tensor, times: Tensor, conditioning: Conditioning) -> Tensor:
        with self.network(mode), autocast(self.backbone.device, self.precision):
            arguments = conditioning.arguments(self.dtype)
            if not conditioning.context.requires_grad:  # cast here for all layers, as autocast would in each of them
                context = conditioning.context.to(compute_dtype(self.precision) or self.dtype)
                arguments["encoder_hidden_states"] = context
            predicted: Tensor = self.backbone.unet(noisy.to(self.dtype), times, **arguments, return_dict=False)[0]
        return predicted.float()

    @contextmanager
    def network(self, mode: Mode) -> Iterator[None]:
        """While it lasts the UNet is the one of that mode, its static weights cast, with the kernels to train with."""
        with swapped(self.static), self.adapter.use(mode, compute_dtype(self.precision)):
            yield
