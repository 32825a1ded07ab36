"""The images of a stage in one file: a Parquet table, a row each, with the PNG as it was made and what it shows.

The column `image` is as the `datasets` library stores images, so that whatever reads those reads these.
"""

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cat_bench.results.errors import ResultError

FILE = "images.parquet"
CONCEPT, TOKEN, REFERENCE = "concept", "token", "reference"  # kinds of images; token: without the class noun
ROWS = 16  # of a row group: what is read to look at one image

_IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("image", _IMAGE),
        pa.field(
            "kind", pa.string(), nullable=False
        ),  # concept, token, preservation, diversity, other_noise, reference
        pa.field("concept", pa.string(), nullable=False),  # for other kinds than concepts: the stratum or class noun
        pa.field("prompt", pa.int32()),  # its number; null, as are text and noise, where nothing was asked for
        pa.field("number", pa.int32(), nullable=False),  # of the image among those of its prompt
        pa.field("text", pa.string()),
        pa.field("noise", pa.int64()),  # seed of the image's noise
    ],
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)


@dataclass(frozen=True)
class Row:
    """What an image shows; the columns of the same names. path: as a file below a folder of images."""

    path: str
    kind: str
    concept: str
    prompt: int | None
    number: int
    text: str | None
    noise: int | None


def write_images(path: Path, rows: Sequence[Row], pngs: Iterable[bytes]) -> None:
    """Write a file of images, whole or not at all and forced to disk. Holds one row group at a time in memory.

    The same images give the same bytes (of one version of pyarrow, which is named in the file).
    """
    beside, left = path.with_name(f".{path.name}.part"), iter(pngs)
    try:
        with open(beside, "wb") as file:
            with pq.ParquetWriter(
                file,
                SCHEMA,
                compression="none",  # PNG is compressed
                use_dictionary=["kind", "concept", "prompt", "text"],
                write_statistics=["kind", "concept", "prompt", "number"],
            ) as writer:
                for start in range(0, len(rows), ROWS):
                    writer.write_table(_table(rows[start : start + ROWS], left))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _table(rows: Sequence[Row], pngs: Iterator[bytes]) -> pa.Table:
    images = [{"bytes": next(pngs), "path": row.path} for row in rows]
    columns = [[getattr(row, name) for row in rows] for name in SCHEMA.names[1:]]
    return pa.Table.from_arrays(
        [pa.array(values, type=field.type) for values, field in zip([images, *columns], SCHEMA, strict=True)],
        schema=SCHEMA,
    )


@dataclass(frozen=True)
class StoredImage:
    """One image of a file, not read yet."""

    images: "StageImages"
    row: int

    def read_bytes(self) -> bytes:
        """The PNG. Raises ResultError where the file is damaged."""
        return self.images.pngs(self.row, self.row + 1)[0]


class StageImages:
    """A file of images, opened; what is asked for is read, and nothing else."""

    def __init__(self, path: Path) -> None:
        """Raises ResultError if there is no such file, or if it is damaged or of another form."""
        self.path = path
        try:
            self._metadata = pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error
        if absent := set(SCHEMA.names) - set(self._metadata.schema.to_arrow_schema().names):
            raise ResultError(f"{path} lacks the columns {', '.join(sorted(absent))}: it is no file of images")
        self._ends = list(
            accumulate(self._metadata.row_group(n).num_rows for n in range(self._metadata.num_row_groups))
        )

    def __len__(self) -> int:
        return int(self._metadata.num_rows)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """What each image shows."""
        table = self._read(range(len(self._ends)), ["image.path", *SCHEMA.names[1:]])
        values = [table.column(name).to_pylist() for name in SCHEMA.names[1:]]
        paths = [image["path"] for image in table.column("image").to_pylist()]
        return tuple(Row(*row) for row in zip(paths, *values, strict=True))

    def find(self, concept: str, prompt: int | None, number: int, kind: str = CONCEPT) -> StoredImage | None:
        """The image of a concept (or stratum, or class noun), None if it was not made."""
        row = self._places.get((kind, concept, prompt, number))
        return None if row is None else StoredImage(self, row)

    def pngs(self, start: int, stop: int) -> list[bytes]:
        """The PNGs of rows start to stop, as they were made."""
        if start >= stop:
            return []
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, stop - 1)
        before = self._ends[first - 1] if first else 0
        table = self._read(range(first, last + 1), ["image.bytes"]).slice(start - before, stop - start)
        return [image["bytes"] for image in table.column("image").to_pylist()]

    @cached_property
    def _places(self) -> dict[tuple[str, str, int | None, int], int]:
        names = ["kind", "concept", "prompt", "number"]
        table = self._read(range(len(self._ends)), names)
        found = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        return {place: row for row, place in enumerate(found)}

    def _read(self, groups: Iterable[int], columns: list[str]) -> pa.Table:
        try:
            with pq.ParquetFile(self.path, metadata=self._metadata) as file:
                return file.read_row_groups(list(groups), columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ResultError:
        return ResultError(f"{self.path} cannot be read ({error}): delete its folder and run again")
