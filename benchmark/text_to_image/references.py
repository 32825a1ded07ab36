"""What a run's images are compared with, embedded once a run: each concept's pictures, held out or not, and texts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from cat_bench.benchmark.planning.engine import Engine
from cat_bench.benchmark.planning.identity import CLIP
from cat_bench.benchmark.planning.items import reference_texts
from cat_bench.benchmark.planning.keys import EMBEDDINGS, IMAGES
from cat_bench.benchmark.planning.plan import Plan
from cat_bench.benchmark.store.files import (
    Arrays,
    png,
    read_arrays,
    read_json,
    sync,
    sync_all,
    write_arrays,
    write_bytes,
    write_json,
)
from cat_bench.benchmark.text_to_image.classes import choices
from cat_bench.results.records.images import REFERENCE, Row, write_images
from cat_bench.tasks.avatars.concept import AvatarConcept

REFERENCES = "references"
_RECORD = "references.json"
_BATCH = 32  # pictures embedded at once; fixed, since another batch may round differently


def references_ready(plan: Plan) -> bool:
    """Whether the references of this plan are in their place."""
    record = read_json(plan.folder / REFERENCES / _RECORD)
    return record is not None and record["key"] == plan.references_key


def prepare_references(plan: Plan, engine: Engine, folder: Path) -> None:
    """Write into `folder` the held-out pictures and their embeddings: `<id>` (m, d), `train/<id>` (k, d) of the
    pictures that are learned from and `text/<id>` (prompts, d) of every concept; by each further model `<role>/<id>`
    (m, e). Besides `class/<noun>` (m, d) of the world's pictures of a class, and `nouns/<choice>` (k, d) of texts that
    name classes.
    """
    arrays: Arrays = {}
    rows: list[Row] = []
    pngs: list[bytes] = []
    for concept in plan.sequence.concepts:
        pictures = concept.reference_images(plan.identity.resolution)
        for number, picture in enumerate(pictures):
            rows.append(Row(f"{concept.id}/{number:02d}.png", REFERENCE, concept.id, None, number, None, None))
            pngs.append(png(picture))
        for role in plan.identity.extractors:
            arrays[f"{prefix(role)}{concept.id}"] = _embedded(engine, role, pictures)
        arrays[f"train/{concept.id}"] = _embedded(engine, CLIP, concept.train_images(plan.identity.resolution))
        arrays[f"text/{concept.id}"] = engine.embed_texts(reference_texts(concept))
        if isinstance(concept, AvatarConcept) and f"class/{concept.noun}" not in arrays:
            pictures = concept.class_images(plan.identity.resolution)
            arrays[f"class/{concept.noun}"] = _embedded(engine, CLIP, pictures)
    for choice in {choice.name: choice for choice in choices(plan.sequence).values()}.values():
        arrays[f"nouns/{choice.name}"] = engine.embed_texts(choice.texts)
    folder.mkdir(parents=True)
    write_images(folder / IMAGES, rows, pngs)
    write_arrays(folder / EMBEDDINGS, arrays)
    write_json(folder / _RECORD, {"key": plan.references_key})


def place_references(plan: Plan, files: Mapping[str, bytes]) -> None:
    """Put what was prepared in a folder elsewhere, by path in that folder, into this run's."""
    place = plan.folder / REFERENCES
    beside = plan.folder / f".{REFERENCES}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    for name, content in files.items():
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(beside / name, content, durable=False)
    sync_all(beside / name for name in files)
    if place.exists():
        shutil.rmtree(place)
    beside.rename(place)
    sync(plan.folder)


def _embedded(engine: Engine, role: str, pictures: Sequence[Image]) -> NDArray[np.float32]:
    parts = (pictures[i : i + _BATCH] for i in range(0, len(pictures), _BATCH))
    return np.concatenate([engine.embed(role, part) for part in parts])


def read_references(plan: Plan) -> Arrays:
    """The embeddings that `prepare_references` wrote."""
    return read_arrays(plan.folder / REFERENCES / EMBEDDINGS)


def prefix(role: str) -> str:
    """What stands before the names of a role's embeddings: the main model's have no prefix."""
    return "" if role == CLIP else f"{role}/"


def named(arrays: Mapping[str, NDArray[Any]], kind: str, names: list[str]) -> Arrays:
    """Those arrays that are called `kind/name`, by name."""
    return {name: arrays[f"{kind}/{name}"] for name in names}
