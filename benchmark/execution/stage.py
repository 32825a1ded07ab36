"""A stage, made: what other stages hold already is taken, a worker makes the rest, the whole goes to its place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cat_bench.benchmark.execution.workers.executor import Files, Task
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.engine import Reader
from cat_bench.benchmark.planning.keys import ADAPTER, EMBEDDINGS, IMAGES, SCORES
from cat_bench.benchmark.planning.plan import CellPlan, Plan, StagePlan
from cat_bench.benchmark.store.files import write_arrays, write_bytes
from cat_bench.benchmark.store.images import LOOSE, loose, pack, take_some
from cat_bench.benchmark.store.library import Library
from cat_bench.benchmark.store.stage import Workplace, whole, workplace
from cat_bench.benchmark.system import provenance
from cat_bench.benchmark.text_to_image.scoring import score

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
    library: Library
    reader: Reader | None


class Making:
    """A stage on its way to its place: what other stages hold is taken, the rest is made by a worker."""

    def __init__(self, work: Work, cell: CellPlan | None, stage: StagePlan) -> None:
        """cell: None for the untouched backbone."""
        self.work, self.cell, self.stage = work, cell, stage
        self.place = Workplace(stage.place, stage.keys)
        self.began = time.monotonic()

    def begin(self) -> Task | None:
        """Take what is there; the task that makes the rest but the scores, or None if nothing is left to make."""
        place = self.place
        if place.complete:
            return None
        place.open()
        self._take_adapter()
        self._take_pictures()
        learned = self.cell is None or self._learned
        if learned and place.has(EMBEDDINGS):
            return None
        files = {path: content for path, content in self._there() if path != ADAPTER or self._learned}
        return Task(
            stage=self.stage,
            cell=replace(self.cell, stages=()) if self.cell else None,
            previous=None if learned or self.stage.previous is None else _adapter(self.stage.previous),
            files=files,
            seconds=place.notes.get("sample_seconds", 0.0),
        )

    def keep(self, made: Files) -> None:
        """Put files that a worker made in the stage's folder; once it is embedded, all its images are there."""
        if EMBEDDINGS in made.files and self.stage.items:
            pack(self.place.folder, self.stage.items)
        for name, content in made.files.items():
            if picture := name.startswith(f"{LOOSE}/"):
                (self.place.folder / IMAGES).unlink(missing_ok=True)  # it was damaged, or it would not be made again
            (self.place.folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.place.folder / name, content, durable=not picture)
        self.place.note(**made.facts)

    def finish(self) -> events.Origin:
        """Score the stage and move it to its place; everything else of it is there."""
        place, library = self.place, self.work.library
        if not place.complete:
            self._score()
            place.publish(self._record())
        made: events.Origin = "made" if "computed" in place.notes else "shared"
        if self.stage.place.exists():
            library.clear(self.stage.place, self.stage.keys)
        place.move()
        if (record := whole(self.stage.place)) is not None:
            library.add(self.stage.place, record)
        return made

    @property
    def seconds(self) -> float:
        """Since the stage was taken up."""
        return time.monotonic() - self.began

    @property
    def _learned(self) -> bool:
        return self.place.has(ADAPTER) and "train_seconds" in self.place.notes

    def _there(self) -> Iterator[tuple[str, bytes]]:
        for name in (ADAPTER, IMAGES, *map(loose, self.stage.items)):
            if (self.place.folder / name).is_file():
                yield name, (self.place.folder / name).read_bytes()

    def _take_adapter(self) -> None:
        """The adapter, from a stage that holds it; stage 0 has none."""
        if self.cell is None or self._learned:
            return
        if donor := self._take("key", ADAPTER):
            facts = {fact: donor.get(fact) for fact in _FACTS}
            seconds, peak = donor["seconds"]["train"], donor.get("peak_memory_bytes")
            made = donor.get("made", {}).get("train")
            self.place.note(**facts, train_seconds=seconds, train_peak=peak, train_shared=True, train_made=made)

    def _take_pictures(self) -> None:
        """Images and their embeddings, or images alone, from a stage that holds them."""
        place = self.place
        if place.has(EMBEDDINGS):
            return
        if not self.stage.items:
            write_arrays(place.folder / EMBEDDINGS, {})
            return
        if donor := self._take("embeddings_key", IMAGES, EMBEDDINGS):
            made = donor.get("made", {}).get("sample")
            place.note(sample_seconds=donor["seconds"]["sample"], sample_shared=True, sample_made=made)
        elif donor := self._take("samples_key", IMAGES):
            place.note(sample_seconds=donor["seconds"]["sample"], sample_made=donor.get("made", {}).get("sample"))
        if place.has(IMAGES):
            pack(place.folder, self.stage.items)  # an earlier try may have left some
        else:
            self._take_some_pictures()

    def _take_some_pictures(self) -> None:
        """Those images that a stage holds which was sampled under another choice of `stages`."""
        for key, count in self.stage.others.items():
            if found := self.work.library.find("samples_key", key):
                donor, record = found
                if taken := take_some(donor, self.place.folder, self.stage.items):
                    share = record["seconds"]["sample"] * taken / count
                    self.place.note(sample_seconds=share, sample_made=record.get("made", {}).get("sample"))
                return

    def _score(self) -> None:
        """The stage's rows of the long table, from a stage that holds them or from the embeddings."""
        if donor := self._take("scores_key", SCORES):
            self.place.note(score_seconds=donor["seconds"]["score"])
            return
        began = time.monotonic()
        score(self.work.reader, self.work.plan, self.stage, self.place.folder)
        self.place.note(score_seconds=time.monotonic() - began)

    def _take(self, field: str, *parts: str) -> dict[str, Any] | None:
        """Have the parts from a stage that holds them; its record, or None if no stage does."""
        library, key = self.work.library, getattr(self.place.keys, field)
        found = library.find(field, key)
        if found is None:
            return None
        with suppress(FileNotFoundError):
            for part in parts:
                self.place.take(found[0], part)
            if library.find(field, key) == found:
                return found[1]
        self.place.drop(*parts)  # another process replaced the donor meanwhile
        return None

    def _record(self) -> dict[str, Any]:
        return _record(self.work.plan, self.cell, self.stage, self.place.notes)


def _adapter(previous: Path) -> bytes:
    """The adapter of the stage before: in its place, or in its workplace as long as its scores are missing."""
    place = previous.parent
    return (previous if previous.is_file() else workplace(place) / previous.name).read_bytes()


def _record(plan: Plan, cell: CellPlan | None, stage: StagePlan, notes: Mapping[str, Any]) -> dict[str, Any]:
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
        "peak_memory_bytes": notes.get("train_peak") or notes.get("sample_peak") or provenance.peak_memory(),
        **{fact: notes.get(fact) for fact in _FACTS},
        "config": cell.config.model_dump(mode="json") if cell else {},
        "protocol": plan.protocol,
        "versions": provenance.versions(),
        # Which versions and GPU made a part, wherever it was made first.
        "made": {part: notes[f"{part}_made"] for part in ("train", "sample") if notes.get(f"{part}_made")},
        "written": provenance.now(),
    }
