"""One cell of a run as it lies on disk: how it ended, its finished stages, their scores and pictures.

Nothing here fails because something is missing or damaged: that becomes a status with a reason.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from cat_bench.results.errors import ResultError
from cat_bench.results.records.images import FILE, StageImages, StoredImage
from cat_bench.results.records.long_table import frame, read_columns, read_scores
from cat_bench.results.records.totals import NEEDED, Totals

SCORES = "scores.parquet"
T = TypeVar("T")
_STAGE = re.compile(r"^(\d{2,})-(.+)$")


@dataclass(frozen=True)
class Stage:
    """One finished stage: `info` is its stage.json; `number` counts from 1. labels: columns that are its cell's own."""

    number: int
    concept: str
    folder: Path
    info: Mapping[str, Any]
    labels: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def scores(self) -> pd.DataFrame:
        """Its rows of the long table, read anew."""
        return read_scores(self.folder / SCORES).assign(**self.labels)

    @cached_property
    def images(self) -> StageImages | None:
        """Its images, None if there are none."""
        return images_in(self.folder)

    def image(self, concept: str, prompt: int = 0, image: int = 0) -> StoredImage | None:
        """One generated picture of `concept`, None if it was not made."""
        return self.images.find(concept, prompt, image) if self.images else None


@dataclass(frozen=True)
class Cell:
    """One (method, order, seed) of the run. `status`: ok, failed, oom, interrupted, skipped, missing or unreadable.

    totals: what its rows come to.
    """

    method: str
    order: int
    seed: int
    status: str
    reason: str | None
    folder: Path
    stages: tuple[Stage, ...] = ()
    totals: Totals = field(default_factory=Totals, repr=False, compare=False)

    @property
    def scores(self) -> pd.DataFrame:
        """Its rows of the long table, stage by stage, read anew."""
        tables = [stage.scores for stage in self.stages]
        return pd.concat(tables, ignore_index=True) if tables else frame([])

    @property
    def prompted_by_token(self) -> bool:
        """Whether its prompts name a concept by its trigger alone, without the class noun."""
        return any((stage.info.get("config") or {}).get("noun") is False for stage in self.stages[:1])

    @property
    def name(self) -> str:
        """How people call it: `lora, order 0, seed 1`."""
        return f"{self.method}, order {self.order}, seed {self.seed}"


def read_cell(folder: Path, sequence: str | None, method: str, order: int, seed: int) -> Cell:
    """One cell as it lies on disk. A stage whose scores cannot be read makes it unreadable and is left out."""
    if not folder.is_dir():
        return Cell(method, order, seed, "missing", "not run yet", folder)
    status, reason = _ending(folder)
    # a stage may be shared by hard link with another run: whose it is says the folder it lies in
    own: dict[str, Any] = {"method": method, "label": method, "order": order, "seed": seed}
    own |= {"sequence": sequence} if sequence else {}
    stages, tables = [], []
    named = ((_STAGE.match(path.name), path) for path in folder.iterdir() if path.is_dir())
    for number, concept, path in sorted((int(match[1]), match[2], path) for match, path in named if match):
        info = json_in(path / "stage.json")
        if info is None:
            continue
        found = read_or_why(_needed, path / SCORES)
        if isinstance(found, str):
            status, reason = "unreadable", found
            continue
        stages.append(Stage(number, str(info.get("concept", concept)), path, info, own))
        tables.append(found)
    return Cell(method, order, seed, status, reason, folder, tuple(stages), _summed(tables))


def _ending(folder: Path) -> tuple[str, str | None]:
    """How a cell ended, and why unless it ended well: its cell.json, which is written last."""
    ended = json_in(folder / "cell.json")
    if ended is None:
        return "interrupted", "still running, or stopped before it ended"
    status = str(ended.get("status", "interrupted"))
    if reason := ended.get("reason"):
        return status, str(reason)
    return status, None if status == "ok" else "no reason was recorded"


def images_in(folder: Path) -> StageImages | None:
    """The images in a folder, None if there are none that can be read."""
    try:
        return StageImages(folder / FILE)
    except ResultError:
        return None


def read_or_why(read: Callable[[Path], T], path: Path) -> T | str:
    """What can be read of a long table, or why it cannot."""
    if not path.is_file():
        return f"{path.parent.name}/{path.name} is missing"
    try:
        return read(path)
    except ResultError as error:
        return str(error)


def _summed(tables: list[pa.Table]) -> Totals:
    """All at once: stage by stage takes longer."""
    return Totals.of(pa.concat_tables(tables, promote_options="permissive")) if tables else Totals()


def _needed(path: Path) -> pa.Table:
    return read_columns(path, NEEDED)


def json_in(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
