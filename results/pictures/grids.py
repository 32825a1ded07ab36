"""Grids of pictures: what each method draws of each concept, stage by stage, and all methods side by side at the end.

Every tile of a grid comes from the same prompt and the same noise. Small pictures are enlarged without smoothing, so
that a person sees the pixels that were scored.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from cat_bench.results.errors import ResultError
from cat_bench.results.records.cell import Cell
from cat_bench.results.records.long_table import BASE, BASE_TOKEN, write_atomically
from cat_bench.results.records.run_folder import Run

TILE = 128  # aimed-at side of a tile in pixels
GAP = 6
PAPER, TEXT, WEAK, EMPTY, FRAME = "#ffffff", "#1b1f24", "#6e7781", "#f0f2f4", "#d55e00"


@dataclass(frozen=True)
class Grid:
    """One finished grid, a PNG. `description` is its text alternative."""

    name: str
    title: str
    description: str
    png: bytes

    @classmethod
    def of(cls, name: str, title: str, description: str, image: Image.Image) -> "Grid":
        """Encodes a grid."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", compress_level=6)
        return cls(name, title, description, buffer.getvalue())

    def write(self, folder: Path) -> Path:
        """Writes `<name>.png` into the folder."""
        path = folder / f"{self.name}.png"
        write_atomically(path, self.png)
        return path


class Stored(Protocol):
    """A picture that is read when it is placed, for a grid may have thousands: a file, or a stage's image."""

    def read_bytes(self) -> bytes: ...


@dataclass(frozen=True)
class Tile:
    """One picture of a grid, or the word that stands in its place. framed: it is the concept that was just learned."""

    stored: Stored | None
    word: str = "not drawn"
    framed: bool = False


def method_grid(run: Run, cell: Cell, prompt: int = 0, image: int = 0) -> Grid:
    """Rows: references, base model, then each stage of the cell; columns: concepts in the order of learning."""
    learned = [s.concept for s in cell.stages]
    concepts = [*learned, *(c for c in run.concepts if c not in learned)]
    rows = _references_and_base(run, concepts, prompt, image, run.floor_of(cell))
    for stage in cell.stages:
        rows[f"stage {stage.number}\n{stage.concept}"] = [
            Tile(
                stage.image(c, prompt, image),
                "not learned yet" if c not in learned[: stage.number] else "no image",
                framed=c == stage.concept,
            )
            for c in concepts
        ]
    if not run.complete(cell):
        rows[f"then\n{cell.status}"] = [Tile(None, cell.status) for _ in concepts]
    title = f"{cell.method}: after each stage (rows) each concept (columns)"
    text = f"{cell.name}; prompt {prompt}, image {image}, the same noise in all rows. Framed: the concept just learned."
    return Grid.of(f"grid-{cell.method}", title, text, compose(rows, concepts, cell.method))


def comparison_grid(run: Run, order: int, seed: int, prompt: int = 0, image: int = 0) -> Grid:
    """Rows: references, base model, each method after its last stage; columns: concepts of the sequence."""
    concepts = run.concepts
    rows = _references_and_base(run, concepts, prompt, image, *dict.fromkeys([BASE, *map(run.floor_of, run.cells)]))
    for cell in run.cells:
        if (cell.order, cell.seed) == (order, seed):
            last = cell.stages[-1] if run.complete(cell) else None
            missing = "no image" if last else cell.status
            rows[cell.method] = [Tile(last.image(c, prompt, image) if last else None, missing) for c in concepts]
    title = "All methods after the last stage, beside the references"
    text = f"Order {order}, seed {seed}; prompt {prompt}, image {image}, the same noise in all rows but the first."
    return Grid.of("grid-comparison", title, text, compose(rows, concepts, "after the last stage"))


def _references_and_base(
    run: Run, concepts: Sequence[str], prompt: int, image: int, *floors: str
) -> dict[str, list[Tile]]:
    """The rows that every grid begins with: references, and the base model prompted in each of these ways."""
    return {
        "reference": [Tile(run.reference(c), "no image") for c in concepts],
        **{
            "base\nwithout noun" if floor == BASE_TOKEN else BASE: [
                Tile(run.base_image(c, prompt, image, floor), "no image") for c in concepts
            ]
            for floor in floors
        },
    }


def compose(rows: dict[str, list[Tile]], columns: Sequence[str], corner: str) -> Image.Image:
    """Lays tiles out under column heads and beside row names. Unreadable pictures become a word, like missing ones."""
    longest = next((s for line in rows.values() for t in line if t.stored and (s := side_of(t.stored))), TILE)
    side = longest * max(1, round(TILE / longest)) if longest <= TILE else TILE
    font, small, bold = _font("DejaVuSans", 15), _font("DejaVuSans", 12), _font("DejaVuSans-Bold", 15)
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = int(max(probe.multiline_textbbox((0, 0), name, font=font)[2] for name in (*rows, corner))) + 24
    top, step = 36, side + GAP
    sheet = Image.new("RGB", (left + len(columns) * step + GAP, top + len(rows) * step + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((12, top // 2), corner, font=bold, fill=TEXT, anchor="lm")
    for k, name in enumerate(columns):
        middle = left + GAP + k * step + side // 2
        draw.text((middle, top // 2), _fit(draw, name, bold, side), font=bold, fill=TEXT, anchor="mm")
    for r, (name, line) in enumerate(rows.items()):
        y = top + GAP + r * step
        head, _, rest = name.partition("\n")
        half = 8 * (rest.count("\n") + 1) if rest else 0  # of what stands below the first line
        draw.text((12, y + side // 2 - half - 2 * bool(rest)), head, font=font, fill=TEXT, anchor="lm")
        draw.text((12, y + side // 2 + 10), rest, font=small, fill=WEAK, anchor="lm")
        for k, tile in enumerate(line):
            _place(sheet, tile, left + GAP + k * step, y, side, small)
    return sheet


def _place(sheet: Image.Image, tile: Tile, x: int, y: int, side: int, font: ImageFont.FreeTypeFont) -> None:
    """One tile with its top left corner at (x, y): the picture, or the word that stands in its place, and the frame."""
    draw = ImageDraw.Draw(sheet)
    picture = squared(tile.stored, side) if tile.stored else None
    if picture is not None:
        sheet.paste(picture, (x, y))
    else:
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=EMPTY)
        word = "unreadable" if tile.stored else tile.word
        lines = word.replace(" ", "\n", 1) if draw.textlength(word, font=font) > side - 8 else word
        draw.multiline_text((x + side / 2, y + side / 2), lines, font=font, fill=WEAK, anchor="mm", align="center")
    if tile.framed:
        draw.rectangle((x - 3, y - 3, x + side + 2, y + side + 2), outline=FRAME, width=3)


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _fit(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while len(text) > 1 and draw.textlength(text, font=font) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text


def side_of(stored: Stored) -> int | None:
    """The longer side of a picture in pixels, None if it is unreadable."""
    try:
        with Image.open(io.BytesIO(stored.read_bytes())) as picture:
            return max(picture.size)
    except (OSError, UnidentifiedImageError, ResultError):
        return None


def squared(stored: Stored, side: int) -> Image.Image | None:
    """A picture of that side, enlarged without smoothing; None if it is unreadable."""
    try:
        with Image.open(io.BytesIO(stored.read_bytes())) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, ResultError):
        return None
    filters = Image.Resampling
    return picture.resize((side, side), filters.NEAREST if max(picture.size) <= side else filters.LANCZOS)
