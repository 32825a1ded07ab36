"""Pictures of a page: each once, in one sheet a method and prompt, of which a page shows parts.

A sheet is a picture of equal squares without gaps: rows are stages, columns concepts. It is exact as long as all sheets
together are small; else it is coded with loss, and then made of smaller squares.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, features

from cat_bench.results.measures.available import drawn_metrics
from cat_bench.results.measures.matrices import stage_array
from cat_bench.results.measures.metrics import metric
from cat_bench.results.pictures.grids import Stored, side_of, squared
from cat_bench.results.records.cell import Cell
from cat_bench.results.records.images import CONCEPT
from cat_bench.results.records.long_table import BASE, BASE_TOKEN
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.sentences import QUESTIONS

MOST = 5_000_000  # bytes of all sheets
PROMPTS = 4  # that are shown, as long as they fit
SHOWN = 20  # concepts, and stages; of more some are shown, evenly spread
SIDE = 128  # pixels of a larger picture on a page
REFERENCE = "reference"
Squares = list[list[Stored | None]]  # of one sheet: rows, columns
Coding = tuple[int | None, int]  # quality, None: exact; by how much squares are smaller


@dataclass(frozen=True)
class Sheet:
    """Squares of one method and prompt, or of what does not learn. there: (rows, columns), which squares are filled."""

    uri: str
    there: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Tiles:
    """What a page shows of the run's pictures.

    cells: of each method the cell that is shown. names: the rows of `still`, which are the references and the base
    model's. sheets: by prompt, those of the cells in their order. side: of a square in pixels.
    """

    run: Run
    cells: tuple[Cell, ...]
    concepts: tuple[str, ...]
    stages: tuple[int, ...]
    names: tuple[str, ...]
    side: int
    still: tuple[Sheet, ...]
    sheets: tuple[tuple[Sheet, ...], ...]

    @classmethod
    def of(cls, run: Run, cells: Sequence[Cell]) -> "Tiles | None":
        """Of one image a prompt. None if nothing was drawn."""
        longest = max((cell.stages for cell in cells), key=len, default=())
        learned = [stage.concept for stage in longest]
        order = [*learned, *(concept for concept in run.concepts if concept not in learned)]
        concepts, stages = tuple(spread(order)), tuple(spread([stage.number for stage in longest]))
        floors = tuple(dict.fromkeys([BASE, *map(run.floor_of, cells)]))

        def still(prompt: int) -> Squares:
            drawn: Squares = [[run.base_image(c, prompt, 0, floor) for c in concepts] for floor in floors]
            return [[run.reference(c, prompt) or run.reference(c) for c in concepts], *drawn]

        def of_cell(cell: Cell, prompt: int) -> Squares:
            there = {stage.number: stage for stage in cell.stages}
            return [[there[t].image(c, prompt) if t in there else None for c in concepts] for t in stages]

        every = [[still(p), *(of_cell(cell, p) for cell in cells)] for p in range(PROMPTS)]
        every = [sheets for sheets in every if any(any(map(any, sheet)) for sheet in sheets[1:])]
        native = next((s for t in _flat(every) if t and (s := side_of(t))), None)
        if not stages or native is None:
            return None
        side, sheets = coded(every, min(native, SIDE))
        names = (REFERENCE, *("base model, without noun" if f == BASE_TOKEN else "base model" for f in floors))
        still_sheets, of_cells = tuple(each[0] for each in sheets), tuple(each[1:] for each in sheets)
        return cls(run, tuple(cells), concepts, stages, names, side, still_sheets, of_cells)

    @cached_property
    def texts(self) -> tuple[dict[str, str], ...]:
        """Of each prompt shown its text by concept."""
        images = next((stage.images for stage in reversed(self.cells[0].stages) if stage.images), None)
        rows = [row for row in images.rows if row.kind == CONCEPT and row.number == 0] if images else []
        said = {(row.prompt, row.concept): row.text or f"prompt {row.prompt}" for row in rows}
        return tuple({c: said.get((p, c), f"prompt {p}") for c in self.concepts} for p in range(len(self.sheets)))

    @cached_property
    def scores(self) -> list[list[list[str]]]:
        """By cell, stage and concept what was measured there, in words."""
        names = drawn_metrics(self.run)

        def words(cell: Cell) -> list[list[str]]:
            mean = self.run.summed(cell).mean
            R = [stage_array(mean, name, self.run.concepts) for name in names]
            columns = [self.run.concepts.index(c) for c in self.concepts]
            return [[_words(names, [r[t, k] for r in R if t < len(r)]) for k in columns] for t in self.stages]

        return [words(cell) for cell in self.cells]

    def turns(self, cell: Cell) -> list[int]:
        """The stage at which each concept shown is learned, 0 for never."""
        turn = {stage.concept: stage.number for stage in cell.stages}
        return [turn.get(concept, 0) for concept in self.concepts]

    def word(self, cell: Cell, stage: int, k: int) -> str:
        """What stands in the place of a picture that is not there."""
        turn = self.turns(cell)[k]
        if stage > len(cell.stages):
            return cell.status if cell.status != "ok" else "missing"
        return "no image" if 0 < turn <= stage else "not learned yet"


def _words(names: Sequence[str], values: Sequence[float]) -> str:
    """`accuracy 0.94`, a line a metric."""
    short = [q.name if (q := QUESTIONS.get(f"{name}_average")) else metric(name).short for name in names]
    known = [(name, value) for name, value in zip(short, values, strict=False) if np.isfinite(value)]
    return "\n".join(f"{name} " + f"{value:.2f}".replace("-", "−") for name, value in known)


def spread(found: Sequence[Any]) -> list[Any]:
    """All, or of more than SHOWN as many, evenly spread, the first and the last among them."""
    if len(found) <= SHOWN:
        return list(found)
    return [found[place] for place in np.linspace(0, len(found) - 1, SHOWN).round().astype(int)]


def _flat(every: list[list[Squares]]) -> list[Stored | None]:
    return [stored for sheets in every for sheet in sheets for row in sheet for stored in row]


def coded(every: list[list[Squares]], side: int) -> tuple[int, list[tuple[Sheet, ...]]]:
    """The best coding with which the first prompt's sheets fit, and then as many prompts as do."""
    codings: list[Coding] = [(None, 1), (85, 1), (80, 2), (75, 4)]
    for coding in codings:
        found: list[tuple[Sheet, ...]] = []
        small, left = max(side // coding[1], 1), MOST
        for sheets in every:
            made = tuple(_sheet(sheet, small, coding[0]) for sheet in sheets)
            left -= sum(len(sheet.uri) * 3 // 4 for sheet in made)
            if left < 0 and (found or coding != codings[-1]):
                break
            found.append(made)
        if found:
            break
    return small, found


def _sheet(rows: Squares, side: int, quality: int | None) -> Sheet:
    picture, there = Image.new("RGB", (side * len(rows[0]), side * len(rows)), "#808080"), []
    for r, row in enumerate(rows):
        tiles = [squared(stored, side) if stored else None for stored in row]
        for k, tile in enumerate(tiles):
            if tile:
                picture.paste(tile, (k * side, r * side))
        there.append(tuple(tile is not None for tile in tiles))
    buffer, webp = io.BytesIO(), features.check("webp")
    how: dict[str, Any] = {"lossless": True, "method": 4} if quality is None else {"quality": quality, "method": 4}
    picture.save(buffer, *(["WEBP"] if webp else ["PNG" if quality is None else "JPEG"]), **(how if webp else {}))
    kind = "webp" if webp else "png" if quality is None else "jpeg"
    return Sheet(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}", tuple(there))
