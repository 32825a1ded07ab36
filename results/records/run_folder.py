"""A run folder, read: which cells there are, how they ended, their stages, scores and images.

Nothing here fails because one cell did: what is missing or unreadable becomes a status with a reason.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cat_bench.results.errors import ResultError
from cat_bench.results.records.long_table import BASE, REAL, frame, read_scores

_CELL = re.compile(r"^order(\d+)-seed(\d+)$")
_STAGE = re.compile(r"^(\d{2,})-(.+)$")
_PICTURE = re.compile(r"^(\d+)-(\d+)\.png$")
_NOT_METHODS = {"base", "references", "report"}


@dataclass(frozen=True)
class Stage:
    """One finished stage: `info` is its stage.json; `number` counts from 1."""

    number: int
    concept: str
    folder: Path
    info: Mapping[str, Any]

    def image(self, concept: str, prompt: int = 0, image: int = 0) -> Path | None:
        """Path of one generated picture of `concept`, None if it was not made."""
        return picture(self.folder / "images" / concept, prompt, image)


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


@dataclass(frozen=True)
class Run:
    """A run folder. `concepts` is the sequence as written; cells come in the order of the spec, then as found."""

    folder: Path
    info: Mapping[str, Any]
    sequence: str
    concepts: tuple[str, ...]
    methods: tuple[str, ...]
    cells: tuple[Cell, ...]
    base_scores: pd.DataFrame = field(repr=False, compare=False)
    base_info: Mapping[str, Any] = field(repr=False)
    base_reason: str | None = None

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """Reads a run folder. Raises ResultError if there is none, or nothing in it was scored yet."""
        folder = Path(folder)
        if not folder.is_dir():
            raise ResultError(f"there is no run at {folder}: `cat-bench run` makes one, or give another folder")
        info = _json(folder / "run.json") or {}
        spec = _spec(info)
        base_scores, base_reason = _scores(folder / "base" / "scores.parquet")
        cells = tuple(_cells(folder, spec))
        if base_scores.empty and all(cell.scores.empty for cell in cells):
            if unreadable := next((cell.reason for cell in cells if cell.status == "unreadable"), None):
                raise ResultError(unreadable)
            raise ResultError(f"nothing in {folder} was scored yet: let `cat-bench run` finish a stage, then report")
        methods = tuple(dict.fromkeys([*map(str, spec.get("methods", ())), *(cell.method for cell in cells)]))
        longest = max((tuple(s.concept for s in c.stages) for c in cells), key=len, default=())
        sequence = info.get("sequence")
        named = sequence.get("concepts", ()) if isinstance(sequence, Mapping) else ()
        floor = base_scores[(base_scores["method"] == BASE) & (base_scores["metric"] == "clip_i")]
        return cls(
            folder=folder,
            info=info,
            sequence=str(spec.get("sequence") or _first(base_scores, cells)),
            concepts=tuple(map(str, named or dict.fromkeys(floor["concept"]) or longest)),
            methods=methods,
            cells=cells,
            base_scores=base_scores,
            base_info=_json(folder / "base" / "stage.json") or {},
            base_reason=base_reason,
        )

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The long table of the whole run: base and real rows first, then cell by cell."""
        parts = [t for t in (self.base_scores, *(c.scores for c in self.cells)) if not t.empty]
        return pd.concat(parts, ignore_index=True)

    def of(self, method: str) -> tuple[Cell, ...]:
        """The cells of one method."""
        return tuple(cell for cell in self.cells if cell.method == method)

    def complete(self, cell: Cell) -> bool:
        """Whether the cell went through the whole sequence and can be summed up."""
        return cell.status == "ok" and len(cell.stages) == len(self.concepts)

    @property
    def troubled(self) -> tuple[Cell, ...]:
        """Cells that give no figures, each with status and reason."""
        return tuple(cell for cell in self.cells if not self.complete(cell))

    def base_image(self, concept: str, prompt: int = 0, image: int = 0) -> Path | None:
        """One picture by the untouched backbone, None if it was not made."""
        return picture(self.folder / "base" / "images" / concept, prompt, image)

    def reference(self, concept: str, number: int = 0) -> Path | None:
        """One held-out reference picture, None if there is none."""
        found = sorted((self.folder / "references" / concept).glob("*.png"))
        return found[number] if number < len(found) else None

    def floor(self) -> pd.DataFrame:
        """Rows of the untouched backbone."""
        return self.base_scores[self.base_scores["method"] == BASE]

    def ceiling(self) -> pd.DataFrame:
        """Rows of the references against each other."""
        return self.base_scores[self.base_scores["method"] == REAL]


def picture(folder: Path, prompt: int, image: int) -> Path | None:
    """`folder/<prompt>-<image>.png` whatever the number of digits, None if it is not there."""
    plain = folder / f"{prompt:02d}-{image}.png"
    if plain.is_file():
        return plain
    for path in sorted(folder.glob("*.png")) if folder.is_dir() else ():
        match = _PICTURE.match(path.name)
        if match and (int(match[1]), int(match[2])) == (prompt, image):
            return path
    return None


def _cells(folder: Path, spec: Mapping[str, Any]) -> Iterator[Cell]:
    planned = [
        (str(method), int(order), int(seed))
        for method in spec.get("methods", ())
        for order in spec.get("orders", ())
        for seed in spec.get("seeds", ())
    ]
    found = []
    for method in sorted(p for p in folder.iterdir() if p.is_dir() and p.name not in _NOT_METHODS):
        for path in sorted(p for p in method.iterdir() if p.is_dir()):
            if match := _CELL.match(path.name):
                found.append((method.name, int(match[1]), int(match[2])))
    for method_name, order, seed in dict.fromkeys([*planned, *sorted(found)]):
        place = folder / method_name / f"order{order}-seed{seed}"
        yield _cell(place, spec.get("sequence"), method_name, order, seed)


def _cell(folder: Path, sequence: str | None, method: str, order: int, seed: int) -> Cell:
    if not folder.is_dir():
        return Cell(method, order, seed, "missing", "not run yet", folder)
    ended = _json(folder / "cell.json")
    status = str((ended or {}).get("status", "interrupted"))
    reason = (ended or {}).get("reason") or (None if status == "ok" else "no reason was recorded")
    if ended is None:
        reason = "still running, or stopped before it ended"
    stages, tables = [], []
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        match, info = _STAGE.match(path.name), _json(path / "stage.json")
        if match is None or info is None:
            continue
        table, trouble = _scores(path / "scores.parquet")
        if trouble is not None:
            status, reason = "unreadable", trouble
            continue
        stages.append(Stage(int(match[1]), str(info.get("concept", match[2])), path, info))
        # a stage may be shared by hard link with another run: whose it is says the folder it lies in
        own: dict[str, Any] = {"method": method, "order": order, "seed": seed}
        own |= {"sequence": sequence} if sequence else {}
        tables.append(table.assign(**own))
    scores = pd.concat(tables, ignore_index=True) if tables else frame([])
    return Cell(method, order, seed, status, None if reason is None else str(reason), folder, tuple(stages), scores)


def _scores(path: Path) -> tuple[pd.DataFrame, str | None]:
    if not path.is_file():
        return frame([]), f"{path.parent.name}/{path.name} is missing"
    try:
        return read_scores(path), None
    except ResultError as error:
        return frame([]), str(error)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _spec(info: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = info.get("spec", info)
    return spec if isinstance(spec, Mapping) else {}


def _first(base: pd.DataFrame, cells: tuple[Cell, ...]) -> str:
    table = next(t for t in (base, *(c.scores for c in cells)) if not t.empty)
    return str(table["sequence"].iloc[0])
