"""Make one stage: take what other stages hold already, compute the rest, put it in its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.engine import Engine
from cat_bench.benchmark.planning.keys import ADAPTER, EMBEDDINGS, IMAGES, SCORES
from cat_bench.benchmark.planning.plan import BASE, CellPlan, Plan, StagePlan
from cat_bench.benchmark.store.library import Library
from cat_bench.benchmark.store.stage import Workplace, whole
from cat_bench.benchmark.system import provenance
from cat_bench.benchmark.text_to_image.scoring import sample_and_embed, score

SCHEMA_VERSION = 1
_FACTS = ("trainable_parameters", "bytes_carried", "delta_norm", "change_norm")


def ready(stage: StagePlan) -> bool:
    """Whether the stage is in its place with all that is wanted of it."""
    record = whole(stage.place) if stage.place.is_dir() else None
    return record is not None and all(record.get(part) == key for part, key in asdict(stage.keys).items())


@dataclass(frozen=True)
class Work:
    """What every stage of a run is made from."""

    plan: Plan
    engine: Engine
    library: Library


def make_stage(work: Work, cell: CellPlan | None, stage: StagePlan, index: int = 0) -> Iterator[events.Event]:
    """Put the stage in its place, whatever is there now; yields what happens.

    cell: None for the untouched backbone; index: the cell's number in the run, from 1.
    """
    number, concept = stage.number, stage.concept.id if stage.concept else BASE
    of = cell.cell if cell else None
    if ready(stage):
        yield events.StageEnded(of, number, concept, "ready", 0.0)
        return
    began = time.monotonic()
    yield events.StageBegun(of, number, len(cell.stages) if cell else 1, concept, index, len(work.plan.cells))
    place = Workplace(stage.place, stage.keys)
    if not place.complete:
        place.open()
        yield from _learn(work, cell, stage, place)
        yield from _sample(work, cell, stage, place)
        _score(work, stage, place)
        place.publish(_record(work.plan, cell, stage, place))
    made: events.Origin = "made" if "computed" in place.notes else "shared"
    if stage.place.exists():
        work.library.clear(stage.place, stage.keys)
    place.move()
    if (record := whole(stage.place)) is not None:
        work.library.add(stage.place, record)
    yield events.StageEnded(of, number, concept, made, time.monotonic() - began)


def _learn(work: Work, cell: CellPlan | None, stage: StagePlan, place: Workplace) -> Iterator[events.Event]:
    """The adapter, from a stage that holds it or by training; stage 0 has none."""
    provenance.reset_peak_memory()
    if cell is None or (place.has(ADAPTER) and "train_seconds" in place.notes):
        return
    if donor := _take(work.library, place, "key", ADAPTER):
        facts = {fact: donor.get(fact) for fact in _FACTS}
        seconds, peak = donor["seconds"]["train"], donor.get("peak_memory_bytes")
        made = donor.get("made", {}).get("train")
        place.note(**facts, train_seconds=seconds, train_peak=peak, train_shared=True, train_made=made)
        return
    began = time.monotonic()
    facts = yield from work.engine.learn(cell, stage, place.folder / ADAPTER)
    seconds, peak = time.monotonic() - began, provenance.peak_memory()
    place.note(**facts, train_seconds=seconds, train_peak=peak, train_made=_made_with(work), computed=True)


def _sample(work: Work, cell: CellPlan | None, stage: StagePlan, place: Workplace) -> Iterator[events.Event]:
    """Images and their embeddings, from a stage that holds them or by sampling."""
    if place.has(EMBEDDINGS):
        return
    if donor := _take(work.library, place, "embeddings_key", IMAGES, EMBEDDINGS):
        made = donor.get("made", {}).get("sample")
        place.note(sample_seconds=donor["seconds"]["sample"], sample_shared=True, sample_made=made)
        return
    donor = _take(work.library, place, "samples_key", IMAGES)
    before = donor["seconds"]["sample"] if donor else place.notes.get("sample_seconds", 0.0)
    place.note(sample_made=donor.get("made", {}).get("sample") if donor else _made_with(work))
    began = time.monotonic()
    roles = tuple(work.plan.identity.extractors)
    adapter = place.folder / ADAPTER if cell else None
    for done in sample_and_embed(work.engine, roles, cell, stage, place.folder, adapter):
        place.note(sample_seconds=before + time.monotonic() - began, computed=True)
        yield events.Sampling(done, len(stage.items))


def _made_with(work: Work) -> dict[str, Any]:
    return provenance.made_with(str(work.plan.identity.how.get("device")))


def _score(work: Work, stage: StagePlan, place: Workplace) -> None:
    """The stage's rows of the long table, from a stage that holds them or from the embeddings."""
    if donor := _take(work.library, place, "scores_key", SCORES):
        place.note(score_seconds=donor["seconds"]["score"])
        return
    began = time.monotonic()
    score(work.engine, work.plan, stage, place.folder)
    place.note(score_seconds=time.monotonic() - began)


def _take(library: Library, place: Workplace, field: str, *parts: str) -> dict[str, Any] | None:
    """Have the parts from a stage that holds them; its record, or None if no stage does."""
    found = library.find(field, getattr(place.keys, field))
    if found is None:
        return None
    try:
        for part in parts:
            place.take(found[0], part)
    except FileNotFoundError:  # another process replaced the donor meanwhile
        return None
    return found[1] if library.find(field, getattr(place.keys, field)) == found else None


def _record(plan: Plan, cell: CellPlan | None, stage: StagePlan, place: Workplace) -> dict[str, Any]:
    notes = place.notes
    return {
        "schema_version": SCHEMA_VERSION,
        **asdict(stage.keys),
        **stage.labels,
        "sequence": plan.sequence.id,
        "stage": stage.number,
        "concept": stage.concept.id if stage.concept else None,
        "status": "ok",
        "seconds": {part: notes.get(f"{part}_seconds", 0.0) for part in ("train", "sample", "score")},
        # What this stage shares with another was computed once; the seconds above are what it costs standing alone.
        "shared": {part: bool(notes.get(f"{part}_shared")) for part in ("train", "sample")},
        "peak_memory_bytes": notes.get("train_peak") or provenance.peak_memory(),
        **{fact: notes.get(fact) for fact in _FACTS},
        "config": cell.config.model_dump(mode="json") if cell else {},
        "protocol": plan.protocol,
        "versions": provenance.versions(),
        # Which versions and GPU made a part, wherever it was made first.
        "made": {part: notes[f"{part}_made"] for part in ("train", "sample") if notes.get(f"{part}_made")},
        "written": provenance.now(),
    }
