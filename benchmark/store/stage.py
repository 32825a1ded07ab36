"""A stage's folder: made beside its place, renamed into it when it is whole, looked up by what it holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cat_bench.benchmark.planning.keys import EMBEDDINGS, IMAGES, SCORES, Keys
from cat_bench.benchmark.store.files import link_tree, read_json, sync, sync_all, write_json
from cat_bench.benchmark.store.images import LOOSE

RECORD = "stage.json"  # written last: where it is, the stage is whole
PROGRESS = "partial.json"


def whole(folder: Path) -> dict[str, Any] | None:
    """The record of a finished stage; None if there is none, or if files were taken out since."""
    record = read_json(folder / RECORD)
    if record is None or record.get("files") != count_files(folder):
        return None
    return record


def count_files(folder: Path) -> int:
    """How many files a stage's folder holds besides its record; hidden ones do not count."""
    return sum(1 for path in _files(folder) if os.path.basename(path) != RECORD)


def _files(folder: str | Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif not entry.name.startswith("."):
                yield entry.path


def workplace(place: Path) -> Path:
    """The folder in which the stage of a place is made."""
    return place.with_name(f".{place.name}.partial")


class Workplace:
    """The folder beside a stage's place in which the stage is made; it outlives the process, so work goes on in it."""

    def __init__(self, place: Path, keys: Keys) -> None:
        self.place = place
        self.folder = workplace(place)
        self.keys = keys
        self.notes: dict[str, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether everything is there and only the move to its place is missing."""
        record = whole(self.folder) if self.folder.is_dir() else None
        return record is not None and all(record.get(name) == value for name, value in asdict(self.keys).items())

    def open(self) -> None:
        """Make or take up the folder. What an earlier try left is kept as far as its keys are the ones wanted now."""
        earlier = read_json(self.folder / PROGRESS)
        if earlier is None or earlier["keys"]["key"] != self.keys.key:
            shutil.rmtree(self.folder, ignore_errors=True)
            earlier = {"notes": {}}
        elif earlier["keys"]["samples_key"] != self.keys.samples_key:
            self.drop(LOOSE, IMAGES, EMBEDDINGS)
            earlier["notes"] = {fact: v for fact, v in earlier["notes"].items() if not fact.startswith("sample_")}
        elif earlier["keys"]["embeddings_key"] != self.keys.embeddings_key:
            self.drop(EMBEDDINGS)
        self.drop(SCORES, RECORD)
        for path in self.folder.glob(".*.part"):  # of a process that was killed while it wrote
            path.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.notes = earlier["notes"]
        self.note()

    def note(self, **facts: Any) -> None:
        """Remember facts about finished parts (seconds, sizes) for the record, across interruptions."""
        self.notes |= facts
        # Not forced to disk: after a power failure a part whose note is missing is made again, which is always right.
        write_json(self.folder / PROGRESS, {"keys": asdict(self.keys), "notes": self.notes}, durable=False)

    def has(self, part: str) -> bool:
        """Whether a part is there; files appear whole or not at all."""
        return (self.folder / part).exists()

    def take(self, donor: Path, part: str) -> None:
        """Have a part that another stage holds under the same key, without a second copy of the bytes."""
        link_tree(donor / part, self.folder / part)

    def publish(self, record: dict[str, Any]) -> None:
        """Write the record: from now on the folder is complete."""
        files = [Path(path) for path in _files(self.folder)]
        sync_all([*files, *{path.parent for path in files}])
        write_json(self.folder / RECORD, {**record, "files": count_files(self.folder) - 1})  # less the notes
        (self.folder / PROGRESS).unlink()

    def move(self) -> None:
        """Move the complete folder to its place, which must be free."""
        self.folder.rename(self.place)
        sync(self.place.parent)

    def drop(self, *parts: str) -> None:
        """Take parts out, as far as they are there."""
        for part in parts:
            path = self.folder / part
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
