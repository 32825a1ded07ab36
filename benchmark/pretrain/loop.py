"""The loop all parts of pretraining share: a number of steps, a learning rate that falls at the end, checkpoints to go
on from, and one process or several.

Beside the checkpoint is kept the state in which the learning rate began to fall: with more steps than it was trained
towards, a training goes on from there.

Started by `torchrun --nproc-per-node N`, N processes of one thread each train one model: on a CPU that is half as fast
again as one process with N threads.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as team
from torch import nn

from cat_bench.benchmark.pretrain.recipe import PretrainError
from cat_bench.benchmark.pretrain.team import leads, team_size
from cat_bench.benchmark.store.files import write_bytes
from cat_bench.benchmark.system.compiler import compiler

WARMUP_STEPS = 100
FALL = 0.3  # share of the steps, the last, over which the learning rate falls
SAVE_EVERY = 120.0  # seconds


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done, share of all steps (0 to 1), mean loss of the last 50 steps."""

    step: int
    share: float
    loss: float


def compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The function by torch.compile where it can be had (a GPU, or a C++ compiler): it saves a quarter to a third."""
    if torch.cuda.is_available() or compiler():
        return torch.compile(function)
    return function


def learning_rate(step: int, steps: int) -> float:
    """As a share of the peak: linear warm-up over the first steps, constant, then a half cosine down to 1 %."""
    fallen = max(0.0, (step / steps - (1 - FALL)) / FALL)
    return min(1.0, (step + 1) / WARMUP_STEPS) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0))))


def steps_done(checkpoint: Path) -> int | None:
    """How many steps a checkpoint has been trained; None if it is not there."""
    return int(_load(checkpoint, mmap=True)["step"]) if checkpoint.exists() else None


def _load(path: Path, mmap: bool = False) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)
    return state


def _begins_to_fall(steps: int) -> int:
    return round(steps * (1 - FALL))


def _kept(checkpoint: Path, steps: int) -> dict[str, Any] | None:
    """The state to go on from: the checkpoint's, or, if its learning rate has begun to fall too early for so many
    steps, the one in which it began to.
    """
    if not checkpoint.exists():
        return None
    state, plateau = _load(checkpoint), checkpoint.with_suffix(".plateau")
    towards = state.get("towards", state["step"])  # older ones do not say it; finished ones stand there
    fall = _begins_to_fall(towards)
    if steps > towards and state["step"] > fall and plateau.exists():
        earlier = _load(plateau)
        if earlier["step"] == fall:  # else it is another training's
            return earlier
    return state


def _share_gradients(parameters: list[nn.Parameter]) -> None:
    """Every process's gradients become the mean over all processes."""
    if team_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    team.all_reduce(flat)
    flat /= team_size()
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def train(
    module: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    *,
    steps: int,
    peak: float,
    checkpoint: Path,
    seed: int,
    weight_decay: float = 1e-2,
    ema: float | None = None,
) -> Iterator[Progress]:
    """Minimise `loss(generator)` over the module's parameters for so many steps; goes on from `checkpoint`.

    At the end the module holds the averaged weights (`ema`, a decay) or the last ones. Raises PretrainError when the
    loss is no number.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=weight_decay)
    average = [p.detach().clone() for p in parameters] if ema is not None else []
    rank = team.get_rank() if team.is_initialized() else 0
    generator = torch.Generator()
    step, recent = 0, 0.0
    if state := _kept(checkpoint, steps):
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        average = [a.to(p.device) for a, p in zip(state["average"], parameters, strict=False)]
        step, recent = state["step"], state["recent"]

    def save(path: Path) -> None:
        if not leads():
            return
        state = {
            "module": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average,
            "step": step,
            "recent": recent,
            "towards": steps,
        }
        buffer = io.BytesIO()  # written to a file by torch, it would not be said that a disk is full
        torch.save(state, buffer)
        write_bytes(path, buffer.getvalue())

    if team.is_initialized():  # all go on from what the first has
        for parameter in module.parameters():
            team.broadcast(parameter.data, 0)
        average = [p.detach().clone() for p in parameters] if average and not step else average
    saved, begun = time.monotonic(), step
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = peak * learning_rate(step, steps)
        # Each step's own, so that a continued training sees what an uninterrupted one does.
        generator.manual_seed((seed * 1_000_003 + step) * 1000 + rank)
        value = loss(generator)
        value.backward()  # type: ignore[no-untyped-call]
        _share_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if ema is not None:
            decay = min(ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        recent = value.item() if step == 1 else recent + (value.item() - recent) / min(step, 50)
        if not math.isfinite(recent):
            raise PretrainError(
                f"{checkpoint.stem}: the training diverged at step {step}, its loss is {value.item()};"
                f" start it over: --part {checkpoint.stem} --afresh"
            )
        if step == _begins_to_fall(steps):
            save(checkpoint.with_suffix(".plateau"))
        if time.monotonic() - saved > SAVE_EVERY:
            save(checkpoint)
            saved = time.monotonic()
        yield Progress(step, step / steps, recent)
    if step > begun:
        save(checkpoint)
    with torch.no_grad():
        for p, a in zip(parameters, average, strict=False):
            p.copy_(a)
