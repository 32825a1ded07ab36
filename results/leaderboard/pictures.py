"""Pictures of a submission: looked at from outside before they are decoded, and written anew before they are shown."""

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cat_bench.results.leaderboard.folder import RefusedError
from cat_bench.results.leaderboard.record import ImagesRecord
from cat_bench.results.records.images import CONCEPT, SCHEMA, StageImages

SIDE, PIXELS = 4096, 6_000_000  # of a picture
_BYTES = 32 * 2**20
_MOST_IMAGES, _GROUP = 100_000, 512 * 2**20
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PAGE = 1000  # pixels: as wide as a grid is shown at most


def check_png(png: bytes, where: str) -> tuple[int, int]:
    """Width and height. Nothing is decoded. Raises RefusedError: no PNG, too large, more than one picture in it."""
    if len(png) > _BYTES or png[:8] != _SIGNATURE or png[12:16] != b"IHDR":
        raise RefusedError(f"{where} is no PNG of at most {_BYTES >> 20} MiB")
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    if not 0 < width <= SIDE or not 0 < height <= SIDE or width * height > PIXELS:
        raise RefusedError(f"{where} would be {width} × {height} pixels, more than the {PIXELS} that are shown")
    with _opened(png, where) as picture:  # a second head further down would count, not the first
        if picture.size != (width, height) or getattr(picture, "n_frames", 1) != 1:
            raise RefusedError(f"{where} has more than one head or picture")
    return width, height


def decoded(png: bytes, where: str) -> Image.Image:
    """The picture, decoded whole. Raises RefusedError if it is none, too large or damaged."""
    check_png(png, where)
    with _opened(png, where) as picture:
        return picture.convert("RGB")


@contextmanager
def _opened(png: bytes, where: str) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            yield picture
    except RefusedError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RefusedError(f"{where} cannot be decoded ({error})") from None


def small_png(picture: Image.Image) -> bytes:
    """A grid as it is handed in: no wider than it is shown, few colours, a few dozen KB."""
    picture = _narrowed(picture).quantize(96, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class Shown:
    """A picture as a page has it, made anew from pixels: a data URI."""

    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, picture: Image.Image) -> "Shown":
        """No wider than a page shows it."""
        picture, buffer = _narrowed(picture), io.BytesIO()
        picture.save(buffer, "WEBP", quality=80, method=4)
        return cls(f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}", *picture.size)


def _narrowed(picture: Image.Image) -> Image.Image:
    if picture.width <= _PAGE:
        return picture
    return picture.resize((_PAGE, max(1, round(_PAGE * picture.height / picture.width))), Image.Resampling.BOX)


def check_packed(path: Path, where: str, wanted: frozenset[tuple[str, int, int]]) -> ImagesRecord:
    """A stage's file of images: of the form that there is, every image one by its head, and those that have scores.

    Raises RefusedError. wanted: concept, prompt and number of the images that there are scores of.
    """
    try:
        with pq.ParquetFile(path, thrift_string_size_limit=2**22) as file:
            about = file.metadata
            sizes = [about.row_group(n).total_byte_size for n in range(about.num_row_groups)]
            if about.num_rows > _MOST_IMAGES or max(sizes, default=0) > _GROUP:
                raise RefusedError(f"{where} would unpack to {about.num_rows} images and {sum(sizes)} bytes")
            if not file.schema_arrow.remove_metadata().equals(SCHEMA.remove_metadata()):
                raise RefusedError(f"{where} is no file of images: its columns are others")
            for group in range(about.num_row_groups):
                for image in file.read_row_group(group, ["image.bytes"], use_threads=False).column(0).to_pylist():
                    check_png((image or {}).get("bytes") or b"", where)
        rows = StageImages(path).rows
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"{where} cannot be read ({error})") from None
    there = {(row.concept, row.prompt, row.number) for row in rows if row.kind == CONCEPT}
    if there != wanted:
        raise RefusedError(f"{where} has images of {len(there)} prompts and numbers, the scores {len(wanted)} others")
    digest = hashlib.sha256()
    with open(path, "rb") as whole:
        while block := whole.read(2**20):
            digest.update(block)
    return ImagesRecord(number=len(rows), sha256=digest.hexdigest())
