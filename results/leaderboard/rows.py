"""The long tables of a submission, held against the rules: who made each row, of what, and whether it can be true."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cat_bench.results.leaderboard.folder import LONGEST, WORD, RefusedError, plain
from cat_bench.results.measures.metrics import METRICS
from cat_bench.results.records.long_table import (
    BASE,
    BASE_TOKEN,
    OTHER_NOISE,
    REAL,
    SCHEMA,
    SCHEMA_VERSION,
    TEXTS,
)
from cat_bench.results.scoring.formulas import kps
from cat_bench.results.scoring.scores import ALL

MOST_ROWS, MOST_BYTES, MOST_TEXTS = 200_000, 64 * 2**20, 20_000  # of one table; TEXTS: different ones of a column
_STILL = (BASE, BASE_TOKEN, OTHER_NOISE, REAL)
_IMAGE = ["concept", "prompt", "image"]
_EXACT_ENOUGH = 1e-9
_SLACK = 1e-5  # by which rounding takes a cosine out of its range
_LABELS = ("method", "label")
_WORD = re.compile(WORD)
_EXACT = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}  # null without floats, which lose digits of seeds


@dataclass(frozen=True)
class Expected:
    """What every row of a table must say. sampled: the concepts drawn at the stage, None: it is the base's table.

    kept: whether what the model should keep is drawn there, too.
    """

    columns: Mapping[str, Any]
    concepts: Collection[str]
    sampled: Collection[str] | None = None
    kept: bool = True


def read_rows(content: bytes, path: str) -> pd.DataFrame:
    """A long table of exactly the declared columns. Raises RefusedError, before anything large is unpacked."""
    limits = {"thrift_string_size_limit": 2**22, "thrift_container_size_limit": 2**18}
    try:
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(TEXTS), **limits)
        about, schema = file.metadata, file.metadata.schema.to_arrow_schema()
        size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        if about.num_rows > MOST_ROWS or size > MOST_BYTES or about.num_row_groups > 100:
            raise RefusedError(f"{path} would unpack to {about.num_rows} rows and {size} bytes, more than a stage has")
        if schema.metadata or not schema.equals(SCHEMA):
            odd = sorted({str(f) for f in schema} ^ {str(f) for f in SCHEMA})
            raise RefusedError(f"{path} is of another schema than {SCHEMA_VERSION}: {', '.join(odd) or 'metadata'}")
        for name in TEXTS:  # one after another, since a head may tell lies about what its columns unpack to
            _check_texts(file.read([name], use_threads=False)[name], name, path)
        table = file.read(use_threads=False)
    except (OSError, pa.ArrowException, ValueError, KeyError, MemoryError) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"{path} is no Parquet file that can be read ({error})") from None
    found: pd.DataFrame = table.to_pandas(types_mapper=_EXACT.get)
    return found.astype(dict.fromkeys(TEXTS, object))


def _check_texts(column: pa.ChunkedArray, name: str, path: str) -> None:
    """Names are names, reasons are short lines; checked on the different ones, before each row has its own."""
    longest = 1000 if name == "reason" else LONGEST
    for chunk in column.chunks:
        if len(chunk.dictionary) > MOST_TEXTS:
            raise RefusedError(f"{path}: {name} has more than {MOST_TEXTS} different texts")
        for text in chunk.dictionary.to_pylist():
            free = name in ("reason", *_LABELS) or not text  # what a method is called is held against run.json
            if len(text) > longest or not text.isprintable() or not (free or _WORD.fullmatch(text)):
                raise RefusedError(f"{path}: {name} {plain(text, 60)!r} is not what such a column holds")


def check_rows(table: pd.DataFrame, expected: Expected, path: str) -> None:
    """Raises RefusedError with the first thing that is wrong with a table."""
    if table.empty and expected.sampled == ():
        return
    if table.empty:
        raise RefusedError(f"{path} has no rows")
    for column, value in {"schema_version": SCHEMA_VERSION, **expected.columns}.items():
        column_values = table[column]
        wrong = column_values.notna() if value is None else column_values.isna() | (column_values != value)
        if wrong.any():
            given, wanted = column_values[wrong].iloc[0], "none" if value is None else value
            raise RefusedError(f"{path}: {int(wrong.sum())} rows have {column} {given}, not {wanted}")
    if expected.sampled is None and (strange := set(table["method"]) - set(_STILL)):
        raise RefusedError(f"{path}: rows of {sorted(strange)[0]}, which is not the base model")
    _check_values(table, path)
    _check_concepts(table, expected, path)
    if table.duplicated(["method", "metric", *_IMAGE]).any():
        raise RefusedError(f"{path}: a score of the same metric and image stands there twice")


def _check_values(table: pd.DataFrame, path: str) -> None:
    """Every value in its metric's range, or null with a reason."""
    null = table["value"].isna()
    if (null & table["reason"].isna()).any():
        raise RefusedError(f"{path}: null values without a reason")
    if not np.isfinite(table["value"][~null]).all() or (table["n"] < 0).any():
        raise RefusedError(f"{path}: values that are not finite, or of fewer than no images")
    for metric, values in table.groupby("metric", sort=True)["value"]:
        name = str(metric)
        if name not in METRICS:
            raise RefusedError(f"{path}: {name} is no declared metric")
        low, high = METRICS[name].range
        for value, end, out in ((values.min(), low, -1), (values.max(), high, 1)):
            if end is not None and (value - end) * out > _SLACK:
                raise RefusedError(f"{path}: {name} {value:g} is out of its range {METRICS[name].range}")
    judged = table[(table["metric"] == "concept_accuracy") & ~null]
    judged = judged[judged["method"] != REAL]
    if ((judged["seen"] == judged["concept"]).astype(float) != judged["value"]).any():
        raise RefusedError(f"{path}: concept_accuracy is not what was seen: it is 1 where the concept was, else 0")


