"""A table summed up stage by stage says what the whole table says, to the last bit; so does the long table written."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cat_bench.results.measures import matrices
from cat_bench.results.records.long_table import write_scores
from cat_bench.results.records.run_folder import Run
from cat_bench.results.records.totals import Totals
from cat_bench.results.report import long_tables


@pytest.fixture(scope="module")
def run(small_run: Path) -> Run:
    return Run.open(small_run)


def test_means_are_those_of_the_whole_table_in_its_order(run: Run) -> None:
    for cell in run.cells:
        table = pd.concat([run.floor(), cell.scores], ignore_index=True)
        expected = matrices.means(table)
        found = run.summed(cell).mean
        assert found.index.tolist() == expected.index.tolist()
        np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())


def test_what_is_counted_is_what_is_in_the_rows(run: Run) -> None:
    cell = run.of("lora")[0]
    table = cell.scores
    last = table[table["stage"] == table["stage"].max()]
    for metric, mean in cell.totals.pooled.items():
        np.testing.assert_array_equal(mean, last.loc[last["metric"] == metric, "value"].mean())
    judged = last[last["metric"] == "concept_accuracy"]
    assert cell.totals.seen == dict(judged.groupby(["concept", "seen"]).size())
    nulls = table[table["value"].isna()]
    assert cell.totals.missing == dict(nulls.groupby(["metric", "reason"], sort=False).size())
    assert cell.totals.judges == tuple(
        table[["metric", "extractor"]].drop_duplicates().itertuples(index=False, name=None)
    )
    assert cell.totals.size == len(table) and cell.totals.valued == set(table.loc[table["value"].notna(), "metric"])
    assert Totals.joined([]).size == 0 and Totals.joined([]).mean.empty


def test_the_long_table_is_written_as_pandas_and_one_table_would(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tmp_path / "scores.parquet", tmp_path / "scores.csv"
    long_tables.write_long_table(run, *paths)
    write_scores(run.scores, tmp_path / "whole.parquet")
    assert paths[0].read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert paths[1].read_text(encoding="utf-8") == run.scores.to_csv(index=False, lineterminator="\n")
    monkeypatch.setattr(long_tables, "ROWS", 100)  # many row groups
    long_tables.write_long_table(run, *paths)
    pd.testing.assert_frame_equal(pd.read_parquet(paths[0]), pd.read_parquet(tmp_path / "whole.parquet"))


def test_numbers_and_words_are_written_as_pandas_writes_them() -> None:
    draws = np.random.default_rng(0)
    numbers = draws.normal(size=2000) * 10.0 ** draws.integers(-30, 30, 2000)
    values = [*numbers, 0.0, -0.0, 1.0, 0.5, 1e-4, 9e-5, 1e15, 1e16, 1e17, 12345678.0, math.nan]
    words = ["plain", "with, comma", 'a "word"', "two\nlines", None]
    size = len(values)
    frame = pd.DataFrame({"value": values, "word": [words[n % 5] for n in range(size)], "n": range(size)})
    texts = pa.array([words[n % 5] for n in range(size)]).dictionary_encode()
    columns = [pa.array(values, from_pandas=True), texts, pa.array(range(size))]
    assert _lines(columns) == _csv(frame)


def test_columns_of_one_value_are_written_as_any_other() -> None:
    same: list[tuple[str | int | float | None, pa.DataType]] = [
        *(("a, b", pa.string()), (7, pa.int32()), (None, pa.int64()), (0.5, pa.float64())),
        *((None, pa.float64()), ("", pa.string()), (None, pa.string())),
    ]
    for size in (3, 1):
        frame = pd.DataFrame({str(k): pd.Series([value] * size, dtype=object) for k, (value, _) in enumerate(same)})
        columns = [pa.array([value] * size, kind) for value, kind in same]
        columns = [c.dictionary_encode() if c.type == pa.string() else c for c in columns]
        assert _lines(columns) == _csv(frame)
        del columns[3]  # now there is no column but such
        assert _lines(columns) == _csv(frame.drop(columns="3"))


def _lines(columns: list[pa.Array]) -> str:
    return bytes(long_tables._lines(pa.table(columns, names=list(map(str, range(len(columns))))))).decode()


def _csv(frame: pd.DataFrame) -> str:
    text = io.StringIO()
    frame.to_csv(text, index=False, header=False, lineterminator="\n")
    return text.getvalue()
