"""One cell of a run as it lies on disk: how it ended, its finished stages, their scores and pictures.

Nothing here fails because something is missing or damaged: that becomes a status with a reason.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cat_bench.results.errors import ResultError
from cat_bench.results.records.images import FILE, StageImages, StoredImage
from cat_bench.results.records.long_table import frame, read_scores

_STAGE = re.compile(r"^(\d{2,})-(.+)$")


@dataclass(frozen=True)
class Stage:
    """One finished stage: `info` is its stage.json; `number` counts from 1."""

    number: int
    concept: str
    folder: Path
    info: Mapping[str, Any]

    @cached_property
    def images(self) -> StageImages | None:
        """Its images, None if there are none."""
        return images_in(self.folder)

    def image(self, concept: str, prompt: int = 0, image: int = 0) -> StoredImage | None:
        """One generated picture of `concept`, None if it was not made."""
        return self.images.find(concept, prompt, image) if self.images else None


@dataclass(frozen=True)
class Cell:
    """One (method, order, seed) of the run. `status`: ok, failed, oom, interrupted, skipped, missing or unreadable."""

    method: str
    order: int
    seed: int
    status: str
    reason: str | None
    folder: Path
    stages: tuple[Stage, ...] = ()
    scores: pd.DataFrame = field(default_factory=lambda: frame([]), repr=False, compare=False)

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
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        match, info = _STAGE.match(path.name), json_in(path / "stage.json")
        if match is None or info is None:
            continue
        table, trouble = scores_in(path / "scores.parquet")
        if trouble is not None:
            status, reason = "unreadable", trouble
            continue
        stages.append(Stage(int(match[1]), str(info.get("concept", match[2])), path, info))
        tables.append(table.assign(**own))
    scores = pd.concat(tables, ignore_index=True) if tables else frame([])
    return Cell(method, order, seed, status, reason, folder, tuple(stages), scores)


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


def scores_in(path: Path) -> tuple[pd.DataFrame, str | None]:
    """The long table in a file, or an empty one and why."""
    if not path.is_file():
        return frame([]), f"{path.parent.name}/{path.name} is missing"
    try:
        return read_scores(path), None
    except ResultError as error:
        return frame([]), str(error)


def json_in(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
