"""The training loop: batches in, a method's loss, its gradient, an update. It knows no method and no domain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from cat_bench.benchmark.errors import TrainingError
from cat_bench.benchmark.learning.lora import LoraAdapter, Mode
from cat_bench.benchmark.planning.events import Learning
from cat_bench.benchmark.planning.spec import Economy
from cat_bench.benchmark.system.device import Precision
from cat_bench.methods.base import Batch, Method, Query, mse


class Drawn(Protocol):
    """A step's items: the batch as a method sees it, and whatever the predictor needs besides."""

    @property
    def batch(self) -> Batch: ...
    def __len__(self) -> int: ...
    def parts(self, size: int) -> Iterator[Self]:
        """In order, `size` items each."""


LOOKS = {"cpu": 1}  # steps from one look at the losses to the next, by device; 10 on any other

D = TypeVar("D", bound=Drawn)
Out = TypeVar("Out", bound=Drawn, covariant=True)
In = TypeVar("In", bound=Drawn, contravariant=True)


class Source(Protocol[Out]):
    """Where batches come from."""

    def draw(self, size: int, step: int) -> Out: ...


class Predictor(Protocol[In]):
    """Asks the network what a method wants to know."""

    def __call__(self, queries: Mapping[str, Query], drawn: In) -> dict[str, Tensor]:
        """The answers (n, …) by name; with gradient where the adapter is on."""

    def network(self, mode: Mode) -> AbstractContextManager[None]:
        """While it lasts the network is the one that answers queries of this mode."""


def fit(
    source: Source[D],
    predict: Predictor[D],
    *,
    adapter: LoraAdapter,
    method: Method,
    config: Method.Config,
    precision: Precision,
    economy: Economy,
    what: str,
) -> Iterator[Learning]:
    """Take `config.steps` steps, yielded one by one, their loss before the update. what: named in errors.

    Raises TrainingError for a loss that is not finite. On a GPU, which a look at the loss would wait for, it is read
    every tenth step: a step's event has the last one read, and the error comes late, but names the right step.
    """
    device = adapter.host.device
    optimiser = _optimiser(adapter, config, economy, device)
    scaler = torch.amp.GradScaler(device.type, enabled=_in_half(adapter, precision))
    micro = min(economy.micro_batch or config.batch_size, config.batch_size)
    every, loss, unread = LOOKS.get(device.type, 10), math.nan, list[Tensor]()
    for step in range(config.steps):
        drawn = source.draw(config.batch_size, step)
        total, micro = _backward(drawn, predict, adapter, method, optimiser, scaler, micro)
        unread.append(total)
        if step % every == 0 or step + 1 == config.steps:
            for number, loss in enumerate(torch.stack(unread).tolist(), step + 2 - len(unread)):
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"{what}: the loss is {loss} at step {number} of {config.steps}; lower lr ({config.lr:g})"
                        + (" or use precision fp32" if precision != "fp32" else "")
                    )
            unread.clear()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), config.max_grad_norm)
        scaler.step(optimiser)
        scaler.update()
        yield Learning(step + 1, config.steps, loss)


def survey(
    source: Source[D], predict: Predictor[D], adapter: LoraAdapter, method: Method, precision: Precision
) -> None:
    """Show the method the denoising gradient of as many single items as it asks for, and update nothing."""
    trained = {name: parameter for name, parameter in adapter.named().items() if parameter.requires_grad}
    scale = 2.0**10 if _in_half(adapter, precision) else 1.0
    for number in range(method.survey()):
        drawn = source.draw(1, number)
        answers = predict({"learn": Query(drawn.batch.prompt)}, drawn)
        with predict.network("on"):
            loss = scale * mse(answers["learn"], drawn.batch.target)
            gradients = torch.autograd.grad(loss, list(trained.values()))
        method.surveyed({n: g.float() / scale for n, g in zip(trained, gradients, strict=True)}, adapter)


def _in_half(adapter: LoraAdapter, precision: Precision) -> bool:
    """Whether gradients pass through fp16, which small ones survive only if the loss is scaled.

    A network that is held in fp16 computes in it without autocast, too.
    """
    return precision == "fp16" or any(p.dtype == torch.float16 for p in adapter.host.network.parameters())


def _backward(
    drawn: D,
    predict: Predictor[D],
    adapter: LoraAdapter,
    method: Method,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    micro: int,
) -> tuple[Tensor, int]:
    """The method's loss on the batch, its gradient in the parameters, and how many items fitted at once.

    In parts of `micro` items, each weighed with its share, so that the sum is the whole batch's mean. Whenever the
    device runs out of memory it begins again with half as many.
    """
    while True:
        optimiser.zero_grad()
        total = torch.zeros((), device=adapter.host.device)
        try:
            for part in drawn.parts(micro):
                share = len(part) / len(drawn)
                loss = method.loss(part.batch, predict(method.queries(part.batch), part), adapter)
                with predict.network("on"):  # checkpointed activations are computed again, and by the same weights
                    torch.autograd.backward(scaler.scale(loss * share if share < 1 else loss))
                total += loss.detach() * share
            return total, micro
        except RuntimeError as error:
            if micro == 1 or not should_reduce_batch_size(error):
                raise
        # After the except block: until then the traceback holds the tensors.
        clear_device_cache(garbage_collection=True)
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
