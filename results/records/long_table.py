"""The long table: one score per row, typed, versioned, the same columns for every method and metric.

Everything else in this package (matrices, summary, plots, report) is a pure function of it and of each stage's
`stage.json`.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cat_bench.results.errors import ResultError

SCHEMA_VERSION = 3
BASE = "base"  # rows of the untouched backbone, stage 0: the floor
BASE_TOKEN = "base[noun=false]"  # the same for methods whose prompts do without the class noun
OTHER_NOISE = "other_noise"  # rows of the untouched backbone against itself, from other noise: preservation alone
REAL = "real"  # rows of the references against each other: the ceiling
SET = -1  # in `prompt` and `image`: the score belongs to the whole set of images

SCHEMA = pa.schema(
    [
        pa.field("schema_version", pa.int16(), nullable=False),
        pa.field("backbone", pa.string(), nullable=False),
        pa.field("protocol", pa.string(), nullable=False),  # equal where rows may stand in one table
        pa.field("method", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # what tables call the method: its name, unless rows say else
        pa.field("sequence", pa.string(), nullable=False),
        pa.field("order", pa.int32()),  # null, as is the seed, where nothing is learned
        pa.field("seed", pa.int64()),
        pa.field("stage", pa.int32(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),  # for preservation metrics: the stratum
        pa.field("prompt", pa.int32(), nullable=False),
        pa.field("image", pa.int32(), nullable=False),
        pa.field("noise", pa.int64()),  # seed of the image's noise; equal seeds pair images of methods and stages
        pa.field("metric", pa.string(), nullable=False),
        pa.field("extractor", pa.string(), nullable=False),  # id of the model whose features were compared
        pa.field("value", pa.float64()),  # null only with a reason
        pa.field("seen", pa.string()),  # by concept_accuracy: the concept that was recognised, or "nobody"
        pa.field("margin", pa.float64()),  # by which it was, or was not, the concept asked for
        pa.field("n", pa.int32(), nullable=False),  # images (or pairs) the value stands for
        pa.field("reason", pa.string()),
    ]
)
COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)
TEXTS = tuple(f.name for f in SCHEMA if f.type == pa.string())  # few different ones, each many times
_INTEGERS = ("schema_version", "stage", "prompt", "image", "n")
_NULLABLE = ("order", "seed", "noise")
# Not by way of floats, which have no room for a seed's 63 bits.
_EXACT = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}


def frame(blocks: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Joins blocks of rows into one long table with the right columns and types.

    Each block maps columns to a scalar or to an array; arrays of one block have one length. A value that is not finite
    becomes null, with the block's `reason` or "not finite"; a value that is there loses its reason.
    """
    parts = []
    for block in blocks:
        size = max((len(v) for v in block.values() if isinstance(v, np.ndarray | list | tuple)), default=1)
        part = {c: np.repeat(_default(c), size) for c in COLUMNS}
        block = {"label": block.get("method"), **block}
        part |= {c: np.asarray(v) if np.ndim(v) else np.full(size, v, dtype=object) for c, v in block.items()}
        parts.append(part)
    columns = {c: np.concatenate([p[c] for p in parts]) if parts else np.array([], dtype=object) for c in COLUMNS}
    value = np.array([np.nan if v is None else v for v in columns["value"]], dtype=np.float64)
    missing = ~np.isfinite(value)
    value[missing] = np.nan
    reason = np.array([None if r is None else str(r) for r in columns["reason"]], dtype=object)
    reason[~missing] = None
    reason[missing & pd.isna(reason)] = "not finite"
    columns |= {"value": value, "reason": reason}
    return _typed(pd.DataFrame(columns))


def _default(column: str) -> Any:
    return {"schema_version": SCHEMA_VERSION, "prompt": SET, "image": SET, "n": 1, "reason": None}.get(column)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    table = table.loc[:, list(COLUMNS)].copy()
    for column in COLUMNS:
        if column in _INTEGERS:
            table[column] = table[column].astype(np.int64)
        elif column in _NULLABLE:
            table[column] = table[column].astype("Int64")
        elif column in ("value", "margin"):
            table[column] = table[column].astype(np.float64)
        else:  # object on every pandas, so that None stays None
            table[column] = table[column].astype(object).where(table[column].notna(), None)
    return table


def validate(table: pd.DataFrame, where: str = "the table") -> pd.DataFrame:
    """Returns the table typed, or raises ResultError: a column missing, a newer schema, a null without a reason."""
    versions = table["schema_version"].unique().tolist() if "schema_version" in table.columns else []
    _check(versions, table.columns, where)
    table = _typed(table)
    _check_reasons(bool((table["value"].isna() & table["reason"].isna()).any()), where)
    return table


def _check(versions: Sequence[int], columns: Sequence[str] | pd.Index, where: str) -> None:
    oldest, newest = (min(versions), max(versions)) if len(versions) else (SCHEMA_VERSION, SCHEMA_VERSION)
    if oldest < SCHEMA_VERSION:
        raise ResultError(
            f"{where} was scored by an earlier version of cat-bench (table schema {oldest}, this one has"
            f" {SCHEMA_VERSION}): give the same `cat-bench run` again, which redoes what has changed since"
        )
    if newest > SCHEMA_VERSION:
        raise ResultError(f"{where} was written by a newer version of cat-bench: upgrade to read it")
    if absent := [c for c in COLUMNS if c not in columns]:
        raise ResultError(f"{where} lacks the columns {', '.join(absent)}: score the stage again")


def _check_reasons(lacking: bool, where: str) -> None:
    if lacking:
        raise ResultError(f"{where} has null values without a reason: score the stage again")


def write_scores(table: pd.DataFrame, path: Path) -> None:
    """Writes the long table as Parquet, whole or not at all. The same table gives the same bytes."""
    table = validate(table, str(path))
    arrays = [pa.array(table[f.name], type=f.type, from_pandas=True) for f in SCHEMA]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def read_scores(path: Path) -> pd.DataFrame:
    """Reads and validates a long table. Raises ResultError if the file is damaged or of another schema."""
    with _readable(path):
        table = pq.ParquetFile(path).read().to_pandas(types_mapper=_EXACT.get)
    return validate(table, str(path))


def read_columns(path: Path, columns: Sequence[str] = COLUMNS) -> pa.Table:
    """Columns of a long table, texts as dictionaries: a few bytes a row. Raises as `read_scores`.

    Among them must be `schema_version`, `value` and `reason`.
    """
    with _readable(path):
        try:
            file = pq.ParquetFile(path, read_dictionary=[c for c in columns if c in TEXTS])
        except KeyError:  # it lacks one, as is said below
            file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        table = file.read(columns=[c for c in columns if c in names], use_threads=False)
    versions = pc.unique(table["schema_version"]).to_pylist() if "schema_version" in names else []
    _check(versions, names, str(path))
    value = table["value"]
    nothing = pc.or_kleene(pc.is_null(value), pc.is_nan(value)) if value.null_count else pc.is_nan(value)
    _check_reasons(pc.any(pc.and_(nothing, pc.is_null(table["reason"]))).as_py() or False, str(path))
    return table


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise ResultError(f"{path} cannot be read ({error}): delete its stage folder and run again") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside and renames, so that a reader never sees half a file. Raises ResultError if it cannot."""
    with written_beside(path) as beside:
        beside.write_bytes(content)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A file to write that takes its place when it is whole. Raises ResultError if it cannot."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except OSError as error:
        raise ResultError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)
