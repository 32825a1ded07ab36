"""The command that writes a run's images as files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from run_fakes import FakeEngine, FakeSequence

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.results.records.images import Row, StageImages, write_images

STAGE = "lora/order0-seed0/02-bob"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    spec = resolve({"sequence": "letters3", "methods": ("lora", "cat"), "images_per_prompt": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
        patch.setattr("os.fsync", lambda descriptor: None)
        list(runner.run(spec, folder, None, FakeEngine(spec)))
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", "images", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_unpacked_as_it_lies(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = runs / "letters3" / "images"
    assert call(monkeypatch, "--runs", str(runs)) == 0  # the latest run
    found = below(out)
    assert capsys.readouterr().out == f"{len(found)} images in {out}\n"
    packed = {path.parent: StageImages(path) for path in runs.glob("letters3/**/images.parquet")}
    assert len(found) == sum(map(len, packed.values())) and len(packed) == 8
    for folder, images in packed.items():
        for row, png in zip(images.rows, images.pngs(0, len(images)), strict=True):
            assert found[str((folder / row.path).relative_to(runs / "letters3"))] == png
    assert {f"{STAGE}/ada/00-0.png", "base/other_noise/class/00-0.png", "references/cy/03.png"} <= found.keys()
    assert call(monkeypatch, "letters3", "--runs", str(runs)) == 2
    assert "is there already, and nothing is overwritten" in capsys.readouterr().err
    assert below(out) == found


def test_a_stage_alone_and_parts_of_a_run(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = runs / "letters3" / STAGE
    assert call(monkeypatch, str(place), "--concept", "bob", "--out", str(tmp_path / "a")) == 0
    assert set(below(tmp_path / "a")) == {f"bob/{prompt:02d}-{image}.png" for prompt in range(3) for image in (0, 1)}
    given = ("--method", "cat,references", "--concept", "cy", "--runs", str(runs), "--out", str(tmp_path / "b"))
    assert call(monkeypatch, "letters3", *given) == 0
    folders = {name.rpartition("/")[0] for name in below(tmp_path / "b")}
    assert folders == {"cat/order0-seed0/03-cy/cy", "references/cy"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["letters4"], "there is no run 'letters4'"),
        (
            ["letters3", "--method", "lroa"],
            "--method 'lroa': {runs}/letters3 has no images of it; did you mean 'lora'?",
        ),
        (
            ["letters3", "--concept", "bobo"],
            "--concept 'bobo': {runs}/letters3 has no images of it; did you mean 'bob'",
        ),
        (["{runs}/letters3/base", "--method", "lora"], "is a stage, of one method"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: list[str],
    says: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [argument.format(runs=runs) for argument in arguments]
    assert call(monkeypatch, *given, "--runs", str(runs), "--out", str(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert says.format(runs=runs) in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_no_image_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stage").mkdir()
    row = Row("../ada.png", "concept", "ada", 0, 0, "a person", 1)
    write_images(tmp_path / "stage" / "images.parquet", [row], [b"png"])
    assert call(monkeypatch, str(tmp_path / "stage")) == 2
    assert "say where to write with --out" in capsys.readouterr().err
    assert call(monkeypatch, str(tmp_path / "stage"), "--out", str(tmp_path / "out")) == 2
    assert "would lie outside the folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]
