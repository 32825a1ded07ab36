"""A method that is prompted without the class noun is compared with the base model that is prompted so, too."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from run_fakes import FakeEngine, FakeSequence

from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import Event, StageEnded
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.results.measures.subjects import Subject
from cat_bench.results.records.images import CONCEPT, TOKEN, StageImages
from cat_bench.results.records.long_table import BASE, BASE_TOKEN, read_scores
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.report import write_report

BARE = "cat[noun=false]"
CONCEPTS, EACH = ("ada", "bob", "cy"), 6  # images of a concept


@pytest.fixture(autouse=True)
def sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def go(runs: Path, *methods: str, **changes: object) -> tuple[list[Event], list[str]]:
    """The events, and what the engine was asked for."""
    spec = resolve({"sequence": "letters3", "images_per_prompt": 2}, {"methods": methods, **changes})
    engine = FakeEngine(spec)
    return list(runner.run(spec, runs, None, engine)), engine.calls


def origins(events: list[Event], method: str) -> Counter[str]:
    return Counter(e.origin for e in events if isinstance(e, StageEnded) and e.cell and e.cell.method == method)


def test_the_base_model_draws_without_the_noun_only_where_a_method_does(tmp_path: Path) -> None:
    go(tmp_path, "lora")
    place = tmp_path / "letters3/base"
    assert TOKEN not in {row.kind for row in StageImages(place / "images.parquet").rows}
    assert BASE_TOKEN not in set(read_scores(place / "scores.parquet")["method"])
    go(tmp_path, "lora", BARE)
    rows = StageImages(place / "images.parquet").rows
    bare, named = ([row for row in rows if row.kind == kind] for kind in (TOKEN, CONCEPT))
    assert Counter(row.concept for row in bare) == dict.fromkeys(CONCEPTS, EACH)
    assert [row.noise for row in bare] == [row.noise for row in named]
    assert [row.text for row in bare] == [(row.text or "").replace(" person", "") for row in named]
    assert {row.path.split("/")[0] for row in bare} == {TOKEN} and rows[-len(bare) :] == tuple(bare)
    drawn = StageImages(tmp_path / f"letters3/{BARE}/order0-seed0/01-ada/images.parquet").rows
    assert {row.text for row in drawn if row.kind == CONCEPT} == {row.text for row in bare if row.concept == "ada"}


def test_a_method_of_the_other_form_leaves_what_is_there_as_it_is(tmp_path: Path) -> None:
    go(tmp_path, "lora")
    cell = tmp_path / "letters3/lora/order0-seed0"
    before = {path: path.stat().st_mtime_ns for path in cell.glob("*/*")}
    first = read_scores(tmp_path / "letters3/base/scores.parquet")
    events, calls = go(tmp_path, "lora", BARE)
    whole = len(StageImages(tmp_path / "letters3/base/images.parquet").rows)
    assert calls[0] == f"sample base 0 from {whole - EACH * len(CONCEPTS)}"  # those without the noun alone
    assert origins(events, "lora") == {"ready": 3} and origins(events, BARE) == {"made": 3}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    table = read_scores(tmp_path / "letters3/base/scores.parquet")
    assert table[table["method"] != BASE_TOKEN].reset_index(drop=True).equals(first)
    events, calls = go(tmp_path, "lora")  # and back
    assert not [call for call in calls if not call.startswith("sample base")] and len(calls) <= 1
    assert origins(events, "lora") == {"ready": 3}
    assert read_scores(tmp_path / "letters3/base/scores.parquet").equals(first)
    events, calls = go(tmp_path, "lora", BARE)
    assert not calls and origins(events, BARE) == {"ready": 3}


def test_the_second_floor_differs_where_concepts_are_named_and_nowhere_else(tmp_path: Path) -> None:
    go(tmp_path, BARE, dino="eye2")
    table = read_scores(tmp_path / "letters3/base/scores.parquet")
    plain, bare = (table[table["method"] == name].reset_index(drop=True) for name in (BASE, BASE_TOKEN))
    assert len(plain) == len(bare) and plain["noise"].equals(bare["noise"])
    assert list(table["method"].drop_duplicates()) == [BASE, BASE_TOKEN, "other_noise", "real"]
    for metric, rows in plain.groupby("metric"):
        others = bare.loc[rows.index, "value"]
        if metric in ("clip_i", "dino_i", "clip_t", "mmd"):
            assert not np.allclose(rows["value"], others), metric
        if metric in ("kps", "kps_cos", "class_leak", "class_diversity"):
            assert rows["value"].equals(others), metric


def test_r0_of_a_cell_is_the_floor_of_its_own_form(tmp_path: Path) -> None:
    go(tmp_path, "lora", BARE)
    run = Run.open(tmp_path / "letters3")
    floors = {"lora": BASE, BARE: BASE_TOKEN}
    for cell in run.cells:
        rows = run.base_scores[(run.base_scores["method"] == floors[cell.method])]
        means = rows[rows["metric"] == "clip_i"].groupby("concept")["value"].mean()
        R = Subject.of(run, cell).matrix("clip_i")
        np.testing.assert_allclose(R.loc[0, list(CONCEPTS)], means[list(CONCEPTS)])
    picture = run.base_image("ada", floor=BASE_TOKEN)
    assert picture is not None and picture.read_bytes() != run.base_image("ada").read_bytes()  # type: ignore[union-attr]


def test_both_floors_stand_in_the_tables(tmp_path: Path) -> None:
    go(tmp_path, "lora", BARE)
    paths = write_report(tmp_path / "letters3")
    text = paths.summary[1].read_text()
    assert "| floor: base model |" in text and "| floor: base model, prompted without the noun |" in text
    assert BASE_TOKEN in paths.summary[0].read_text()


def test_results_without_the_second_floor_are_read_with_the_first(tmp_path: Path) -> None:
    go(tmp_path, "lora", BARE)
    place = tmp_path / f"letters3/{BARE}/order0-seed0"
    for path in place.glob("*/stage.json"):
        record = json.loads(path.read_text())
        del record["config"]["noun"]
        path.write_text(json.dumps(record))
    run = Run.open(tmp_path / "letters3")
    assert {run.floor_of(cell) for cell in run.cells} == {BASE}
