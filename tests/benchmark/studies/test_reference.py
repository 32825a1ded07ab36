"""Reference results: what is declared, the whole command at tiny size, and a check that sees what moved."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.spec import METHODS
from cat_bench.benchmark.studies.reference import check, make
from cat_bench.benchmark.studies.reference.asked import Asked, Part, asked
from cat_bench.methods.registry import methods
from cat_bench.results.records import packed
from cat_bench.results.records.packed import TOTALS
from cat_bench.results.records.run_folder import Run
from cat_bench.tasks.sequence import load_sequence

QUICK = "[batch_size=2,rank=2,steps=2]"
LORA, CAT = f"lora{QUICK}", f"cat{QUICK}"


def test_what_is_declared_is_every_method_and_no_sequence_lacks_orders() -> None:
    every = asked()
    assert [one.sequence for one in every] == ["faces5", "twins4", "objects5", "mixed6"]
    faces, *others = every
    assert faces.parts[0] == Part(METHODS, 10) and faces.parts[1].replicates == 5
    own = {entry.name for entry in methods.entries() if entry.target.startswith("cat_bench.")}
    assert set(faces.parts[1].methods) == own and faces.parts[1].methods[:6] == METHODS
    assert all(one.parts == (Part((*METHODS, "isolated", "joint"), 5),) for one in others)
    for one in every:
        load_sequence(one.sequence).ordered(max(part.replicates for part in one.parts) - 1)
    assert faces.of(2).parts == (Part(faces.parts[1].methods, 2),)
    with pytest.raises(SpecError, match="--only faces4: no such reference results; did you mean 'faces5'"):
        make.chosen(["faces4"], None)
    assert [one.sequence for one in make.chosen(["mixed6", "twins4"], 1)] == ["twins4", "mixed6"]


@pytest.fixture
def given(
    tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Settings of the command with a tiny model, two methods and few steps."""
    model = tmp_path / "models" / "tiny"
    shutil.copytree(tiny_backbone_folder, model)
    shutil.copytree(tiny_metric_folder, model.with_name("tiny-clip"))
    parts = (Part((LORA,), 2), Part((LORA, CAT), 1))
    monkeypatch.setattr(make, "asked", lambda: (Asked("smoke2", parts), Asked("faces5", parts)))
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", lambda number, handler: before)
    monkeypatch.setattr(packed, "SHIPPED", tmp_path / "reference")
    names = {"backbone": str(model), "runs": tmp_path / "runs", "out": tmp_path / "reference"}
    return {"only": ["smoke2"], "replicates": None, "workers": 1, **names}


def test_the_command_packs_what_it_ran_and_a_check_holds_it(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make.main(**given)
    folder = tmp_path / "reference" / "smoke2"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    grids = {f"grids/grid-{label}.png" for label in (LORA, CAT)}
    tables = {"summary.md", "verdicts.md", "verdicts.csv"}
    assert files == {"run.json", "cells.json", TOTALS, "base/stage.json", "base/scores.parquet", *tables, *grids}
    run = Run.open(folder)
    assert [(cell.method, cell.order, cell.seed) for cell in run.cells] == [(LORA, 0, 0), (CAT, 0, 0), (LORA, 1, 1)]
    assert not run.troubled and run.methods == (LORA, CAT)
    info = json.loads((folder / "run.json").read_text())
    assert info["reference"]["command"].startswith("python -m cat_bench.benchmark.studies.reference")
    assert {"versions", "git", "machine", "protocol", "spec_hash"} <= set(info) and "complete" not in info
    assert "## Summary" in (folder / "summary.md").read_text()
    assert "8 stages" not in capsys.readouterr().err

    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.json"}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("stage.json")}
    make.main(**given)  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("stage.json")} == made
    assert {path: path.read_bytes() for path in written} == written

    held_to(tmp_path, "fresh", 0, capsys)
    assert "0 of " in capsys.readouterr().out
    table = pd.read_parquet(folder / TOTALS)
    rows = (table["metric"] == "clip_i") & (table["method"] == LORA)
    table.loc[rows, "value"] += 5.0
    packed.pq.write_table(packed.pa.Table.from_pandas(table, packed.SCHEMA, preserve_index=False), folder / TOTALS)
    held_to(tmp_path, "fresh", 1, capsys)
    moved = [line for line in capsys.readouterr().out.splitlines() if line.startswith("moved")]
    assert any("clip_i_average" in line for line in moved) and not any("kps" in line for line in moved)


def held_to(place: Path, runs: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the check; the second time nothing is computed again."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        check.main(method=LORA, sequence="smoke2", replicates=2, workers=1, runs=place / runs)
    assert ended.value.code == code
