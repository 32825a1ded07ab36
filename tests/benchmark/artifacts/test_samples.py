"""Pictures for looking at."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from finished_run import drawn, finish, largest
from PIL import Image

from cat_bench.benchmark.artifacts.learned import Named
from cat_bench.benchmark.artifacts.samples import filled
from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.errors import SamplingError
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample

CONCEPTS = (Named("ada", "zorvex", "person"), Named("bob", "imlo", "robot"))


@pytest.fixture(scope="module")
def finished(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("look"), tiny_backbone_folder, tiny_metric_folder, ("cat", "clora"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", "sample", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_braces_stand_for_each_concept() -> None:
    assert filled(["a {} at sea", "a tree", "a tree"], CONCEPTS, noun=True) == (
        "a zorvex person at sea",
        "an imlo robot at sea",
        "a tree",
    )
    assert filled(["a {}"], CONCEPTS[1:], noun=False) == ("an imlo",)
    with pytest.raises(SamplingError, match="--prompt is empty"):
        filled([" "], CONCEPTS, noun=True)


@pytest.mark.parametrize("method", ["cat", "clora"])
def test_the_runs_own_pictures_come_out_again(
    method: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, seeds, own = drawn(finished, method)
    for number, (text, seed, picture) in enumerate(zip(texts, seeds, own, strict=True)):
        given = ["--prompt", text, "--seeds", f"{seed}-{seed}", "--out", str(tmp_path / str(number))]
        assert call(monkeypatch, str(finished), "--method", method, *given) == 0
        assert largest(np.asarray(Image.open(tmp_path / str(number) / f"01-{seed}.png")), picture) <= 1


def test_prompts_by_seeds_and_a_sheet(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--prompt", "a {}", "--prompt", "a hat", "--seeds", "3,5", "--steps", "2", "--guidance", "1"]
    assert call(monkeypatch, str(finished), "--method", "cat", "--stage", "2", *given) == 0
    folder = finished / "samples" / "cat-02-mikato"
    assert f"6 images in {folder}" in capsys.readouterr().out
    pictures = {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}
    assert list(pictures) == ["01-3.png", "01-5.png", "02-3.png", "02-5.png", "03-3.png", "03-5.png", "sheet.png"]
    record = json.loads((folder / "samples.json").read_text("utf-8"))
    assert record["prompts"] == {"01": "a vadoro person", "02": "a mikato person", "03": "a hat"}
    assert (record["sampler"]["steps"], record["sampler"]["guidance"]) == (2, 1.0)
    tile = pictures["01-3.png"].repeat(4, axis=0).repeat(4, axis=1)  # 32 pixels, enlarged
    windows = np.lib.stride_tricks.sliding_window_view(pictures["sheet.png"], tile.shape)
    assert any(np.array_equal(window, tile) for row in windows[::2, ::2, 0] for window in row)

    assert call(monkeypatch, str(finished), "--method", "cat", "--prompt", "a hat", "--seeds", "1") == 0
    assert sorted(path.name for path in folder.glob("*.png")) == ["01-0.png", "sheet.png"]  # its own were replaced


def test_base_is_the_untouched_model(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--prompt", "a {}", "--seeds", "2", "--out", str(tmp_path / "out")]
    assert call(monkeypatch, str(finished), "--method", "base", *given) == 0
    backbone = Backbone.load(finished.parent.parent / "models" / "tiny", device="cpu")
    texts = ["a vadoro person"] * 2 + ["a mikato person"] * 2
    sampler = SamplerConfig(steps=4, guidance=2.0, batch=4)
    expected = np.concatenate([images for _, images in sample(backbone, None, texts, [0, 1, 0, 1], sampler)])
    names = ["01-0", "01-1", "02-0", "02-1"]
    got = np.stack([np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in names])
    assert largest(got, expected) <= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--method", "base", "--stage", "1"], "the untouched model has no stage"),
        (["--method", "cat", "--seeds", "0"], "--seeds 0: give how many"),
        (["--method", "cat", "--seeds", "two"], "--seeds 'two': give numbers such as"),
        (["--method", "cat", "--steps", "0"], "sampler.steps: input should be greater than or equal to 1"),
        (["--method", "cat", "--device", "tpu"], "device 'tpu' is unknown"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    says: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, str(finished), *arguments, "--prompt", "a hat", "--out", str(tmp_path / "out")) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1 and says in err
    assert list(tmp_path.iterdir()) == []


def test_another_model_under_the_same_name_is_noticed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = finished.parent.parent / "models" / "tiny" / "scheduler" / "scheduler_config.json"
    before = config.read_bytes()
    config.write_bytes(before + b"\n")
    try:
        given = ["--method", "cat", "--prompt", "a hat", "--out", str(tmp_path / "out")]
        assert call(monkeypatch, str(finished), *given) == 2
    finally:
        config.write_bytes(before)
    assert "its files changed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
