"""Answers a training step's queries with the UNet; those for the same adapter state share one forward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from cat_bench.benchmark.backbones.attention import in_full, lean_attention
from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.conditioning import Conditioning
from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.learning.lora import LoraAdapter, Mode
from cat_bench.benchmark.learning.past import Weights
from cat_bench.benchmark.learning.routed import Route
from cat_bench.benchmark.learning.swap import Swap, cast_swaps, swapped, uncompiled
from cat_bench.benchmark.system.device import Precision, attention_in_full, autocast, compute_dtype, input_dtype
from cat_bench.benchmark.text_to_image.batches import Drawn
from cat_bench.methods.base import Query


@dataclass(frozen=True)
class _Part:
    """Some rows of a query's items, whose prompts weigh the past alike."""

    name: str
    items: Drawn
    rows: list[int]
    prompts: list[str]
    weights: Weights | None

    def of(self, tensor: Tensor) -> Tensor:
        """Its rows; all of them are not picked one by one, for which a GPU would be waited for."""
        return tensor if len(self.rows) == len(tensor) else tensor[self.rows]


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
        route: Route = lambda _: None,
    ) -> None:
        self.backbone, self.adapter, self.precision = backbone, adapter, precision
        self.route = route
        self._last: Weights | None = None  # of the factors, in the last forward with the adapter on
        self.tokens = dict(tokens) if adapter.token is None else {**tokens, trigger: adapter.token}
        self.dtype = input_dtype(precision, backbone.unet.dtype)
        self.static: list[Swap] = cast_swaps(backbone.unet, compute_dtype(precision))
        self.static += uncompiled(backbone.unet)
        full = attention_in_full(backbone.device, precision)
        self.static += lean_attention(backbone.unet, in_full) if full else lean_attention(backbone.unet)

    def __call__(self, queries: Mapping[str, Query], drawn: Drawn) -> dict[str, Tensor]:
        groups: defaultdict[tuple[Mode, Weights | None], list[_Part]] = defaultdict(list)
        for name, query in queries.items():
            for part in self._parts(name, query, drawn):
                groups[query.adapter, part.weights].append(part)
        if self.backbone.unet.is_gradient_checkpointing and sum(mode == "on" for mode, _ in groups) > 1:
            raise TrainingError("gradient checkpointing needs prompts of one route in each step; leave it out")
        answers: defaultdict[str, list[tuple[list[int], Tensor]]] = defaultdict(list)
        for (mode, weights), parts in groups.items():
            prompts = [prompt for part in parts for prompt in part.prompts]
            noisy = torch.cat([part.of(part.items.noisy) for part in parts])  # (m, c, h, w)
            times = torch.cat([part.of(part.items.times) for part in parts])  # (m,)
            with torch.set_grad_enabled(mode == "on"):
                conditioning = self.backbone.encode_prompts(prompts, self.tokens)  # context (m, L, d)
                predicted = self._forward(mode, noisy, times, conditioning, weights)  # (m, c, h, w)
            for part, answer in zip(parts, torch.split(predicted, [len(part.rows) for part in parts]), strict=True):
                answers[part.name].append((part.rows, answer))
        return {name: _ordered(answers[name]) for name in queries}

    def _parts(self, name: str, query: Query, drawn: Drawn) -> Iterator[_Part]:
        """The items of a query, those of equal weights together."""
        if query.items is not None and query.items not in drawn.pools:
            raise TrainingError(f"query {name!r} asks about the pool {query.items!r}, which has no items at this stage")
        items = drawn if query.items is None else drawn.pools[query.items]
        if len(query.prompt) != len(items):
            raise TrainingError(f"query {name!r} has {len(query.prompt)} prompts for a batch of {len(items)}")
        rows: defaultdict[Weights | None, list[int]] = defaultdict(list)
        for row, prompt in enumerate(query.prompt):
            rows[None if query.adapter == "off" else self.route(prompt)].append(row)
        for weights, chosen in rows.items():
            yield _Part(name, items, chosen, [query.prompt[row] for row in chosen], weights)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> None:
        """Fill the cache, so that the text encoders are not needed again where no token is learned."""
        self.backbone.encode_prompts(prompts, self.tokens)

    def _forward(
        self, mode: Mode, noisy: Tensor, times: Tensor, conditioning: Conditioning, weights: Weights | None
    ) -> Tensor:
        if mode == "on":
            self._last = weights
        with self._network(mode, weights), autocast(self.backbone.device, self.precision):
            arguments = conditioning.arguments(self.dtype)
            if not conditioning.context.requires_grad:  # cast here for all layers, as autocast would in each of them
                context = conditioning.context.to(compute_dtype(self.precision) or self.dtype)
                arguments["encoder_hidden_states"] = context
            predicted: Tensor = self.backbone.unet(noisy.to(self.dtype), times, **arguments, return_dict=False)[0]
        return predicted.float()

    def network(self, mode: Mode) -> AbstractContextManager[None]:
        """The UNet of that mode; with the adapter on, by the route that was asked for last."""
        return self._network(mode, self._last if mode == "on" else None)

    @contextmanager
    def _network(self, mode: Mode, weights: Weights | None) -> Iterator[None]:
        """While it lasts the UNet is that one, its static weights cast, with the kernels to train with."""
        with swapped(self.static), self.adapter.use(mode, compute_dtype(self.precision), weights):
            yield


def _ordered(parts: list[tuple[list[int], Tensor]]) -> Tensor:
    """(n, c, h, w) the answers to one query in the order of its items."""
    if len(parts) == 1:
        return parts[0][1]
    rows = torch.tensor([row for part, _ in parts for row in part]).argsort()
    return torch.cat([answer for _, answer in parts])[rows.to(parts[0][1].device)]
