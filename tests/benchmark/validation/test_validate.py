"""The tests of the instrument on tiny random models: what is damaged, blended and copied, and the command itself."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.cli.instrument import QUICK, QUICK_REPEATS
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.validation.adapters import blend, disturb
from cat_bench.benchmark.validation.damages import DAMAGES, REDRAWN, mild, redrawn
from cat_bench.benchmark.validation.held_out import captions, held_out
from cat_bench.benchmark.validation.setup import Work, counted
from cat_bench.benchmark.validation.validate import validate
from cat_bench.results.validation.page import as_data
from cat_bench.results.validation.series import FOLD, Measured
from cat_bench.results.validation.verdicts import Judgement
from cat_bench.tasks.avatars.concept import AvatarConcept
from cat_bench.tasks.sequence import load_sequence

SETTINGS = {"rank": 2, "lr": 0.03, "steps": 2, "batch_size": 2}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.id for damage in DAMAGES])
def test_every_damage_grows_with_its_strength(damage: object) -> None:
    series = next(d for d in DAMAGES if d is damage)
    picture = np.asarray(load_sequence("smoke2").concepts[0].reference_images(64)[0])
    found = [difference(series.damaged(picture, 0, strength), picture) for strength in series.strengths]
    assert found == sorted(found) and found[0] > 0


def test_what_a_picture_shows_is_damaged_by_drawing_it_anew() -> None:
    person, robot = load_sequence("smoke2").concepts[0], load_sequence("objects5").concepts[0]
    face, parts = REDRAWN
    whole = [np.asarray(image) for image in person.reference_images(64)]
    for series in (face, parts):
        for strength in series.strengths:
            made = redrawn(person, series, strength)
            assert made is not None and len(made) == len(whole)
            changed = [difference(a, b) for a, b in zip(made, whole, strict=True)]
            assert all(changed) if strength == series.strengths[-1] else True
            assert not any(changed) if strength == 0 else True
    assert redrawn(person, parts, 2)[0] is not None  # type: ignore[index]
    assert redrawn(robot, parts, 1) is None or redrawn(robot, parts, 0) is not None


def test_two_exchanged_parts_are_the_first_and_another() -> None:
    parts = REDRAWN[1]
    concept = load_sequence("faces5").concepts[0]
    once, twice = redrawn(concept, parts, 1), redrawn(concept, parts, 2)
    assert once is not None and twice is not None
    whole = [np.asarray(image) for image in concept.reference_images(64)]
    changed = [(a != w).any(axis=2) for a, w in zip(once, whole, strict=True)]
    both = [(b != w).any(axis=2) for b, w in zip(twice, whole, strict=True)]
    kept = [float((b & a).sum() / a.sum()) for a, b in zip(changed, both, strict=True)]
    assert np.median(kept) > 0.9


def test_half_of_the_references_is_asked_for_and_judged_by_the_other() -> None:
    concept = load_sequence("smoke2").concepts[0]
    asked = captions(concept, 12)
    assert len(asked) == 12 and all("{}" in caption for caption in asked)
    held = held_out(concept, asked[0::2], slice(1, None, 2))
    assert len(held.prompts) == len(held.reference_images(64)) == 6
    whole = concept.reference_images(64)
    assert held.reference_images(64)[0].tobytes() == whole[1].tobytes()
    assert isinstance(held, AvatarConcept) and (held.trigger, held.look) == (concept.trigger, concept.look)  # type: ignore[attr-defined]
    assert held.fingerprint != concept.fingerprint


def test_mild_changes_are_mild() -> None:
    images = load_sequence("smoke2").concepts[0].train_images(64)
    made = mild(images)
    assert [len(found) for found in made.values()] == [len(images)] * 4
    first = np.asarray(images[0])
    assert difference(made["verbatim"][0], first) == 0 < difference(made["moved"][0], first)
    assert difference(made["mirrored"][0][:, ::-1], first) == 0
    assert 0 < difference(made["lighter"][0], first) < 26


def test_an_adapter_is_blended_by_its_second_factor_and_disturbed_in_both(tmp_path: Path) -> None:
    state = {"A.x": torch.arange(6.0).reshape(2, 3), "B.x": torch.ones(4, 2), "extra.y": torch.ones(1)}
    save_file(state, tmp_path / "whole")
    blend(tmp_path / "whole", 0.25, tmp_path / "quarter")
    quarter = load_file(tmp_path / "quarter")
    assert torch.equal(quarter["B.x"] @ quarter["A.x"], 0.25 * state["B.x"] @ state["A.x"])
    spreads = []
    for level in (0.0, 1.0, 2.0):
        disturb(tmp_path / "whole", level, tmp_path / "disturbed")
        found = load_file(tmp_path / "disturbed")
        assert torch.equal(found["extra.y"], state["extra.y"])
        spreads.append(found["A.x"] - state["A.x"])
    assert not spreads[0].any() and torch.allclose(spreads[2], 2 * spreads[1])
    assert 0.2 < float(spreads[1].std() / state["A.x"].std()) < 3


def test_progress_is_what_was_done_since() -> None:
    assert list(counted(iter([3, 5, 9]), "it")) == [Work(3, "it"), Work(2, "it"), Work(4, "it")]


@pytest.fixture(scope="module")
def models(
    tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("models")
    for folder in (tiny_backbone_folder, tiny_metric_folder):
        shutil.copytree(folder, place / folder.name)
    return place / tiny_backbone_folder.name, place / tiny_metric_folder.name


@pytest.fixture(scope="module")
def found(models: tuple[Path, Path]) -> tuple[Measured, list[tuple[int, int]]]:
    """All tests on the tiny models, and the progress they made."""
    spec = resolve(
        {"methods": ("lora",)},
        QUICK,
        {"backbone": str(models[0]), "metric": str(models[1]), "images_per_prompt": 1, "device": "cpu"},
        {"overrides": {"lora": SETTINGS}},
    )
    work, steps = validate(spec, QUICK_REPEATS), []
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            return end.value, steps
        steps.append((step.done, step.total))


def test_everything_is_scored(found: tuple[Measured, list[tuple[int, int]]]) -> None:
    measured, steps = found
    assert [series.id for series in measured.series] == ["blur", "mosaic", "grain", "face", "parts", "blend", "weights"]
    for series in measured.series:
        assert len(series.tables) == len(series.strengths)
        fidelity = [table[table["metric"] == "clip_i"] for table in series.tables]
        assert {len(rows) for rows in fidelity} == ({24} if series.of == "pictures" else {2})
        kept = any((table["metric"] == "kps").any() for table in series.tables)
        assert kept == (series.id not in ("face", "parts"))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1][0] == steps[-1][1]
    assert len(measured.repeats) == 3 and set(measured.copies) == {"verbatim", "mirrored", "lighter", "moved"}


def test_undamaged_pictures_and_an_adapter_of_no_weight_are_the_two_ends(
    found: tuple[Measured, list[tuple[int, int]]],
) -> None:
    measured, _ = found
    blend_series = next(series for series in measured.series if series.id == "blend")
    base = measured.base[(measured.base["metric"] == "clip_i") & (measured.base["concept"] == "vadoro")]
    nothing = blend_series.tables[0]
    np.testing.assert_allclose(nothing.loc[nothing["metric"] == "clip_i", "value"], base["value"], atol=1e-6)
    assert nothing.loc[nothing["metric"] == "kps", "value"].to_numpy() == pytest.approx(1)
    assert (blend_series.tables[-1].loc[nothing["metric"] == "kps", "value"] < 1).all()
    clean = measured.series[0].tables[0]
    assert clean.loc[clean["metric"] == "kps", "value"].to_numpy() == pytest.approx(1)
    # a picture is judged by the other half of the references, never by itself
    assert sorted(clean[FOLD].unique()) == [0, 1]
    assert (clean.loc[clean["metric"] == "clip_i", "value"] < 1 - 1e-6).all()
    first, other = (table.loc[table["metric"] == "clip_i", "noise"] for table in measured.repeats[:2])
    assert set(first).isdisjoint(other)


def test_every_metric_gets_a_verdict_in_every_test(found: tuple[Measured, list[tuple[int, int]]]) -> None:
    judgement = Judgement(found[0])
    for metric in judgement.measured.metrics:
        for test in judgement.tests:
            verdict = judgement.verdict(metric.id, test)
            assert verdict is not None and verdict.reason
            assert verdict.passed is None or test in metric.answers or test == "margin"


def test_the_command_writes_a_page_of_the_same_numbers(
    models: tuple[Path, Path],
    found: tuple[Measured, list[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--quick", "--backbone", str(models[0]), "--metric", str(models[1]), "--images", "1", "--out", "page.md"]
    flags += ["--device", "cpu", *(f"--set={key}={value}" for key, value in SETTINGS.items())]
    assert call(monkeypatch, "validate", *flags) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1].endswith("tests passed: page.md")
    assert json.loads((tmp_path / "page.json").read_bytes()) == json.loads(json.dumps(as_data(Judgement(found[0]))))
    assert (tmp_path / "page-blur.png").is_file() and (tmp_path / "page-agreement.png").is_file()


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)
