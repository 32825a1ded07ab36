"""A run folder, read: its spec, its cells, and the scores and pictures of the base model and the references."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from cat_bench.results.errors import ResultError
from cat_bench.results.records.cell import Cell, images_in, json_in, read_cell, scores_in
from cat_bench.results.records.images import REFERENCE, StageImages, StoredImage
from cat_bench.results.records.long_table import BASE, OTHER_NOISE, REAL

_CELL = re.compile(r"^order(\d+)-seed(\d+)$")
_NOT_METHODS = {"base", "references", "report"}


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
        info = json_in(folder / "run.json") or {}
        spec = _spec(info)
        base_scores, base_reason = scores_in(folder / "base" / "scores.parquet")
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
            base_info=json_in(folder / "base" / "stage.json") or {},
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

    @cached_property
    def base_images(self) -> StageImages | None:
        """All pictures by the untouched backbone, None if there are none."""
        return images_in(self.folder / "base")

    @cached_property
    def references(self) -> StageImages | None:
        """The held-out reference pictures, None if there are none."""
        return images_in(self.folder / "references")

    def base_image(self, concept: str, prompt: int = 0, image: int = 0) -> StoredImage | None:
        """One picture by the untouched backbone, None if it was not made."""
        return self.base_images.find(concept, prompt, image) if self.base_images else None

    def reference(self, concept: str, number: int = 0) -> StoredImage | None:
        """One held-out reference picture, None if there is none."""
        return self.references.find(concept, None, number, REFERENCE) if self.references else None

    def floor(self) -> pd.DataFrame:
        """Rows of the untouched backbone."""
        return self.base_scores[self.base_scores["method"] == BASE]

    def other_noise(self) -> pd.DataFrame:
        """Rows of the untouched backbone against itself, from other noise."""
        return self.base_scores[self.base_scores["method"] == OTHER_NOISE]

    def ceiling(self) -> pd.DataFrame:
        """Rows of the references against each other."""
        return self.base_scores[self.base_scores["method"] == REAL]


def _cells(folder: Path, spec: Mapping[str, Any]) -> Iterator[Cell]:
    """The cells that the spec asks for, in its order, then others that are there."""
    planned = product(
        map(str, spec.get("methods", ())), map(int, spec.get("orders", ())), map(int, spec.get("seeds", ()))
    )
    found = []
    for path in folder.glob("*/*/"):
        match = _CELL.match(path.name)
        if match and path.parent.name not in _NOT_METHODS:
            found.append((path.parent.name, int(match[1]), int(match[2])))
    for method, order, seed in dict.fromkeys([*planned, *sorted(found)]):
        yield read_cell(folder / method / f"order{order}-seed{seed}", spec.get("sequence"), method, order, seed)


def _spec(info: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = info.get("spec", info)
    return spec if isinstance(spec, Mapping) else {}


def _first(base: pd.DataFrame, cells: tuple[Cell, ...]) -> str:
    table = next(t for t in (base, *(c.scores for c in cells)) if not t.empty)
    return str(table["sequence"].iloc[0])
