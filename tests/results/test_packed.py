"""A packed run says what the run says: every figure, interval and verdict, from a hundredth of the bytes."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.records import packed
from cat_bench.results.records.packed import CELLS, TOTALS, pack, packed_cells, reference_folder
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.report import write_report
from cat_bench.results.tables.summary import summarise
from cat_bench.results.verdicts.comparison import compare


@pytest.fixture(scope="module")
def both(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A run with a cell that ran out of memory, and the same packed."""
    run, folder = Run.open(small_run), tmp_path_factory.mktemp("packed") / "faces5"
    pack(run.folder, run.info, run.cells, folder)
    return run, Run.open(folder)


def test_every_figure_of_every_cell_is_the_same(both: tuple[Run, Run]) -> None:
    whole, small = (summarise(run) for run in both)
    assert [row.title for row in small.rows] == [row.title for row in whole.rows]
    compared = 0
    for ours, theirs in zip(small.rows, whole.rows, strict=True):
        assert (ours.cells, ours.planned, ours.role) == (theirs.cells, theirs.planned, theirs.role)
        for figure in whole.figures:
            one, other = ours.values[figure.id], theirs.values[figure.id]
            assert (one.n, one.reason) == (other.n, other.reason), (ours.name, figure.id)
            assert one.cells == pytest.approx(other.cells, abs=1e-13)
            compared += len(one.cells)
    assert compared > 100


def test_what_rows_come_to_is_the_same(both: tuple[Run, Run]) -> None:
    for ours, theirs in zip(both[1].cells, both[0].cells, strict=True):
        assert (ours.name, ours.status, ours.reason, ours.prompted_by_token) == (
            theirs.name,
            theirs.status,
            theirs.reason,
            theirs.prompted_by_token,
        )
        mine, given = ours.totals, theirs.totals
        assert (mine.size, dict(mine.seen), dict(mine.missing)) == (given.size, dict(given.seen), dict(given.missing))
        assert mine.judges == given.judges and mine.valued == given.valued
        assert mine.pooled == pytest.approx(given.pooled, abs=1e-13, nan_ok=True)
        np.testing.assert_allclose(mine.mean.reindex(given.mean.index), given.mean, rtol=0, atol=1e-13)
        alone = [key for key in given.mean.index if key[0] != "concept_accuracy"]
        np.testing.assert_array_equal(mine.mean[alone], given.mean[alone])  # to the last bit


def test_verdicts_are_the_same(both: tuple[Run, Run]) -> None:
    for name in ("clip_i_average", "clip_i_forgetting", "kps_class", "concept_accuracy_average"):
        (one,), (other,) = (compare(run, name) for run in both)
        assert one.effect == pytest.approx(other.effect, abs=1e-12) and one.n == other.n == 1


def test_it_is_small_deterministic_and_without_what_is_not_needed(both: tuple[Run, Run], tmp_path: Path) -> None:
    run, small = both
    files = sorted(str(p.relative_to(small.folder)) for p in small.folder.rglob("*") if p.is_file())
    assert files == ["base/scores.parquet", "base/stage.json", CELLS, "run.json", TOTALS]
    pack(run.folder, {**run.info, "complete": {"stages": "many"}}, run.cells, tmp_path)
    assert all((tmp_path / name).read_bytes() == (small.folder / name).read_bytes() for name in files)
    rows = sum(stage.folder.joinpath("scores.parquet").stat().st_size for c in run.cells for stage in c.stages)
    assert (small.folder / TOTALS).stat().st_size < rows / 5


def test_a_form_of_prompts_without_the_noun_is_kept(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(methods=("lora",), concepts=("marivi", "tolbek"), pictures=False)
    for path in folder.glob("lora/*/*/stage.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "config": {"noun": False, "rank": 4}}))
    run = Run.open(folder)
    pack(folder, run.info, run.cells, tmp_path)
    (cell,) = Run.open(tmp_path).cells
    assert cell.prompted_by_token and not math.isnan(cell.totals.mean.iloc[0])


def test_with_what_stages_were_made_is_listed_once_and_read_back(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(methods=("lora", "cat"), concepts=("marivi", "tolbek"), pictures=False)
    path = next(folder.glob("lora/*/02-tolbek/stage.json"))
    info = json.loads(path.read_text())
    info["made"]["sample"] = {"torch": "2.15.0", "gpu": "NVIDIA H100"}
    path.write_text(json.dumps(info))
    run = Run.open(folder)
    pack(folder, run.info, run.cells, tmp_path)
    known, read = ([s.info["made"] for c in one.cells for s in c.stages] for one in (run, Run.open(tmp_path)))
    assert read == known and info["made"] in read and len(read) == 4
    text = (tmp_path / CELLS).read_text()
    assert len(json.loads(text)["made"]) == 2 and text.count("2.15.0") == 1
    (tmp_path / CELLS).write_text(text.replace('"made": 1', '"made": 2'))
    with pytest.raises(ResultError, match="cannot be read as a packed run"):
        list(packed_cells(tmp_path))


def test_damage_is_said(both: tuple[Run, Run], tmp_path: Path) -> None:
    run = both[0]
    pack(run.folder, run.info, run.cells, tmp_path)
    (tmp_path / TOTALS).write_bytes(b"no table")
    with pytest.raises(ResultError, match="cannot be read as a packed run"):
        Run.open(tmp_path)
    (tmp_path / CELLS).write_text('{"schema_version": 99, "cells": []}')
    with pytest.raises(ResultError, match="of another version"):
        list(packed_cells(tmp_path))


def test_a_report_needs_the_run_itself(both: tuple[Run, Run], tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="is packed: it has neither rows nor images"):
        write_report(both[1].folder, tmp_path)
    assert not list(tmp_path.iterdir())


def test_reference_results_are_found_by_sequence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packed, "SHIPPED", tmp_path)
    with pytest.raises(ResultError, match=r"no reference results of faces5 ship .*\(there are: none\)"):
        reference_folder("faces5")
    (tmp_path / "twins4").mkdir()
    (tmp_path / "twins4" / CELLS).write_text("{}")
    assert reference_folder("twins4") == tmp_path / "twins4"
