"""Twins: for each pair of pictures, a third of somebody who differs from its subject in one part or colour only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np

from cat_bench.benchmark.pretrain.arrays import save_array
from cat_bench.benchmark.pretrain.pictures.places import exchange
from cat_bench.benchmark.pretrain.pictures.rendered import Entry
from cat_bench.tasks.avatars.drawing import Picture, draw_scene, pick, render
from cat_bench.tasks.avatars.questions import facts, heads
from cat_bench.tasks.avatars.vocabulary import vocabulary


def twin(picture: Picture, rng: Random) -> Picture:
    """Another identity, one visible part or colour exchanged, in a scene of its own."""
    kind = vocabulary().kind(picture.look.kind)
    shown = facts(picture)
    head = pick(rng, [h for h in heads() if h.about == "identity" and h.name in shown])
    return Picture(exchange(picture, head, rng).look, draw_scene(kind, rng))


def render_twins(folder: Path, pairs: Path, shards: Sequence[int], size: int) -> Iterator[str]:
    """For each shard of pairs one of twins, half as long; yields each one's file name. Those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in shards:
        path = folder / f"{index:04d}.npy"
        if not path.exists():
            rng = Random(f"twins/{index}")
            lines = (pairs / f"{index:04d}.jsonl").read_text("utf-8").splitlines()[0::2]
            pictures = [twin(Entry.from_spec(json.loads(line)).picture, rng) for line in lines]
            pixels = np.stack([np.asarray(render(p, size)) for p in pictures])
            text = "\n".join(json.dumps({**p.spec(), "name": None}) for p in pictures)
            path.with_suffix(".jsonl").write_text(text, "utf-8")
            save_array(path, pixels)
        yield path.name
