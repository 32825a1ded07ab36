"""A run folder, read: its spec, its cells, and the scores and pictures of the base model and the references."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from cat_bench.results.errors import ResultError
from cat_bench.results.records.cell import SCORES, Cell, images_in, json_in, read_cell, read_or_why
from cat_bench.results.records.images import CONCEPT, REFERENCE, TOKEN, StageImages, StoredImage
from cat_bench.results.records.labels import together
from cat_bench.results.records.long_table import BASE, BASE_TOKEN, OTHER_NOISE, REAL, frame, read_scores
from cat_bench.results.records.packed import is_packed, packed_cells
from cat_bench.results.records.run_json import recorded
from cat_bench.results.records.totals import NEEDED, Totals

_CELL = re.compile(r"^order(\d+)-seed(\d+)$")
_NOT_METHODS = {"base", "references", "report"}


@dataclass(frozen=True)
class Run:
    """A run folder. `concepts` is the sequence as written; cells come in the order of the spec, then as found.

    methods: in that order too, but variants of a method stand together.
    """

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
        """Reads a run folder. Raises ResultError if there is none, it is damaged, or nothing was scored yet."""
        folder = Path(folder)
        if not folder.is_dir():
            raise ResultError(f"there is no run at {folder}: `cat-bench run` makes one, or give another folder")
        info = recorded(folder) or {}
        spec = _spec(info)
        found = read_or_why(read_scores, folder / BASE / SCORES)
        base_scores, base_reason = (frame([]), found) if isinstance(found, str) else (found, None)
        cells = tuple(packed_cells(folder) if is_packed(folder) else _cells(folder, spec))
        if base_scores.empty and not any(cell.totals.size for cell in cells):
            if unreadable := next((cell.reason for cell in cells if cell.status == "unreadable"), None):
                raise ResultError(unreadable)
            raise ResultError(f"nothing in {folder} was scored yet: let `cat-bench run` finish a stage, then report")
        methods = together(dict.fromkeys([*map(str, spec.get("methods", ())), *(cell.method for cell in cells)]))
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

    def tables(self) -> Iterator[pd.DataFrame]:
        """The long table of the whole run, a stage at a time: base and real rows first, then cell by cell."""
        yield self.base_scores
        for cell in self.cells:
            yield from (stage.scores for stage in cell.stages)

    @property
    def scores(self) -> pd.DataFrame:
        """All tables as one, read anew: of a large run it does not fit into memory."""
        return pd.concat([table for table in self.tables() if not table.empty], ignore_index=True)

    def still(self, method: str) -> Totals:
        """What the rows of something that does not learn come to: the base model, its other noise, the references."""
        return self._still.get(method, Totals())

    @cached_property
    def _still(self) -> Mapping[str, Totals]:
        rows = self.base_scores.groupby("method", sort=False)[list(NEEDED)]
        return {str(name): Totals.of(pa.Table.from_pandas(table, preserve_index=False)) for name, table in rows}

    def summed(self, cell: Cell) -> Totals:
        """What a cell's rows come to, those of the base model, prompted as it is, with them as its stage 0."""
        if cell.folder not in self._summed:
            self._summed[cell.folder] = Totals.joined([self.still(self.floor_of(cell)), cell.totals])
        return self._summed[cell.folder]

    def floor_of(self, cell: Cell) -> str:
        """Which rows of the base model a cell is compared with: those of its own form of prompts, if there are any."""
        return BASE_TOKEN if cell.prompted_by_token and BASE_TOKEN in self._still else BASE

    @cached_property
    def _summed(self) -> dict[Path, Totals]:
        return {}

    @cached_property
    def totals(self) -> tuple[tuple[str, Totals], ...]:
        """Method and what its rows come to: base and references first, then cell by cell."""
        return (*self._still.items(), *((cell.method, cell.totals) for cell in self.cells))

    @cached_property
    def judges(self) -> tuple[tuple[str, str], ...]:
        """Each metric with each model that made scores of it."""
        return tuple(dict.fromkeys(judge for _, totals in self.totals for judge in totals.judges))

    @property
    def stages(self) -> str:
        """Which stages were sampled: all, diagonal+last or last."""
        return str(_spec(self.info).get("stages") or "all")

    @property
    def replicated(self) -> bool:
        """Whether the cells of a method are replicates: another order and another seed each."""
        return _spec(self.info).get("replicates") is not None

    @property
    def until_decided(self) -> int | None:
        """The most replicates, if the run goes on until its comparisons are decided; else None."""
        return _spec(self.info).get("until_decided")

    @cached_property
    def described(self) -> Mapping[str, Mapping[str, Any]]:
        """What was recorded of each method, those that only an earlier part of the run had among them."""
        return {**(self.info.get("methods") or {}), **(self.info.get("earlier_methods") or {})}

    def sampled(self, method: str) -> str:
        """Which stages of a method were sampled, where it is of another run than the rest."""
        return str(self.described.get(method, {}).get("stages") or self.stages)

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

    def base_image(self, concept: str, prompt: int = 0, image: int = 0, floor: str = BASE) -> StoredImage | None:
        """One picture by the untouched backbone, None if it was not made. floor: BASE or BASE_TOKEN."""
        kind = TOKEN if floor == BASE_TOKEN else CONCEPT
        return self.base_images.find(concept, prompt, image, kind) if self.base_images else None

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
    planned = [(str(method), order, seed) for method in spec.get("methods", ()) for order, seed in _pairs(spec)]
    found = []
    for path in folder.glob("*/*/"):
        match = _CELL.match(path.name)
        if match and path.parent.name not in _NOT_METHODS:
            found.append((path.parent.name, int(match[1]), int(match[2])))
    for method, order, seed in dict.fromkeys([*planned, *sorted(found)]):
        yield read_cell(folder / method / f"order{order}-seed{seed}", spec.get("sequence"), method, order, seed)


def _pairs(spec: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """(order, seed) of a method's cells: replicate r is order r with seed r, else each order with each seed."""
    if (replicates := spec.get("replicates")) is not None:
        return zip(range(int(replicates)), range(int(replicates)), strict=True)
    return product(map(int, spec.get("orders", ())), map(int, spec.get("seeds", ())))


def _spec(info: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = info.get("spec", info)
    return spec if isinstance(spec, Mapping) else {}


def _first(base: pd.DataFrame, cells: tuple[Cell, ...]) -> str:
    table = base if not base.empty else next(cell.scores for cell in cells if cell.totals.size)
    return str(table["sequence"].iloc[0])
