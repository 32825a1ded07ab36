"""A synthetic run folder: five concepts, methods that learn and forget in known ways, pictures, one failed cell."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from cat_bench.results.records.images import CONCEPT, FILE, REFERENCE, Row, write_images
from cat_bench.results.records.long_table import write_scores
from cat_bench.results.scoring.scores import (
    Known,
    SecondOpinion,
    score_base,
    score_other_noise,
    score_real,
    score_stage,
)

CONCEPTS = ("marivi", "tolbek", "sanora", "quenlo", "brisat")
# what of a concept is drawn right after learning it, what is lost with each later concept, what the base loses a stage
BEHAVIOUR = {
    "lora": (0.95, 0.30, 0.10),
    "cat": (0.90, 0.22, 0.02),
    "merge": (0.90, 0.15, 0.08),
    "ortho": (0.92, 0.12, 0.07),
    "magmax": (0.80, 0.06, 0.05),
    "clora": (0.60, 0.03, 0.03),
}
STRATA = ("class", "other", "unknown", "named")
RUN = {"sequence": "faces5", "backbone": "avatars64.v2", "protocol": "p" * 64}
SIZE, WIDTH, PROMPTS, IMAGES, REFERENCES, KEPT = 16, 32, 3, 2, 6, 4


def draws(*axes: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(axes).encode()).digest()[:8], "big"))


def near(center: np.ndarray, n: int, noise: float, *axes: object) -> np.ndarray:
    return (center + noise * draws(*axes).normal(size=(n, len(center))) / np.sqrt(len(center))).astype(np.float32)


def draw(hue: float, strength: float, *axes: object) -> bytes:
    """A face-like blob: its colour is the concept, its paleness what was forgotten."""
    rgb = [int(255 * (0.5 + 0.5 * strength * np.cos(2 * np.pi * (hue + k / 3)))) for k in range(3)]
    shift = int(draws("shift", *axes).integers(-2, 3))
    picture = Image.new("RGB", (SIZE, SIZE), (225, 225, 235))
    ImageDraw.Draw(picture).ellipse((3 + shift, 2, SIZE - 4 + shift, SIZE - 3), fill=tuple(rgb))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, kind: str, pngs: dict[str, bytes]) -> None:
    """One picture of each concept."""
    prompt, name = (None, "00.png") if kind == REFERENCE else (0, "00-0.png")
    rows = [Row(f"{concept}/{name}", kind, concept, prompt, 0, None, None) for concept in pngs]
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / FILE, rows, pngs.values())


class World:
    """Embeddings of the synthetic concepts: what the metric model would have said."""

    def __init__(self, concepts: Sequence[str]) -> None:
        self.concepts = tuple(concepts)
        common = draws("common").normal(size=WIDTH)
        common /= np.linalg.norm(common)
        self.base = common
        self.center = {c: 1.5 * common + draws("center", c).normal(size=WIDTH) / np.sqrt(WIDTH) for c in concepts}
        self.references = {c: near(self.center[c], REFERENCES, 0.5, "reference", c) for c in concepts}
        self.texts = {c: near(common, PROMPTS, 1.0, "text", c) for c in concepts}
        self.kept = {s: near(draws("s", s).normal(size=WIDTH) / 3, KEPT, 1.0, "kept", s) for s in STRATA}

    def drawn(self, concept: str, strength: float, *axes: object) -> np.ndarray:
        center = strength * self.center[concept] + (1 - strength) * self.base
        return near(center, PROMPTS * IMAGES, 0.6, "drawn", concept, *axes)

    def known(self, dino: bool, generated: dict[str, np.ndarray] | None = None) -> Known:
        """What pictures are compared with; a second model sees the same, if it is wanted."""
        second = SecondOpinion("owner/dino", self.references, generated or {}) if dino else None
        training = {c: near(self.center[c], REFERENCES, 0.5, "training", c) for c in self.concepts}
        return Known(self.references, training, {c: near(self.base, 4, 0.3, "stranger") for c in self.concepts}, second)

    def adapted(self, loss: float, *axes: object) -> dict[str, np.ndarray]:
        return {s: x + near(np.zeros(WIDTH), KEPT, 4 * loss, "adapted", s, *axes) for s, x in self.kept.items()}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


def write_stage(
    folder: Path, world: World, cell: dict[str, Any], t: int, order: Sequence[str], pictures: bool, dino: bool
) -> None:
    peak, decay, loss = BEHAVIOUR.get(cell["method"], (0.85, 0.1, 0.05))
    axes = (cell["method"], cell["order"], cell["seed"], t)
    strength = {c: peak * (1 - decay) ** (t - k) if k <= t else 0.0 for k, c in enumerate(order, start=1)}
    place = folder / cell["method"] / f"order{cell['order']}-seed{cell['seed']}" / f"{t:02d}-{order[t - 1]}"
    place.mkdir(parents=True)
    generated = {c: world.drawn(c, strength[c], *axes) for c in order[:t]}
    kept = world.adapted(loss * t, *axes)
    known = world.known(dino, generated)
    table = score_stage(cell, t, generated, known, world.texts, kept, world.kept, extractor="eye")
    write_scores(table, place / "scores.parquet")
    hues = {concept: k / len(world.concepts) for k, concept in enumerate(world.concepts)}
    if pictures:
        drawn = {c: draw(hues[c], strength[c], *axes, k) for k, c in enumerate(order[:t])}
        write_pictures(place, CONCEPT, drawn)
    info = {"schema_version": 1, **cell, "stage": t, "concept": order[t - 1], "status": "ok"}
    info |= {"seconds": {"train": 9.5 + 0.1 * t, "sample": 8.0, "score": 0.5}, "peak_memory_bytes": 1_400_000_000}
    info |= {
        "trainable_parameters": 250_000,
        "bytes_carried": 1_000_000 * t,
        "delta_norm": 1.5 * t,
        "change_norm": 1.5,
        "key": f"k{t}",
    }
    info |= {"made": {part: {"torch": "2.14.1", "gpu": None} for part in ("train", "sample")}}
    write_json(place / "stage.json", info)


def write_run(
    folder: Path,
    methods: Sequence[str] = tuple(BEHAVIOUR),
    concepts: Sequence[str] = CONCEPTS,
    seeds: Sequence[int] = (0,),
    orders: Sequence[int] = (0,),
    failed: Sequence[tuple[str, int, int, str, str]] = (),
    pictures: bool = True,
    dino: bool = False,
) -> Path:
    """Writes a run as the hub does. failed: (method, order, seed, status, reason) of cells that end after stage 1."""
    world = World(concepts)
    spec = {"sequence": "faces5", "backbone": "avatars64.v2", "methods": list(methods), "seeds": list(seeds)}
    spec |= {"orders": list(orders), "sampler": {"name": "dpm++", "steps": 20, "guidance": 4.0}}
    provenance = {"spec_hash": "0" * 64, "versions": {"torch": "2.14.1"}, "git": {"commit": "abc123", "dirty": False}}
    write_json(folder / "run.json", {"spec": spec, **provenance, "device": "cpu", "started": "2026-01-02T03:04:05Z"})
    floor = {c: world.drawn(c, 0.0, "base") for c in concepts}
    base = score_base(RUN, floor, world.known(dino, floor), world.texts, world.kept, extractor="eye")
    real = score_real(RUN, world.known(dino), STRATA, extractor="eye")
    noise = score_other_noise(RUN, world.kept, world.adapted(0.05, "other noise"), extractor="eye")
    (folder / "base").mkdir(parents=True)
    write_scores(pd.concat([base, noise, real]), folder / "base" / "scores.parquet")
    write_json(folder / "base" / "stage.json", {"stage": 0, "seconds": {"sample": 21.0, "score": 1.0}})
    if pictures:
        seen = {c: draw(k / len(concepts), 1.0, "reference", c) for k, c in enumerate(concepts)}
        write_pictures(folder / "base", CONCEPT, {c: draw(0.0, 0.1, "base", c) for c in concepts})
        write_pictures(folder / "references", REFERENCE, seen)
    trouble = {(m, o, s): (status, reason) for m, o, s, status, reason in failed}
    for method in methods:
        for order in orders:
            for seed in seeds:
                turn = list(concepts) if order == 0 else list(draws("order", order).permutation(list(concepts)))
                status, reason = trouble.get((method, order, seed), ("ok", None))
                cell = {**RUN, "method": method, "order": order, "seed": seed}
                for t in range(1, len(concepts) + 1 if status == "ok" else 2):
                    write_stage(folder, world, cell, t, turn, pictures, dino)
                place = folder / method / f"order{order}-seed{seed}"
                write_json(place / "cell.json", {"status": status, "reason": reason})
    return folder


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a synthetic run with the given differences into a new folder."""
    return lambda **changes: write_run(tmp_path_factory.mktemp("runs") / "faces5", **changes)


@pytest.fixture(scope="session")
def small_run(make_run: Callable[..., Path]) -> Path:
    """Two methods, three concepts, two seeds; one cell of the second ran out of memory. Read only."""
    failed = [("cat", 0, 1, "oom", "out of memory at step 12")]
    return make_run(methods=("lora", "cat"), concepts=CONCEPTS[:3], seeds=(0, 1), failed=failed)
