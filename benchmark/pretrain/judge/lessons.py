"""Batches for the metric model: an individual twice, its twin or a stranger, and one of the three damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from cat_bench.benchmark.pretrain.arrays import save_array
from cat_bench.benchmark.pretrain.judge.geometry import Geometry
from cat_bench.benchmark.pretrain.judge.readings import Answers, answers, readable, seen
from cat_bench.benchmark.pretrain.pictures.damage import DAMAGES, Damaged, damage
from cat_bench.benchmark.pretrain.pictures.rendered import Entry, Pictures, caption
from cat_bench.benchmark.pretrain.team import leads, wait_for_all

INDIVIDUALS = 40  # a batch; four pictures each
FULL_CAPTIONS = 0.6
SPOILED = 0.2  # of the first, second and twin pictures, where the damage is mild
MILD = 0.25  # share lost
SHIFT = 2  # pixels, up and down and to the sides: what is learned by heart from fixed places does not carry over
OTHER_CLASS = 0.25  # weight of a cosine between pictures of two classes


@dataclass(frozen=True)
class Lesson:
    """A batch of 4n pictures: n firsts, n seconds (the same individuals), n others, n damaged of all these.

    The others of the first half are twins, the rest strangers of the class; in that half classes are equally frequent.
    """

    pixels: NDArray[np.uint8]  # (4n, 64, 64, 3)
    texts: list[str]  # n: of the half of the firsts that has twins, and of these
    vectors: torch.Tensor  # (4n, width): their products are the wanted cosines
    weights: torch.Tensor  # (4n, 4n) of the cosines
    readings: torch.Tensor  # (4n, heads): what the part reader should say, −1: anything

    def to(self, device: str) -> Lesson:
        """The same on another device; pixels and texts stay."""
        moved = {name: getattr(self, name).to(device) for name in ("vectors", "weights", "readings")}
        return replace(self, **moved)


class Lessons:
    """All pictures with their answers, to draw batches from."""

    def __init__(self, pairs: Path, twins: Path, shards: Sequence[int]) -> None:
        """Shards of pairs, and of twins the same ones as far as they have been drawn."""
        drawn = [index for index in shards if (twins / f"{index:04d}.npy").exists()]
        order = [*drawn, *(index for index in shards if index not in drawn)]
        first, third = Pictures.load(pairs, order), Pictures.load(twins, drawn)
        self.pixels, self.entries, self.answers = first.pixels, first.entries, _answers(pairs, order)
        kinds = self.answers[::2, 0]
        self.by_class = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
        self.twins, self.twin_entries, self.twin_answers = third.pixels, third.entries, _answers(twins, drawn)

    def draw(self, seed: int, geometry: Geometry) -> Lesson:
        """The batch of this seed."""
        rng, words = np.random.default_rng(seed), Random(seed)
        half = INDIVIDUALS // 2
        classes = rng.integers(len(self.by_class), size=INDIVIDUALS - half)
        pair = np.array([*rng.integers(len(self.twins), size=half), *(rng.choice(self.by_class[c]) for c in classes)])
        swap = rng.integers(2, size=INDIVIDUALS)
        first, second = 2 * pair + swap, 2 * pair + 1 - swap
        twins, strangers = pair[:half], [2 * rng.choice(self.by_class[c]) for c in classes]
        rows = [*first, *second]
        pixels = np.concatenate([self.pixels[rows], self.twins[twins], self.pixels[strangers]])
        entries = [self.entries[i] for i in rows]
        entries += [self.twin_entries[i] for i in twins] + [self.entries[i] for i in strangers]
        true = np.concatenate([self.answers[rows], self.twin_answers[twins], self.answers[strangers]])
        mirrored = rng.random(len(pixels)) < 0.5
        pixels[mirrored] = pixels[mirrored, :, ::-1]
        pixels = _shifted(pixels, rng)
        flips = [e.picture.scene.flip != bool(m) for e, m in zip(entries, mirrored, strict=True)]
        texts = [caption(e, words, full=words.random() < FULL_CAPTIONS) for e in _captioned(entries)]
        source = np.arange(INDIVIDUALS) + INDIVIDUALS * rng.integers(3, size=INDIVIDUALS)
        pixels, true = np.concatenate([pixels, pixels[source]]), np.concatenate([true, true[source]])
        entries, flips = entries + [entries[i] for i in source], flips + [flips[i] for i in source]
        kinds, lost, readings = np.zeros(len(pixels), np.int64), np.zeros(len(pixels), np.float32), true.copy()
        spoiled = [*np.nonzero(rng.random(3 * INDIVIDUALS) < SPOILED)[0], *range(3 * INDIVIDUALS, 4 * INDIVIDUALS)]
        for i in spoiled:
            found = self._damage(pixels[i], entries[i], flips[i], rng)
            if i < 3 * INDIVIDUALS and found.lost > MILD:
                continue
            pixels[i], lost[i], kinds[i] = found.pixels, found.lost, DAMAGES.index(found.kind)
            readings[i], true[i] = readable(true[i], found), seen(true[i], found.gone)
        known = torch.from_numpy(true.astype(np.int64))
        vectors = geometry.vectors(known, torch.from_numpy(lost), torch.from_numpy(kinds))
        same = known[:, None, 0] == known[None, :, 0]
        weights = torch.where(same, 1.0, OTHER_CLASS)
        return Lesson(pixels, texts, vectors, weights, torch.from_numpy(readings.astype(np.int64)))

    def _damage(self, pixels: NDArray[np.uint8], entry: Entry, flip: bool, rng: np.random.Generator) -> Damaged:
        other = self.pixels[rng.integers(len(self.pixels))]
        return damage(pixels, entry.picture.look.kind, flip, other, rng)


def _shifted(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    size = pixels.shape[1]
    wide = np.pad(pixels, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    corners = rng.integers(2 * SHIFT + 1, size=(len(pixels), 2))
    return np.stack([picture[y : y + size, x : x + size] for picture, (y, x) in zip(wide, corners, strict=True)])


def _captioned(entries: list[Entry]) -> list[Entry]:
    half = INDIVIDUALS // 2
    return entries[:half] + entries[2 * INDIVIDUALS : 2 * INDIVIDUALS + half]


def _answers(folder: Path, shards: Sequence[int]) -> Answers:
    """(n, heads) of all pictures of the shards; found once, then kept beside them."""
    paths = [folder / f"{index:04d}.answers.npy" for index in shards]
    for path, index in zip(paths, shards, strict=True):
        if leads() and not path.exists():
            lines = (folder / f"{index:04d}.jsonl").read_text("utf-8").splitlines()
            save_array(path, np.stack([answers(Entry.from_spec(json.loads(line)).picture) for line in lines]))
    wait_for_all()
    return np.concatenate([np.load(path) for path in paths])
