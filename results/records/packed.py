"""A run, packed: all that figures, tables and verdicts are made of in four small files, without images or models.

    run.json               what the run recorded of itself
    base/                  stage.json and scores.parquet of the untouched backbone, as they are
    cells.json             how each cell ended, and of its stages what they cost and their keys; the versions that they
                           were made with are listed once, and a stage says which of these
    totals.parquet         the long table of all cells; rows that differ only in prompt, image or noise are one: `value`
                           is their mean, `rows` how many they are

A packed run is opened as any other (`Run.open`), and its figures are the same up to the last bits.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cat_bench.results.errors import ResultError
from cat_bench.results.records.cell import SCORES, Cell, Stage, json_in
from cat_bench.results.records.long_table import BASE, write_atomically
from cat_bench.results.records.totals import Totals

CELLS, TOTALS = "cells.json", "totals.parquet"
VERSION = 2
SHIPPED = Path(__file__).parents[1] / "reference"  # packed runs by the id of their sequence
SCHEMA = pa.schema(
    [
        pa.field("method", pa.string(), nullable=False),
        pa.field("order", pa.int32(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("stage", pa.int32(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),
        pa.field("extractor", pa.string(), nullable=False),
        pa.field("seen", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("value", pa.float64()),  # null only with a reason
        pa.field("rows", pa.int32(), nullable=False),
    ]
)
_CELL = ["method", "order", "seed"]
_LEVELS = ["metric", "stage", "concept"]
_ALIKE = [*_LEVELS, "extractor", "seen", "reason"]
_KEPT = ("key", "seconds", "peak_memory_bytes", "trainable_parameters", "bytes_carried", "delta_norm", "change_norm")


def reference_folder(sequence: str) -> Path:
    """Where the reference results of a sequence lie. Raises ResultError if none ship."""
    folder = SHIPPED / sequence
    if not (folder / CELLS).is_file():
        there = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{CELLS}"))) or "none"
        raise ResultError(f"no reference results of {sequence} ship with this version (there are: {there})")
    return folder


def pack(run: Path, info: Mapping[str, Any], cells: Sequence[Cell], folder: Path) -> None:
    """Write the run of a folder packed: its run.json, its cells. The same gives the same bytes.

    Raises ResultError if what is there cannot be read.
    """
    tables = [table for cell in cells if not (table := _summed(cell)).empty]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=SCHEMA.names)
    buffer = io.BytesIO()
    arrays = [pa.array(whole[field.name], type=field.type, from_pandas=True) for field in SCHEMA]
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), buffer, compression="zstd")
    write_atomically(folder / TOTALS, buffer.getvalue())
    made: list[Any] = []
    lines = [json.dumps(_described(cell, made), ensure_ascii=False) for cell in cells]
    head = f'{{"schema_version": {VERSION}, "made": {json.dumps(made, ensure_ascii=False)}, "cells": [\n'
    write_atomically(folder / CELLS, (head + ",\n".join(lines) + "\n]}\n").encode())
    for name in ("stage.json", SCORES):
        write_atomically(folder / BASE / name, (run / BASE / name).read_bytes())
    info = {key: value for key, value in info.items() if key != "complete"}
    write_atomically(folder / "run.json", (json.dumps(info, indent=2, ensure_ascii=False) + "\n").encode())


def is_packed(folder: Path) -> bool:
    """Whether a folder holds a packed run."""
    return (folder / CELLS).is_file()


def packed_cells(folder: Path) -> Iterator[Cell]:
    """The cells of a packed run. Raises ResultError if it is damaged or of a newer version."""
    said = json_in(folder / CELLS)
    if said is None or said.get("schema_version") != VERSION:
        raise ResultError(f"{folder / CELLS} is damaged, or of another version than {VERSION} of cat-bench's own")
    try:
        whole = pq.ParquetFile(folder / TOTALS).read().cast(SCHEMA).to_pandas()
        tables = dict(tuple(whole.groupby(_CELL, sort=False)))
        for cell in said["cells"]:
            key = (str(cell["method"]), int(cell["order"]), int(cell["seed"]))
            place = folder / key[0] / f"order{key[1]}-seed{key[2]}"  # which is not there
            stages = tuple(_stage(info, place, said["made"]) for info in cell["stages"])
            totals = _totals(tables[key]) if key in tables else Totals()
            yield Cell(*key, str(cell["status"]), cell["reason"], place, stages, totals)
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError) as error:
        raise ResultError(f"{folder} cannot be read as a packed run ({error})") from error


def _summed(cell: Cell) -> pd.DataFrame:
    """A cell's rows of the long table, those alike as one."""
    groups = cell.scores.assign(rows=1).groupby(_ALIKE, sort=False, dropna=False)
    table = groups.agg({"value": "mean", "rows": "sum"}).reset_index()
    return table.assign(method=cell.method, order=cell.order, seed=cell.seed).reindex(columns=SCHEMA.names)


def _stage(info: Mapping[str, Any], place: Path, made: Sequence[Any]) -> Stage:
    known = {**info, "made": made[info["made"]]} if "made" in info else info
    return Stage(int(info["stage"]), str(info["concept"]), place, known)


def _described(cell: Cell, made: list[Any]) -> dict[str, Any]:
    """What cells.json says of a cell. made: with what its stages were made is added, unless it is there."""
    stages = []
    for stage in cell.stages:
        info: dict[str, Any] = {"stage": stage.number, "concept": stage.concept}
        info |= {key: stage.info[key] for key in _KEPT if key in stage.info}
        if "made" in stage.info:
            if stage.info["made"] not in made:
                made.append(stage.info["made"])
            info["made"] = made.index(stage.info["made"])
        if cell.prompted_by_token:
            info["config"] = {"noun": False}
        stages.append(info)
    ended: Mapping[str, Any] = {"status": cell.status, "reason": cell.reason}
    return {"method": cell.method, "order": cell.order, "seed": cell.seed, **ended, "stages": stages}


def _totals(table: pd.DataFrame) -> Totals:
    """What a cell's rows come to; a row counts as often as rows of the long table were alike."""
    known = table["rows"].where(table["value"].notna(), 0)
    keys = [table[name] for name in _LEVELS]
    # of a row that stands alone the share is exactly 1, so its mean is kept to the last bit
    share = known / known.groupby(keys).transform("sum")
    mean = (table["value"] * share).groupby(keys, sort=False).sum(min_count=1)
    last = table["stage"] == table["stage"].max()
    judged = table[last & (table["metric"] == "concept_accuracy") & table["seen"].notna()]
    null = table[table["value"].isna()]
    weights = known[last].groupby(table["metric"], sort=False).sum()
    sums = (table["value"] * known)[last].groupby(table["metric"], sort=False).sum()
    metrics = dict.fromkeys(table["metric"])
    return Totals(
        size=int(table["rows"].sum()),
        mean=mean,
        pooled={name: float(sums[name] / weights[name]) if weights.get(name) else float("nan") for name in metrics},
        seen=_counts(judged, "concept", "seen"),
        missing=_counts(null, "metric", "reason"),
        judges=tuple(dict.fromkeys(zip(table["metric"], table["extractor"], strict=True))),
    )


def _counts(table: pd.DataFrame, first: str, second: str) -> dict[tuple[str, str], int]:
    """How many rows of the long table there are of each pair."""
    sums: dict[tuple[str, str], int] = {}
    for one, other, rows in zip(table[first], table[second], table["rows"], strict=True):
        sums[one, other] = sums.get((one, other), 0) + int(rows)
    return sums
