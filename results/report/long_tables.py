"""The long table of a whole run as Parquet and CSV, written stage by stage: as large as the disk allows."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cat_bench.results.records.cell import SCORES
from cat_bench.results.records.long_table import SCHEMA, TEXTS, read_columns, written_beside
from cat_bench.results.records.run_folder import Run

ROWS = 2**20  # of a row group of the Parquet file


def write_long_table(run: Run, parquet: Path, comma_separated: Path) -> None:
    """Write all rows of a run: base and real rows first, then cell by cell. The same run gives the same bytes."""
    with (
        written_beside(parquet) as first,
        written_beside(comma_separated) as second,
        pq.ParquetWriter(first, SCHEMA, compression="zstd") as writer,
        second.open("wb") as lines,
    ):
        lines.write((",".join(SCHEMA.names) + "\n").encode())
        waiting: list[pa.Table] = []
        for table in _tables(run):
            lines.write(_lines(table))
            waiting.append(table)
            while sum(part.num_rows for part in waiting) >= ROWS:
                waiting = [_write(writer, waiting)]
        _write(writer, waiting)


def _tables(run: Run) -> Iterator[pa.Table]:
    """Each stage's rows, texts as dictionaries."""
    if not run.base_scores.empty:
        yield _read(run.folder / "base" / SCORES, {})
    for cell in run.cells:
        for stage in cell.stages:
            yield _read(stage.folder / SCORES, stage.labels)


def _read(path: Path, labels: Mapping[str, Any]) -> pa.Table:
    """labels: columns that have one value all over, whatever is in the file."""
    table, columns = read_columns(path).unify_dictionaries(), []
    for field in SCHEMA:
        kind = pa.dictionary(pa.int32(), pa.string()) if field.name in TEXTS else field.type
        if field.name in labels:
            column = pa.repeat(pa.scalar(labels[field.name], field.type), table.num_rows).cast(kind)
        else:
            column = table[field.name].combine_chunks().cast(kind)
        columns.append(column)
    return pa.table(columns, names=SCHEMA.names)


def _write(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> pa.Table:
    """Write a row group, or what there is of one; the rows that are left."""
    table = pa.concat_tables(waiting) if waiting else SCHEMA.empty_table()
    writer.write_table(table[:ROWS].cast(SCHEMA).combine_chunks(), row_group_size=ROWS)
    return table[ROWS:]


def _lines(table: pa.Table) -> memoryview:
    """The rows as CSV, written as pandas writes them: shortest exact numbers, null an empty field."""
    if not table.num_rows:
        return memoryview(b"")
    fields: list[pa.Array | pa.Scalar] = []
    for column in (column.chunk(0) for column in table.columns):
        text = _text(column[:1] if (same := _same(column)) else column)
        if not same:
            fields.append(text)
        elif fields and isinstance(fields[-1], pa.Scalar):  # written once, with its neighbours
            fields[-1] = pa.scalar(f"{fields[-1]},{text[0].as_py() or ''}")
        else:
            fields.append(pa.scalar(text[0].as_py() or ""))
    joined = pc.binary_join_element_wise(*fields, ",", null_handling="replace", null_replacement="")
    ended = pc.binary_join_element_wise(joined, pa.repeat("\n", table.num_rows), "")
    return memoryview(ended.buffers()[2])[: pc.sum(pc.binary_length(ended)).as_py()]


def _same(column: pa.Array) -> bool:
    """Whether a column surely has one value all over: of a stage, most have."""
    if column.null_count:
        return bool(column.null_count == len(column))
    if pa.types.is_dictionary(column.type):
        return len(column.dictionary) == 1
    return pa.types.is_integer(column.type) and len(set(pc.min_max(column).as_py().values())) == 1


def _text(column: pa.Array) -> pa.Array:
    """Each value as it stands in a CSV."""
    if pa.types.is_dictionary(column.type):
        quoted = pa.array([_quoted(word) for word in column.dictionary.to_pylist()], pa.string())
        return pa.DictionaryArray.from_arrays(column.indices, quoted).cast(pa.string())
    text = column.cast(pa.string())
    if not pa.types.is_floating(column.type):
        return text
    # Python and Arrow print the same shortest digits, but Python adds a point to whole numbers and turns to
    # exponents elsewhere.
    size = np.abs(column.to_numpy(zero_copy_only=False))
    text = pc.if_else(pa.array(size == np.floor(size)), pc.binary_join_element_wise(text, ".0", ""), text)
    small_or_large = ((size < 1e-4) & (size > 0)) | (size >= 1e7)
    if small_or_large.any():
        words = [repr(value) for value in column.filter(pa.array(small_or_large)).to_pylist()]
        text = pc.replace_with_mask(text, pa.array(small_or_large), pa.array(words))
    return text


def _quoted(word: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([word, ""])
    return buffer.getvalue()[: -len(",\n")]