def check_preservation(table: pd.DataFrame, path: str) -> None:
    """Whether KPS is what the cosines of the single images come to, of each stratum and of all together."""
    cosines = table[(table["metric"] == "kps_cos") & (table["image"] >= 0)]
    for _, row in table[table["metric"].isin(["kps", "kps_cos"]) & (table["image"] < 0)].iterrows():
        own = cosines if row["concept"] == ALL else cosines[cosines["concept"] == row["concept"]]
        found = own["value"].to_numpy(dtype=np.float64)
        value = kps(found) if row["metric"] == "kps" else found.mean() if len(found) else math.nan
        same = math.isclose(value, row["value"], abs_tol=_EXACT_ENOUGH) or np.isnan([value, row["value"]]).all()
        if not same:
            what = f"{row['metric']} of {row['concept']}"
            raise RefusedError(f"{path}: {what} is not what the scores of its images come to, {value:.6f}")


def _check_concepts(table: pd.DataFrame, expected: Expected, path: str) -> None:
    of_concept = table[table["metric"].map(lambda name: METRICS[name].of == "concept")]
    if strange := set(of_concept["concept"]) - set(expected.concepts):
        raise RefusedError(f"{path}: {sorted(strange)[0]} is no concept of the sequence")
    if expected.sampled is not None and (missing := set(expected.sampled) ^ set(of_concept["concept"])):
        raise RefusedError(f"{path}: of {sorted(missing)[0]} there are scores too many, or none")


def check_images(table: pd.DataFrame, expected: Expected, floor: pd.DataFrame, noise: pd.DataFrame, path: str) -> None:
    """Whether a stage was asked for what the base model was: the same images from the same noise, none left out.

    A score left out, made null, or made twice from other noise would show here. floor, noise: the base model's own
    rows, and those of its images from other noise, which have the form that preservation scores have.
    """
    other = noise.assign(noise=noise["noise"].mask(noise["noise"].notna()))
    base = pd.concat([floor[~floor["metric"].isin(set(other["metric"]))], other], ignore_index=True)
    of_concept = base["metric"].map(lambda name: METRICS[name].of == "concept").astype(bool)
    base = base[(of_concept & base["concept"].isin(set(expected.sampled or ()))) | (~of_concept & expected.kept)]
    ours = table.assign(noise=table["noise"].mask(table["metric"].isin(set(other["metric"]))))
    keys = ["metric", *_IMAGE, "noise"]
    joined = ours[[*keys, "value"]].merge(base[[*keys, "value"]], on=keys, how="outer", indicator=True)
    known = joined["value_x"].notna() | joined["value_y"].isna()
    odd = joined[(joined["_merge"] != "both") | ~known]
    if not odd.empty:
        first = odd.iloc[0]
        what = f"{first['metric']} of {first['concept']}, prompt {first['prompt']}, image {first['image']}"
        side = {"right_only": "is missing", "left_only": "is not the base model's"}
        why = side.get(str(first["_merge"]), "is null, where the base model has a score")
        raise RefusedError(f"{path}: {what} {why}: a stage is asked for the same images, from the same noise")


def images_of(table: pd.DataFrame) -> frozenset[tuple[str, int, int]]:
    """Concept, prompt and number of every image that a table has scores of, image by image."""
    rows = table[(table["metric"] == "clip_i") & (table["image"] >= 0)]
    return frozenset(zip(rows["concept"], rows["prompt"], rows["image"], strict=True))
