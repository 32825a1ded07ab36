"""One method several times in a run, each time with other settings."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from finished_run import drawn, finish, largest
from run_fakes import FakeEngine, FakeSequence

from cat_bench.benchmark.artifacts.export import export
from cat_bench.benchmark.artifacts.learned import open_stage
from cat_bench.benchmark.artifacts.unpacked import wanted_images
from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.errors import RunError, SpecError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import Event, StageEnded
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.store.record import RunRecord
from cat_bench.results.report.report import write_report

VARIANT = "lora[lr=0.01]"


@pytest.fixture(scope="module")
def finished(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("variants"), tiny_backbone_folder, tiny_metric_folder, ("lora", VARIANT))


def again(finished: Path, *methods: str) -> list[Event]:
    spec = resolve(RunRecord.read(finished).spec.model_dump(mode="json"), {"methods": methods})
    return list(runner.run(spec, finished.parent))


def test_a_variant_has_its_own_folder_record_and_results(finished: Path) -> None:
    methods = json.loads((finished / "run.json").read_text())["methods"]
    assert list(methods) == ["lora", VARIANT]
    plain, variant = methods["lora"], methods[VARIANT]
    assert (plain["method"], plain["settings"]) == ("lora", {})
    assert (variant["method"], variant["settings"]) == ("lora", {"lr": 0.01})
    assert variant["config"] == {**plain["config"], "lr": 0.01}
    for number, concept in enumerate(RunRecord.read(finished).concepts, 1):
        assert (finished / VARIANT / "order0-seed0" / f"{number:02d}-{concept.id}" / "stage.json").is_file()
    assert largest(drawn(finished, "lora")[2], drawn(finished, VARIANT)[2]) > 2


def test_its_report_has_a_row_for_each(finished: Path, tmp_path: Path) -> None:
    paths = write_report(finished, tmp_path)
    assert list(pd.read_csv(paths.summary[0])["method"])[2:4] == ["lora", VARIANT]
    table = pd.read_csv(paths.scores[1])
    assert {"lora", VARIANT} < set(table["method"]) and table["value"].dtype == float
    assert VARIANT in paths.summary[1].read_text() and VARIANT in paths.html.read_text()
    tex = paths.summary[2].read_text()
    assert "lora{[}lr=0.01{]} &" in tex, "a bracket at the start of a row would be an option of the line break"
    assert (tmp_path / "grids" / f"grid-{VARIANT}.png").is_file()


def test_a_second_run_makes_nothing_again_and_a_further_variant_alone(finished: Path) -> None:
    assert not [event for event in again(finished, "lora", "lora[lr=1e-2]") if isinstance(event, StageEnded)]
    events = again(finished, "lora", VARIANT, "lora[steps=2]")
    ended = [(event.cell.method, event.origin) for event in events if isinstance(event, StageEnded) and event.cell]
    assert Counter(ended) == {("lora", "ready"): 2, (VARIANT, "ready"): 2, ("lora[steps=2]", "made"): 2}


def test_equal_settings_are_refused_before_anything_is_written(finished: Path) -> None:
    before = (finished / "run.json").read_bytes()
    with pytest.raises(SpecError, match=r"^methods lora and lora\[lr=0.03\] have the same settings: leave one of them"):
        again(finished, "lora", "lora[lr=3e-2]")
    assert (finished / "run.json").read_bytes() == before


def test_a_variant_is_opened_taken_away_and_unpacked_however_its_numbers_are_written(
    finished: Path, tmp_path: Path
) -> None:
    learned = open_stage(finished, "lora[lr=1e-2]")
    assert learned.title == f"{VARIANT}-{learned.folder.name}" and learned.method.config.lr == 0.01
    export(learned, tmp_path / learned.title)
    assert f"`{VARIANT}`, version" in (tmp_path / learned.title / "README.md").read_text()
    (packed, *_) = wanted_images(finished, False, ["lora[lr=1e-2]"])
    assert packed.below.parts[0] == VARIANT
    with pytest.raises(RunError, match=r"method 'lora\[lr=0.5\]' is not in"):
        open_stage(finished, "lora[lr=0.5]")


def test_the_console_shows_a_variant_as_it_is_called(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cat-bench", "show", str(finished)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main()
    assert f"{VARIANT}/order0-seed0" in capsys.readouterr().out


def test_equal_settings_share_their_results_whatever_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    first = resolve({"sequence": "letters3", "methods": ["cat[weight=0]"]})
    list(runner.run(first, tmp_path, "a", FakeEngine(first)))
    second = resolve({"sequence": "letters3", "methods": ["cat"], "overrides": {"cat": {"weight": 0.0}}})
    engine = FakeEngine(second)
    events = list(runner.run(second, tmp_path, "b", engine))
    assert {event.origin for event in events if isinstance(event, StageEnded)} == {"shared"} and not engine.calls
