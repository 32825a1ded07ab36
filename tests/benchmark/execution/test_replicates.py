"""Replicates: as many cells of each method, another order and another seed each, and more of them later."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from run_fakes import FakeEngine, FakeSequence, tables

from cat_bench.benchmark.artifacts.learned import open_stage
from cat_bench.benchmark.cli.listing import cell_folders
from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import CellEnded, Event, Planned, StageEnded
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.store.files import write_json
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.report import write_report


@pytest.fixture(autouse=True)
def sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def go(runs: Path, replicates: int) -> list[Event]:
    spec = resolve({"sequence": "letters3", "methods": ["lora", "cat"], "replicates": replicates})
    return list(runner.run(spec, runs, None, FakeEngine(spec)))


def test_a_replicate_is_an_order_with_a_seed_and_is_whole_before_the_next_begins(tmp_path: Path) -> None:
    events = go(tmp_path, 2)
    (planned,) = (event for event in events if isinstance(event, Planned))
    assert (planned.cells, planned.stages) == (4, 12)
    ended = [event.cell.path for event in events if isinstance(event, CellEnded)]
    assert ended == ["lora/order0-seed0", "cat/order0-seed0", "lora/order1-seed1", "cat/order1-seed1"]
    assert not (tmp_path / "letters3/lora/order0-seed1").exists()
    spec = json.loads((tmp_path / "letters3/run.json").read_text())["spec"]
    assert spec["replicates"] == 2
    found = cell_folders(tmp_path / "letters3", spec)
    assert [str(path.relative_to(tmp_path / "letters3")) for path in found] == sorted(ended, key=lambda p: p[0] != "l")


def test_more_replicates_later_make_nothing_again(tmp_path: Path) -> None:
    go(tmp_path, 2)
    before, record = tables(tmp_path), json.loads((tmp_path / "letters3/run.json").read_text())
    write_json(tmp_path / "letters3/run.json", {**record, "started": "2026-01-02T03:04:05+00:00"})
    events = go(tmp_path, 3)
    goes_on = json.loads((tmp_path / "letters3/run.json").read_text())
    assert goes_on["started"] == "2026-01-02T03:04:05+00:00" and goes_on["finished"] >= record["finished"]
    cells = Counter((e.cell.path, e.origin) for e in events if isinstance(e, StageEnded) and e.cell is not None)
    new = {("lora/order2-seed2", "made"): 3, ("cat/order2-seed2", "made"): 3}
    assert cells == {**{(f"{m}/order{r}-seed{r}", "ready"): 3 for m in ("lora", "cat") for r in range(2)}, **new}
    after = tables(tmp_path)
    assert before.items() <= after.items() and len(after) > len(before)


def test_a_report_counts_replicates(tmp_path: Path) -> None:
    go(tmp_path, 3)
    run = Run.open(tmp_path / "letters3")
    assert [(cell.method, cell.order, cell.seed) for cell in run.cells] == [
        (method, number, number) for method in ("lora", "cat") for number in range(3)
    ]
    assert not run.troubled
    paths = write_report(tmp_path / "letters3")
    rows = pd.read_csv(paths.summary[0]).set_index("method")
    assert rows.loc["lora", "cells"] == rows.loc["lora", "planned"] == 3
    assert "over n replicates (another order and seed each)" in paths.summary[1].read_text()


def test_a_stage_is_opened_by_its_replicate(tmp_path: Path) -> None:
    go(tmp_path, 2)
    run = tmp_path / "letters3"
    assert open_stage(run, "lora", order=1).folder.parent.name == "order1-seed1"
    assert open_stage(run, "lora", seed=1).folder.parent.name == "order1-seed1"
    assert open_stage(run, "lora").title == "lora-03-cy"
    for order, seed, lacking in ((2, None, "order 2"), (None, 2, "seed 2"), (0, 1, "order 0 with seed 1")):
        with pytest.raises(RunError, match=f"has no {lacking}; its orders with their seeds: 0 with 0, 1 with 1"):
            open_stage(run, "lora", order=order, seed=seed)
