"""Make one stage: take what other stages hold already, compute the rest, put it in its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.engine import Engine
from cat_bench.benchmark.planning.plan import BASE, CellPlan, Plan, StagePlan
from cat_bench.benchmark.planning.spec import RunSpec
from cat_bench.benchmark.store.library import Library
from cat_bench.benchmark.store.stage import ADAPTER, EMBEDDINGS, IMAGES, SCORES, Workplace, whole
from cat_bench.benchmark.system import provenance
from cat_bench.benchmark.text_to_image.scoring import sample_and_embed, score

SCHEMA_VERSION = 1
_FACTS = ("trainable_parameters", "bytes_carried", "delta_norm")


def ready(stage: StagePlan) -> bool:
    """Whether the stage is in its place with all that is wanted of it."""
    record = whole(stage.place) if stage.place.is_dir() else None
    return record is not None and all(record.get(part) == key for part, key in asdict(stage.keys).items())


def make_stage(
    plan: Plan, cell: CellPlan | None, stage: StagePlan, spec: RunSpec, engine: Engine, library: Library, index: int
) -> Iterator[events.Event]:
    """Put the stage in its place, whatever is there now; yields what happens. cell None: the untouched backbone."""
    named = (cell.cell if cell else None, stage.number, stage.concept.id if stage.concept else BASE)
    if ready(stage):
        yield events.StageEnded(*named, "ready", 0.0)
        return
    began = time.monotonic()
    count = len(cell.stages) if cell else 1
    yield events.StageBegun(*named[:2], count, named[2], index, len(plan.cells))
    work = Workplace(stage.place, stage.keys)
    if not work.complete:
        work.open()
        yield from _fill(plan, cell, stage, spec, engine, library, work)
        work.publish(_record(plan, cell, stage, work))
    made: events.Origin = "made" if "computed" in work.notes else "shared"
    if stage.place.exists():
        library.clear(stage.place, stage.keys)
    work.move()
    if (record := whole(stage.place)) is not None:
        library.add(stage.place, record)
    yield events.StageEnded(*named, made, time.monotonic() - began)


def _fill(
    plan: Plan,
    cell: CellPlan | None,
    stage: StagePlan,
    spec: RunSpec,
    engine: Engine,
    library: Library,
    work: Workplace,
) -> Iterator[events.Event]:
    adapter = work.folder / ADAPTER if cell else None
    provenance.reset_peak_memory()
    if cell and adapter and not (work.has(ADAPTER) and "train_seconds" in work.notes):
        if donor := _take(library, work, "key", ADAPTER):
            facts = {fact: donor.get(fact) for fact in _FACTS}
            peak = donor.get("peak_memory_bytes")
            work.note(**facts, train_seconds=donor["seconds"]["train"], train_peak=peak, train_shared=True)
        else:
            began = time.monotonic()
            facts = yield from engine.learn(cell, stage, adapter)
            peak = provenance.peak_memory()
            work.note(**facts, train_seconds=time.monotonic() - began, train_peak=peak, computed=True)
    if not work.has(EMBEDDINGS):
        if donor := _take(library, work, "embeddings_key", IMAGES, EMBEDDINGS):
            work.note(sample_seconds=donor["seconds"]["sample"], sample_shared=True)
        else:
            donor = _take(library, work, "samples_key", IMAGES)
            before = donor["seconds"]["sample"] if donor else work.notes.get("sample_seconds", 0.0)
            began = time.monotonic()
            for done in sample_and_embed(engine, cell, stage, work.folder, adapter):
                work.note(sample_seconds=before + time.monotonic() - began, computed=True)
                yield events.Sampling(done, len(stage.items))
    began = time.monotonic()
    if donor := _take(library, work, "scores_key", SCORES):
        work.note(score_seconds=donor["seconds"]["score"])
    else:
        score(plan, stage, work.folder, spec.preservation_images)
        work.note(score_seconds=time.monotonic() - began)


def _take(library: Library, work: Workplace, field: str, *parts: str) -> dict[str, Any] | None:
    """Have the parts from a stage that holds them; its record, or None if no stage does."""
    found = library.find(field, getattr(work.keys, field))
    if found is None:
        return None
    try:
        for part in parts:
            work.take(found[0], part)
    except FileNotFoundError:  # another process replaced the donor meanwhile
        return None
    return found[1] if library.find(field, getattr(work.keys, field)) == found else None


def _record(plan: Plan, cell: CellPlan | None, stage: StagePlan, work: Workplace) -> dict[str, Any]:
    notes = work.notes
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
        "written": provenance.now(),
    }
