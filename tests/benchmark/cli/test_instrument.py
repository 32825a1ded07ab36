"""pretrain and validate as they are typed: what is refused before any work, and how failures of the work are told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import SafetensorError

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.pretrain.make import Update, Workshop
from cat_bench.benchmark.pretrain.recipe import PARTS


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("flags", [("--part", "metric"), ("--steps", "5"), ("--afresh",)])
def test_what_only_training_knows_is_refused_with_evaluate(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cat_bench.benchmark.cli.instrument._measure", lambda out, device: 0)
    assert call(monkeypatch, "pretrain", "--evaluate") == 0
    assert call(monkeypatch, "pretrain", "--evaluate", *flags) == 2
    assert f"--evaluate measures models that are there: leave out {flags[0]}\n" in capsys.readouterr().err


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with something of every part."""
    names = (
        *("metric.ckpt", "metric.plateau", "metric.json", "metric-tokenizer/vocab.json", "pictures/metric/0001.npy"),
        *("pictures/metric/0001.answers.npy", "autoencoder.ckpt", "autoencoder/config.json", "latents/0001.npy"),
        *("latents.json", "diffusion.ckpt", "unet/config.json", "text_encoder/config.json", "tokenizer/vocab.json"),
    )
    for name in names:
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ((), {"pictures/metric/0001.npy"}),
        (
            ("--part", "pictures,latents"),
            {"metric.ckpt", "metric.plateau", "metric.json", "metric-tokenizer/vocab.json", "autoencoder.ckpt"}
            | {"autoencoder/config.json", "diffusion.ckpt", "unet/config.json", "text_encoder/config.json"}
            | {"tokenizer/vocab.json"},
        ),
    ],
)
def test_afresh_removes_what_the_parts_have_made_and_pictures_only_by_name(
    flags: tuple[str, ...], kept: set[str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def make(self: Workshop, part: str, out: Path) -> Iterator[Update]:
        seen.append({path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file()})
        yield Update(part, 1.0)

    monkeypatch.setattr(Workshop, "make", make)
    assert call(monkeypatch, "pretrain", "--out", work.parent, *flags) == 0
    assert len(seen[0]) == 14
    seen.clear()
    assert call(monkeypatch, "pretrain", "--out", work.parent, "--afresh", *flags) == 0
    assert seen[0] == kept


def test_who_interrupts_a_fresh_start_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(self: Workshop, part: str, out: Path) -> Iterator[Update]:
        yield Update(part, 0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(Workshop, "make", make)
    assert call(monkeypatch, "pretrain", "--afresh", "--out", tmp_path, "--part", PARTS[1]) == 130
    assert f"to go on, repeat: cat-bench pretrain --out {tmp_path} --part metric\n" in capsys.readouterr().err


def test_a_full_disk_is_one_line_whoever_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(self: Workshop, part: str, out: Path) -> Iterator[Update]:
        yield Update(part, 0.5)
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(Workshop, "make", make)
    assert call(monkeypatch, "pretrain", "--out", tmp_path, "--part", "autoencoder") == 2
    assert f"cat-bench: no space left on the disk of {tmp_path}: free some" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("afile/v.md", "nothing can be written there (File exists); choose another place"),
        ("afile/deeper/v.md", "nothing can be written there (Not a directory); choose another place"),
        ("folder.md", "folder.md is a folder; choose another name"),
        ("data.md", "data.json is a folder; choose another name"),
        ("/proc/v.md", "nothing can be written there"),
    ],
)
def test_validate_looks_at_its_place_before_it_works(
    out: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cat_bench.benchmark.validation.validate.validate", work)
    Path("afile").touch()
    Path("folder.md").mkdir()
    Path("data.json").mkdir()
    assert call(monkeypatch, "validate", "--quick", "--out", out) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"cat-bench: --out {out}: ") and says in err and err.count("\n") == 1
    with pytest.raises(AssertionError, match="work was begun"):
        monkeypatch.setattr(sys, "argv", ["cat-bench", "validate", "--quick", "--out", "new/deep/v.md"])
        cli.main()
    assert list(Path("new/deep").iterdir()) == []
