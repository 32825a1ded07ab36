"""From pictures to rows: references and texts once a run, embeddings and scores once a stage."""

from __future__ import annotations

import io
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cat_bench.benchmark.planning.engine import Engine
from cat_bench.benchmark.planning.plan import Item, Plan, StagePlan, reference_texts
from cat_bench.benchmark.store.files import read_arrays, read_json, sync, write_arrays, write_bytes, write_json
from cat_bench.benchmark.store.stage import EMBEDDINGS, SCORES
from cat_bench.results.measures.scores import SecondOpinion, score_base, score_real, score_stage
from cat_bench.results.records.long_table import write_scores

REFERENCES = "references"
_RECORD = "references.json"
_BATCH = 32  # pictures embedded at once; fixed, since another batch may round differently

Arrays = dict[str, NDArray[Any]]


def references_ready(plan: Plan) -> bool:
    """Whether the references of this plan are in their place."""
    record = read_json(plan.folder / REFERENCES / _RECORD)
    return record is not None and record["key"] == plan.references_key


def prepare_references(plan: Plan, engine: Engine) -> None:
    """Write the held-out pictures and their embeddings: `<id>` (m, d) and `text/<id>` (prompts, d) of every concept,
    and `dino/<id>` (m, e) where the run has a second opinion.
    """
    place = plan.folder / REFERENCES
    beside = plan.folder / f".{REFERENCES}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    arrays: Arrays = {}
    for concept in plan.sequence.concepts:
        (beside / concept.id).mkdir(parents=True)
        pictures = concept.reference_images(engine.resolution)
        for number, picture in enumerate(pictures):
            write_bytes(beside / concept.id / f"{number:02d}.png", png(picture), durable=False)
        batches = [pictures[i : i + _BATCH] for i in range(0, len(pictures), _BATCH)]
        arrays[concept.id] = np.concatenate([engine.embed(batch) for batch in batches])
        if engine.dino_id is not None:
            arrays[f"dino/{concept.id}"] = np.concatenate([engine.embed_dino(batch) for batch in batches])
        arrays[f"text/{concept.id}"] = engine.embed_texts(reference_texts(concept))
    write_arrays(beside / EMBEDDINGS, arrays)
    write_json(beside / _RECORD, {"key": plan.references_key})
    if place.exists():
        shutil.rmtree(place)
    beside.rename(place)
    sync(plan.folder)


def png(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    """The picture as PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def read_picture(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3); None if there is no whole picture at `path`."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (FileNotFoundError, SyntaxError, ValueError, OSError):
        return None


def sample_and_embed(engine: Engine, plan: Any, stage: StagePlan, folder: Path, adapter: Path | None) -> Iterator[int]:
    """Make the stage's pictures and `embeddings.safetensors` in `folder`; yields how many pictures are there so far.

    Pictures that an earlier try left are read, not made again; work goes on at the first batch that is not whole.
    plan: the cell's, None for the untouched backbone.
    """
    batch, items = engine.batch, stage.items
    found: list[NDArray[np.float32]] = []
    seen: list[NDArray[np.float32]] = []  # by DINO: concepts alone, nothing else is compared with references

    def embed(first: int, pictures: NDArray[np.uint8]) -> None:
        found.append(engine.embed(pictures))
        rows = [row for row in range(len(pictures)) if items[first + row].of_concept]
        if engine.dino_id is not None and rows:
            seen.append(engine.embed_dino(pictures[rows]))

    start = 0
    while start < len(items):
        pictures = [read_picture(folder / item.path) for item in items[start : start + batch]]
        whole = [picture for picture in pictures if picture is not None]
        if len(whole) < len(pictures):
            break
        embed(start, np.stack(whole))
        start += len(pictures)
        yield start
    for place in {(folder / item.path).parent for item in items}:
        place.mkdir(parents=True, exist_ok=True)
    if start < len(items):
        for first, fresh in engine.sample(plan, stage, adapter, start):
            for item, picture in zip(items[first : first + len(fresh)], fresh, strict=True):
                write_bytes(folder / item.path, png(picture), durable=False)
            embed(first, fresh)
            yield first + len(fresh)
    arrays = _grouped(items, np.concatenate(found))
    if seen:
        arrays |= _grouped([item for item in items if item.of_concept], np.concatenate(seen), "dino/")
    write_arrays(folder / EMBEDDINGS, arrays)


def _grouped(items: Sequence[Item], embeddings: NDArray[np.float32], prefix: str = "") -> Arrays:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        rows[item.group].append(number)
    return {f"{prefix}{group}": embeddings[numbers] for group, numbers in rows.items()}


def score(plan: Plan, stage: StagePlan, folder: Path, preservation_images: int) -> None:
    """Write the stage's `scores.parquet` from embeddings alone. For stage 0: floor and ceiling rows."""
    embeddings = read_arrays(folder / EMBEDDINGS)
    known = read_arrays(plan.folder / REFERENCES / EMBEDDINGS)
    ids = [concept.id for concept in plan.sequence.concepts]
    references = {id: known[id] for id in ids}
    texts = {id: known[f"text/{id}"] for id in ids}
    drawn = [concept.id for concept in (*stage.earlier, stage.concept) if concept] or ids
    concepts = _named(embeddings, "concept", drawn)
    seen = _named(embeddings, "dino/concept", drawn) if plan.dino else {}
    second = SecondOpinion(plan.dino, _named(known, "dino", ids), seen) if plan.dino else None
    strata = list(plan.sequence.preservation)
    preservation = _named(embeddings, "preservation", strata)
    if stage.cell is None:
        import pandas as pd

        floor = score_base(
            *(plan.sequence.id, concepts, references, texts, preservation),
            extractor=plan.extractor,
            preservation_images=preservation_images,
            second=second,
        )
        ceiling = score_real(plan.sequence.id, references, tuple(strata), extractor=plan.extractor, second=second)
        table = pd.concat([floor, ceiling], ignore_index=True)
    else:
        base = _named(read_arrays(plan.base.place / EMBEDDINGS), "preservation", strata)
        table = score_stage(
            *({**stage.labels, "sequence": plan.sequence.id}, stage.number, concepts, references, texts),
            *(preservation, base),
            extractor=plan.extractor,
            preservation_images=preservation_images,
            second=second,
        )
    write_scores(table, folder / SCORES)


def _named(arrays: Mapping[str, NDArray[Any]], kind: str, names: list[str]) -> Arrays:
    return {name: arrays[f"{kind}/{name}"] for name in names}
