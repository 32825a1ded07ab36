"""The loop all parts of pretraining share: a budget of minutes, a falling learning rate, checkpoints to go on from."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

WARMUP_STEPS = 100
SAVE_EVERY = 120.0  # seconds
SLOWEST_STEP = 20.0  # seconds: a longer pause between steps (compiling, a stopped machine) is not charged to the budget


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done, share of the budget used (0 to 1), mean loss of the last 50 steps."""

    step: int
    share: float
    loss: float


def compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The function by torch.compile where it can be had (a GPU, or a C++ compiler): it saves a quarter to a third."""
    if torch.cuda.is_available() or any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return torch.compile(function)
    return function


def learning_rate(peak: float, step: int, share: float) -> float:
    """Linear warm-up over the first steps, then a half cosine over the budget, down to 1 % of the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * (0.01 + 0.99 * cosine)


def train(
    module: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    *,
    minutes: float,
    peak: float,
    checkpoint: Path,
    seed: int,
    weight_decay: float = 1e-2,
    ema: float | None = None,
    charged: float | None = None,
) -> Iterator[Progress]:
    """Minimise `loss(generator)` over the module's parameters for so many minutes; goes on from `checkpoint`.

    When the budget is used up the module holds the averaged weights (`ema`, a decay) or the last ones. `charged`
    fixes the seconds that
    a step counts, which makes a run independent of the machine's speed (tests).
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=weight_decay)
    average = [p.detach().clone() for p in parameters] if ema is not None else []
    generator = torch.Generator().manual_seed(seed)
    step, used, recent = 0, 0.0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        average = [a.to(p.device) for a, p in zip(state["average"], parameters, strict=False)]
        step, used, recent = state["step"], state["used"], state["recent"]

    def save() -> None:
        partial = checkpoint.with_suffix(".part")
        torch.save(
            {
                "module": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "average": average,
                "step": step,
                "used": used,
                "recent": recent,
            },
            partial,
        )
        partial.rename(checkpoint)

    budget, saved, before = minutes * 60, time.monotonic(), time.monotonic()
    while used < budget:
        rate = learning_rate(peak, step, used / budget)
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = loss(generator)
        value.backward()  # type: ignore[no-untyped-call]
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
        now = time.monotonic()
        used += charged if charged is not None else min(now - before, SLOWEST_STEP)
        before = now
        if now - saved > SAVE_EVERY:
            save()
            saved = before = time.monotonic()
        yield Progress(step, min(1.0, used / budget), recent)
    if step:
        save()
    with torch.no_grad():
        for p, a in zip(parameters, average, strict=False):
            p.copy_(a)
