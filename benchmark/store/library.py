"""All finished stages under a folder of runs, found by what they hold: the way results are shared and never redone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cat_bench.benchmark.planning.keys import Keys
from cat_bench.benchmark.store.files import read_json
from cat_bench.benchmark.store.stage import RECORD, whole

KEPT = ".kept"  # stages that other settings replaced; taken up again if those settings come back
_RUN = "[!.]*"  # folders with a leading dot come and go while others work
PARTS = tuple(Keys.__dataclass_fields__)


class Library:
    """An index of the stages in `runs`, read once and kept up to date by `add`."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self._folders: dict[str, list[Path]] = {}
        for folder in _stage_folders(runs):
            if record := read_json(folder / RECORD):
                self.add(folder, record)

    def add(self, folder: Path, record: dict[str, Any]) -> None:
        """Make a finished stage known."""
        for part in PARTS:
            if key := record.get(part):
                known = self._folders.setdefault(f"{part}:{key}", [])
                if folder not in known:
                    known.append(folder)

    def find(self, part: str, key: str) -> tuple[Path, dict[str, Any]] | None:
        """A whole stage whose `part` (a field of Keys) has this key, with its record as it is now."""
        for folder in self._folders.get(f"{part}:{key}", []):
            record = whole(folder) if folder.is_dir() else None
            if record is not None and record.get(part) == key:
                return folder, record
        return None

    def set_aside(self, folder: Path) -> None:
        """Take a stage out of its run. Its content is kept where `find` finds it; an incomplete one is deleted."""
        record = whole(folder)
        target = self.runs / KEPT / str((record or {}).get("scores_key", ""))[:24]
        if record is None or target.exists():
            shutil.rmtree(folder)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():
                raise
            shutil.rmtree(folder)  # a run beside this one has just kept the same stage
            return
        self.add(target, record)

    def clear(self, folder: Path, wanted: Keys) -> None:
        """Free a place for its next stage; what is there is kept only if the next one does not hold the same images."""
        record = whole(folder)
        if record is not None and record.get("samples_key") == wanted.samples_key:
            shutil.rmtree(folder)
        else:
            self.set_aside(folder)


def kept(runs: Path) -> tuple[int, int]:
    """How many replaced stages are kept, and the bytes that deleting them frees: files that other stages share with
    them stay.
    """
    place = runs / KEPT
    names: dict[int, list[Any]] = {}  # by file: how many names it has, how many of them are here, its size
    for path in place.rglob("*"):
        if path.is_file():
            facts = path.stat()
            names.setdefault(facts.st_ino, [facts.st_nlink, 0, facts.st_size])[1] += 1
    freed = sum(size for links, here, size in names.values() if links == here)
    return sum(1 for _ in place.glob(f"*/{RECORD}")), freed


def empty_kept(runs: Path) -> None:
    """Delete them."""
    if (runs / KEPT).is_dir():
        shutil.rmtree(runs / KEPT)


def difference(record: dict[str, Any], wanted: Keys) -> str | None:
    """What a finished stage lacks of what is wanted, in words; None if nothing."""
    words = ("the model", "the images", "the embeddings", "the scores")
    for (part, key), word in zip(asdict(wanted).items(), words, strict=True):
        if record.get(part) != key:
            return word
    return None


def _stage_folders(runs: Path) -> Iterator[Path]:
    for pattern in (f"{_RUN}/base/{RECORD}", f"{_RUN}/{_RUN}/order*-seed*/*/{RECORD}", f"{KEPT}/*/{RECORD}"):
        for path in sorted(runs.glob(pattern)):
            if not path.parent.name.startswith("."):
                yield path.parent
