"""Learning one concept: the loop, the optimiser, the caches, the randomness. It knows no method."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.text_encoders import Conditioning
from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.learning.lora import LoraAdapter, Mode
from cat_bench.benchmark.learning.swap import Swap, cast_swaps, swapped
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.benchmark.planning.spec import Economy
from cat_bench.benchmark.system.device import Precision, autocast, compute_dtype, input_dtype, training_attention
from cat_bench.benchmark.text_to_image.batches import Batches, Concept, Drawn
from cat_bench.methods.base import Method, Query


@dataclass(frozen=True)
class Step:
    """A finished step, counted from 1, of `steps`; `loss` is the method's whole loss before the update."""

    step: int
    steps: int
    loss: float


def train(
    backbone: Backbone,
    adapter: LoraAdapter,
    method: Method,
    concept: Concept,
    config: Method.Config,
    seed: int,
    precision: Precision = "fp32",
    token: Mapping[str, Tensor] | None = None,
    economy: Economy = Economy(),
) -> Iterator[Step]:
    """Learn `concept`: `method.begin`, the steps (yielded one by one), `method.end`. Run it out, or it has not ended.

    A step draws a batch of latents, noise ε and uniform time steps t, and asks the backbone for the method's queries at
    z_t. `seed` is the root of the streams init, data and noise; `token` has earlier concepts' learned embeddings (1, d)
    by trigger. Between two steps the UNet is W0 with the adapter on, so the caller may look at it or sample from it.
    Raises TrainingError for captions that do not fit the images or the trigger, and for a loss that is not finite.
    """
    # Not the stream that an adapter's maker draws from: a fold at the stage's end would then draw the same A again.
    adapter.enter(generator(seed, "init", concept.id, "stage"))
    method.begin(concept, adapter)
    data = Batches(backbone, concept, "trigger" if method.uses_noun else "token", seed)
    predict = _Predictor(backbone, adapter, precision, token or {}, concept.trigger)
    predict.encode([*data.prompts, *data.without])
    optimiser = _optimiser(adapter, config, economy, backbone.device)
    scaler = torch.amp.GradScaler(backbone.device.type, enabled=precision == "fp16")  # small gradients survive fp16
    micro = min(economy.micro_batch or config.batch_size, config.batch_size)

    with backbone.only_unet(), _checkpointing(backbone, economy.checkpointing):
        for step in range(config.steps):
            drawn = data.draw(config.batch_size, step)
            value, micro = _backward(method, adapter, predict, drawn, optimiser, scaler, micro)
            if not math.isfinite(value):
                raise TrainingError(
                    f"{concept.id}: the loss is {value} at step {step + 1} of {config.steps}; lower lr ({config.lr:g})"
                    + (" or use precision fp32" if precision != "fp32" else "")
                )
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), config.max_grad_norm)
            scaler.step(optimiser)
            scaler.update()
            yield Step(step + 1, config.steps, value)
    method.end(concept, adapter)


def _backward(
    method: Method,
    adapter: LoraAdapter,
    predict: _Predictor,
    drawn: Drawn,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    micro: int,
) -> tuple[float, int]:
    """The method's loss on the batch, its gradient in the parameters, and how many items fitted at once.

    In parts of `micro` items, each weighed with its share, so that the sum is the whole batch's mean. Whenever the
    device runs out of memory it begins again with half as many.
    """
    while True:
        optimiser.zero_grad()
        total = torch.zeros((), device=drawn.noisy.device)
        try:
            for part in drawn.parts(micro):
                share = len(part.noisy) / len(drawn.noisy)
                loss = method.loss(part.batch, predict(method.queries(part.batch), part.noisy, part.times), adapter)
                with predict.network("on"):  # checkpointed activations are computed again, and by the same weights
                    torch.autograd.backward(scaler.scale(loss * share if share < 1 else loss))
                total += loss.detach() * share
            return float(total), micro
        except RuntimeError as error:
            if micro == 1 or not should_reduce_batch_size(error):
                raise
        clear_device_cache(
            garbage_collection=True
        )  # after the except block: until then the traceback holds the tensors
        micro = (micro + 1) // 2


def _optimiser(
    adapter: LoraAdapter, config: Method.Config, economy: Economy, device: torch.device
) -> torch.optim.Optimizer:
    weights = [p for p in adapter.parameters() if p is not adapter.token]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": config.weight_decay}]
    if adapter.token is not None:  # decay would pull an embedding away from the others' scale
        groups.append({"params": [adapter.token], "weight_decay": 0.0})
    if economy.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=device.type != "mps")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise TrainingError("optimizer adamw8bit needs bitsandbytes: pip install bitsandbytes (CUDA)") from error
    optimiser: torch.optim.Optimizer = AdamW8bit(groups, lr=config.lr)
    return optimiser


@contextmanager
def _checkpointing(backbone: Backbone, wanted: bool) -> Iterator[None]:
    if wanted:
        backbone.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if wanted:
            backbone.unet.disable_gradient_checkpointing()


class _Predictor:
    """Answers a step's queries; those for the same adapter state share one forward."""

    def __init__(
        self,
        backbone: Backbone,
        adapter: LoraAdapter,
        precision: Precision,
        token: Mapping[str, Tensor],
        trigger: str,
    ) -> None:
        self.backbone, self.adapter, self.precision = backbone, adapter, precision
        self.token = dict(token) if adapter.token is None else {**token, trigger: adapter.token}
        self.dtype = input_dtype(precision, backbone.unet.dtype)
        self.casts: list[Swap] = cast_swaps(backbone.unet, compute_dtype(precision))

    def __call__(self, queries: Mapping[str, Query], noisy: Tensor, times: Tensor) -> dict[str, Tensor]:
        groups: defaultdict[Mode, list[str]] = defaultdict(list)
        for name, query in queries.items():
            if len(query.prompt) != len(noisy):
                raise TrainingError(f"query {name!r} has {len(query.prompt)} prompts for a batch of {len(noisy)}")
            groups[query.adapter].append(name)
        answers: dict[str, Tensor] = {}
        for mode, names in groups.items():
            prompts = [prompt for name in names for prompt in queries[name].prompt]
            repeats = len(names)
            with torch.set_grad_enabled(mode == "on"):
                told = self.backbone.encode_prompts(prompts, self.token)
                predicted = self._forward(mode, noisy.repeat(repeats, 1, 1, 1), times.repeat(repeats), told)
            answers.update(zip(names, predicted.chunk(repeats), strict=True))
        return {name: answers[name] for name in queries}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> None:
        """Fill the cache, so that the text encoders are not needed again where no token is learned."""
        self.backbone.encode_prompts(prompts, self.token)

    def _forward(self, mode: Mode, noisy: Tensor, times: Tensor, told: Conditioning) -> Tensor:
        with self.network(mode), autocast(self.backbone.device, self.precision):
            arguments = told.arguments(self.dtype)
            predicted: Tensor = self.backbone.unet(noisy.to(self.dtype), times, **arguments, return_dict=False)[0]
        return predicted.float()

    @contextmanager
    def network(self, mode: Mode) -> Iterator[None]:
        """While it lasts the UNet is the one of that mode, its static weights cast, with the kernels to train with."""
        kernel = training_attention(self.backbone.device, self.precision, math.prod(self.backbone.latent_shape[1:]))
        with swapped(self.casts), self.adapter.use(mode, compute_dtype(self.precision)), kernel:
            yield
