"""The loop all parts of pretraining share: a number of steps, a learning rate that falls at the end, checkpoints to go
on from, and one process or several.

Started by `torchrun --nproc-per-node N`, N processes of one thread each train one model: on a CPU that is half as fast
again as one process with N threads.
"""

from __future__ import annotations

import atexit
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as team
from torch import nn

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


def join_team() -> None:
    """Take part in what torchrun started, if it did; a process then computes with one thread."""
    if "WORLD_SIZE" in os.environ and not team.is_initialized():
        torch.set_num_threads(1)
        team.init_process_group("gloo")
        # its threads end before the interpreter does: one that wants Python's lock later aborts the process
        atexit.register(team.destroy_process_group)


def leads() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return not team.is_initialized() or team.get_rank() == 0


def team_size() -> int:
    """How many processes train together."""
    return team.get_world_size() if team.is_initialized() else 1


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

    At the end the module holds the averaged weights (`ema`, a decay) or the last ones. Raises
    FloatingPointError when the loss is no number.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=weight_decay)
    average = [p.detach().clone() for p in parameters] if ema is not None else []
    rank = team.get_rank() if team.is_initialized() else 0
    generator = torch.Generator()
    step, recent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
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
        }
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.rename(path)

    if team.is_initialized():  # all go on from what the first has
        for parameter in module.parameters():
            team.broadcast(parameter.data, 0)
        average = [p.detach().clone() for p in parameters] if average and not step else average
    saved = time.monotonic()
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
            raise FloatingPointError(f"pretraining diverged at step {step}: the loss is {value.item()}")
        if step == round(steps * (1 - FALL)):
            save(checkpoint.with_suffix(".plateau"))  # to go on from with more steps
        if time.monotonic() - saved > SAVE_EVERY:
            save(checkpoint)
            saved = time.monotonic()
        yield Progress(step, step / steps, recent)
    if step:
        save(checkpoint)
    with torch.no_grad():
        for p, a in zip(parameters, average, strict=False):
            p.copy_(a)
