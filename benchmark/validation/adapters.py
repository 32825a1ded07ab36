"""An adapter that has learned one concept: blended in by degrees, its weights disturbed, drawn from other noise."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load, save

from cat_bench.benchmark.planning.items import NOISE_ROOT, Item
from cat_bench.benchmark.planning.keys import ADAPTER, SCORES
from cat_bench.benchmark.planning.seeds import generator, stream
from cat_bench.benchmark.store.files import write_bytes
from cat_bench.benchmark.validation.setup import Setup, Work, counted
from cat_bench.results.records.long_table import read_scores
from cat_bench.results.validation.series import Series

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0)


def blend(adapter: Path, weight: float, target: Path) -> None:
    """Write the adapter with ΔW times `weight`: B is scaled. For one that has learned one concept, and has no past."""
    state = dict(sorted(load(adapter.read_bytes()).items()))
    write_bytes(target, save({key: weight * value if key.startswith("B.") else value for key, value in state.items()}))


def disturb(adapter: Path, level: float, target: Path) -> None:
    """Write the adapter with Gaussian noise of `level` times each matrix's own standard deviation in A and in B.

    The noise is the same at every level, only stronger.
    """
    state = dict(sorted(load(adapter.read_bytes()).items()))
    for key, value in state.items():
        if key.startswith(("A.", "B.")):
            noise = torch.randn(value.shape, generator=generator(0, "noise", "disturbed", key))
            state[key] = value + level * value.std() * noise.to(value.dtype)
    write_bytes(target, save(state))


def work(setup: Setup, repeats: int) -> int:
    """Steps and pictures of all that is done here: for the progress."""
    adapters = len(BLENDS) + len(LEVELS) - 1 + repeats
    return setup.cell.config.steps + adapters * len(setup.stage.items) + repeats * len(_of_base(setup))


def learned(setup: Setup) -> Path:
    """Where the adapter lies."""
    return setup.plan.folder / ADAPTER


def adapters(setup: Setup) -> Generator[Work, None, list[Series]]:
    """Learn the first concept; the series of adapters that are made of the one."""
    steps = setup.engine.learn(setup.cell, setup.stage, learned(setup))
    yield from counted((event.step for event in steps), "learning")
    blended, disturbed = [], []
    for weight in BLENDS:
        blended.append((yield from _drawn(setup, "blend", blend, weight)))
    for level in LEVELS[1:]:
        disturbed.append((yield from _drawn(setup, "disturb", disturb, level)))
    unit = "times the weights' own standard deviation"
    return [
        Series("blend", "An adapter blended in", "weight of the adapter", "adapter", BLENDS, tuple(blended)),
        Series("weights", "Noise in its weights", unit, "adapter", LEVELS, (blended[-1], *disturbed)),
    ]


def _drawn(
    setup: Setup, name: str, change: Callable[[Path, float, Path], None], amount: float
) -> Generator[Work, None, pd.DataFrame]:
    """Rows of the adapter, changed."""
    stage = replace(setup.stage, place=setup.plan.folder / f"{name}-{amount:g}")
    stage.place.mkdir()
    change(learned(setup), amount, stage.place / ADAPTER)
    yield from setup.rows(setup.plan, stage, stage.place / ADAPTER, f"{stage.place.name}")
    return read_scores(stage.place / SCORES)


def again(setup: Setup, number: int) -> Generator[Work, None, pd.DataFrame]:
    """The adapter's rows from other evaluation noise, with the base model's pictures from the same."""
    place, what = setup.plan.folder / f"noise{number}", "other noise"
    base = replace(setup.plan.base, place=place / "base", items=_reseeded(_of_base(setup), number))
    stage = replace(setup.stage, place=place / "stage", items=_reseeded(setup.stage.items, number))
    yield from setup.embed(base, None, what)
    yield from setup.rows(replace(setup.plan, base=base), stage, learned(setup), what)
    return read_scores(stage.place / SCORES)


def _of_base(setup: Setup) -> list[Item]:
    """What the base model draws that the stage is compared with."""
    groups = {item.group for item in setup.stage.items}
    return [item for item in setup.plan.base.items if item.group in groups]


def _reseeded(items: Iterable[Item], number: int) -> tuple[Item, ...]:
    """The same items from other noise; what was paired is paired."""
    return tuple(replace(item, seed=stream(NOISE_ROOT, "eval", "again", number, item.seed)) for item in items)
