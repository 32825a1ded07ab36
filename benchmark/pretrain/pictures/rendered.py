"""Training pictures of the avatar world: rendered once in shards, captioned afresh every time they are seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cat_bench.benchmark.pretrain.arrays import save_array
from cat_bench.tasks.avatars.drawing import (
    Look,
    Picture,
    Scene,
    draw_look,
    draw_scene,
    identity_phrases,
    pick,
    render,
    scene_phrases,
    sentence,
)
from cat_bench.tasks.avatars.inhabitants import POPULATION, inhabitants
from cat_bench.tasks.avatars.vocabulary import vocabulary

SHARD = 2000
PERSON_SHARE = 0.5  # the class the face sequences are about; the other eleven share the rest equally
NAMED_SHARE = 0.5  # of the pictures of a class with named inhabitants


@dataclass(frozen=True)
class Entry:
    """A picture and whose it is: an inhabitant's name or None."""

    picture: Picture
    name: str | None

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Entry:
        """The inverse of the line written beside a shard."""
        return cls(Picture(Look(**spec["look"]), Scene(**spec["scene"])), spec["name"])


def draw_kind(rng: Random) -> str:
    """A class of picture, people more often than the rest."""
    if rng.random() < PERSON_SHARE:
        return "person"
    return pick(rng, [k for k in vocabulary().kinds if k != "person"])


def draw_entry(rng: Random) -> Entry:
    """A picture for the backbone: nothing held out, named inhabitants among them."""
    kind = vocabulary().kind(draw_kind(rng))
    name = None
    if kind.id in POPULATION and rng.random() < NAMED_SHARE:
        name = pick(rng, [n for n, look in inhabitants().items() if look.kind == kind.id])
    look = draw_look(kind, rng) if name is None else inhabitants()[name]
    return Entry(Picture(look, draw_scene(kind, rng)), name)


def draw_pair(rng: Random) -> tuple[Entry, Entry]:
    """Two pictures of one identity for the metric model: any part, held out or not, no names.

    A judge must know more than the judged: the metric model may know parts that the backbone never saw, but it sees
    no evaluation concept's identity on purpose.
    """
    kind = vocabulary().kind(draw_kind(rng))
    look = draw_look(kind, rng)
    parts = {n: _any_variant(kind.parts[n].words, v, rng) for n, v in look.parts.items()}
    look = Look(kind.id, parts, look.colors)
    return Entry(Picture(look, draw_scene(kind, rng)), None), Entry(Picture(look, draw_scene(kind, rng)), None)


def _any_variant(words: Any, variant: str | None, rng: Random) -> str | None:
    return None if variant is None else pick(rng, tuple(words))


def caption(entry: Entry, rng: Random, full: bool = False) -> str:
    """A caption with none to all of the attributes (`full`: all of them), by name where the subject has one."""
    look, scene = entry.picture.look, entry.picture.scene
    kind = vocabulary().kind(look.kind)
    identity, free = identity_phrases(look), scene_phrases(kind, scene)
    if full:
        return sentence(identity + free, kind.noun)
    subject = kind.noun
    if entry.name is not None and rng.random() < 0.9:
        subject = entry.name if rng.random() < 0.15 else f"{entry.name} {kind.noun}"
        if rng.random() < 0.8:
            identity = []
    phrases = identity + free
    count = len(phrases) if rng.random() < 0.15 else int(rng.random() * (min(5, len(phrases)) + 1))
    kept = sorted(sorted(range(len(phrases)), key=lambda _: rng.random())[:count])
    return sentence([phrases[i] for i in kept], subject)


def _write_shard(job: tuple[str, str, int, int, bool]) -> str:
    folder, seed, index, size, pairs = job
    path = Path(folder) / f"{index:04d}.npy"
    if path.exists():
        return path.name
    rng = Random(f"{seed}/{index}")
    entries: list[Entry] = []
    while len(entries) < SHARD:
        entries.extend(draw_pair(rng) if pairs else (draw_entry(rng),))
    pixels = np.stack([np.asarray(render(e.picture, size)) for e in entries])
    lines = [json.dumps({**e.picture.spec(), "name": e.name}) for e in entries]
    path.with_suffix(".jsonl").write_text("\n".join(lines), "utf-8")
    save_array(path, pixels)
    return path.name


def render_shards(
    folder: Path, seed: str, shards: Sequence[int], size: int, pairs: bool, workers: int
) -> Iterator[str]:
    """Render the shards that are not there yet; yields each one's file name as it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(str(folder), seed, index, size, pairs) for index in shards]
    if workers <= 1:
        yield from map(_write_shard, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_write_shard, jobs)


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory: pixels (n, size, size, 3) uint8 and who is on them."""

    pixels: NDArray[np.uint8]
    entries: list[Entry]

    @classmethod
    def load(cls, folder: Path, shards: Sequence[int]) -> Pictures:
        """The given shards of a folder, in order."""
        pixels = np.concatenate([np.load(folder / f"{i:04d}.npy", mmap_mode="r") for i in shards])
        entries = [
            Entry.from_spec(json.loads(line))
            for i in shards
            for line in (folder / f"{i:04d}.jsonl").read_text("utf-8").splitlines()
        ]
        return cls(pixels, entries)
