"""`cat-bench tune` as a user gives it, with a real if tiny model and a method that does not ship."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.tuning import search
from cat_bench.benchmark.tuning.protocol import Protocol
from cat_bench.methods.base import Method
from cat_bench.methods.registry import methods

SMALLEST = Protocol(rates=(1e-3, 2e-3, 4e-3), replicates=(1, 1, 2), images=1)


@pytest.fixture(autouse=True)
def _stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(methods, "_entries", {entry.name: entry for entry in methods.entries()})
    monkeypatch.setattr(methods, "_live", dict(methods._live))
    monkeypatch.setattr(search, "PROTOCOL", SMALLEST)

    @methods.register("mine")
    class Mine(Method):
        """Of another package."""

        knob = ("pull", (0.0, 0.1))

        class Config(Method.Config):
            steps: int = 2
            batch_size: int = 2
            rank: int = 2
            pull: float = 0.0

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def tune(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", "tune", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_strangers_method_is_tuned_and_the_same_command_again_only_reads(
    tiny_backbone_folder: Path,
    tiny_metric_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, runs = tmp_path / "models" / "tiny", tmp_path / "tuning"
    shutil.copytree(tiny_backbone_folder, model)
    shutil.copytree(tiny_metric_folder, model.with_name("tiny-clip"))
    given = ("mine", "--backbone", str(model), "--device", "cpu", "--runs", str(runs), "--workers", "1")
    assert tune(monkeypatch, *given) == 0
    out, err = capsys.readouterr()
    assert out.startswith("## mine\n") and out.count("| lr ") + out.count("| **lr ") == 5
    assert "mine-round1: 3 cells, 9 stages" in err and "mine-round3: 4 cells, 12 stages" in err
    made = {path: path.stat().st_mtime_ns for path in runs.rglob("stage.json")}
    assert len(list(runs.glob("mine-round1/mine*/*/*/stage.json"))) == 9
    assert len(list(runs.glob("mine-round3/mine*/*/*/images.parquet"))) == 4  # of the last stages alone

    assert tune(monkeypatch, *given) == 0
    again, err = capsys.readouterr()
    assert again == out == (runs / "mine.md").read_text() + "\n"
    assert "9 of them ready" in err and "12 of them ready" in err
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("stage.json")} == made


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "tune: name a method, or give --all; there are: cat, catmulti"),
        (["lroa"], "unknown method 'lroa'; did you mean 'lora'?"),
        (["lora", "mien"], "unknown method 'mien'; did you mean 'mine'?"),
        (["lora[rank=4]"], "tune 'lora[rank=4]': give the method's name alone; which settings"),
        (["lora", "--workers", "many"], "--workers 'many': give a number, or auto"),
        (["lora", "--backbone", "no-such-model"], "backbone 'no-such-model' not found"),
        (["lora", "--device", "tpu"], "device: input should be 'auto', 'cpu', 'cuda' or 'mps'"),
    ],
)
def test_what_cannot_be_tuned_is_told_before_anything_is_written(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tune(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1
    assert err.startswith("cat-bench: ") and says in err
    assert list(tmp_path.iterdir()) == []
