"""Commands about a run whose folder, record or name is not as it should be."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.cli.doctor import Finding, _machine
from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.store.files import plain_errors, write_bytes
from cat_bench.benchmark.store.record import RunRecord, find_run

SPEC = {"sequence": "faces5", "methods": ["lora"], "orders": [0], "seeds": [0]}
RECORD: dict[str, Any] = {
    "schema_version": 1,
    "spec": SPEC,
    "sequence": {"concepts": ["a"], "names": {"a": {"trigger": "b", "noun": "c"}}},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run without results, below the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RECORD), "utf-8")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line by which a command refuses."""
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("cat-bench: ")
    (line,) = err.splitlines()
    return line.removeprefix("cat-bench: ")


COMMANDS = (["show"], ["report"], ["export", "--method", "lora"], ["compare", "one", "--against", "reference"])


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("change", [{"schema_version": 99}, {"sequence": None}, {"spec": None}], ids=str)
def test_a_record_that_is_wrong_is_one_line(
    change: dict[str, Any],
    arguments: list[str],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (run / "run.json").write_text(json.dumps(RECORD | change), "utf-8")
    assert "run.json is " in refused(monkeypatch, capsys, *arguments)


def test_a_concept_without_its_words_is_one_line(run: Path) -> None:
    assert RunRecord.read(run).concepts[0].trigger == "b"
    (run / "run.json").write_text(json.dumps(RECORD | {"sequence": {"names": {"a": {"noun": "c"}}}}), "utf-8")
    with pytest.raises(RunError, match="a concept lacks trigger or noun"):
        RunRecord.read(run)


def test_a_cell_that_says_nothing_is_interrupted(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "lora" / "order0-seed0").mkdir(parents=True)
    (run / "lora" / "order0-seed0" / "cell.json").write_text('{"protocol": "p"}')
    assert call(monkeypatch, "show") == 0
    assert "interrupted" in capsys.readouterr().out


def test_a_run_whose_name_is_not_utf8_is_one_line(run: Path) -> None:
    odd = run.with_name(os.fsdecode(b"ph\xff"))
    run.rename(odd)
    for name in (None, odd.name, str(odd)):
        with pytest.raises(RunError, match=r"ph\\xff: this name is not UTF-8"):
            find_run(name, odd.parent)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "ph\udcff"],
        ["report", "--out", "ph\udcff"],
        ["compare", "ph\udcff", "one"],
        ["sample", "--method", "base", "--prompt", "ph\udcff"],
    ],
)
def test_what_is_typed_and_not_utf8_is_one_line(
    arguments: list[str], run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(monkeypatch, capsys, *arguments).startswith("ph\\xff: this is not UTF-8")
    assert [path.name for path in run.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ("900000000", "--seeds 900000000: give at most 10,000 images of each prompt"),
        ("0-900000000", "--seeds '0-900000000': give at most 10,000 numbers at once"),
        ("99999999999999999999-99999999999999999999", "--seeds: 99999999999999999999 is too large; give numbers below"),
        ("9" * 5000, f"--seeds: {'9' * 40} is too large"),
    ],
)
def test_too_many_pictures_are_not_begun(
    seeds: str, says: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("sample", "--method", "base", "--prompt", "x", "--seeds", seeds)
    assert refused(monkeypatch, capsys, *arguments).startswith(says)
    assert [path.name for path in run.iterdir()] == ["run.json"]


def test_what_the_disk_refuses_names_the_target_and_what_to_choose(tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    page = tmp_path / "afile" / "page.md"
    with pytest.raises(RunError) as by_default, plain_errors(page):
        write_bytes(page, b"")
    assert str(by_default.value) == (f"{page} is in the way (Not a directory): choose another --runs folder or --name")
    for beside in (".page.md.part", ".page.md.123.part", ".page.md.partial"):
        with pytest.raises(RunError) as told, plain_errors(page, "another --out"):
            (tmp_path / "afile" / beside).mkdir()
        assert str(told.value) == f"{page} is in the way (Not a directory): choose another --out"


@pytest.mark.parametrize(
    "arguments", [["report"], ["submit"], ["leaderboard", "runs/one"]], ids=lambda arguments: arguments[0]
)
def test_a_file_in_the_way_of_out_is_said_to_be_of_out(
    arguments: list[str], run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        Path("afile/x").mkdir()

    Path("afile").touch()
    for place in ("report.report.write_report", "leaderboard.pack.pack", "leaderboard.site.write_board"):
        monkeypatch.setattr(f"cat_bench.results.{place}", refuse)
    line = refused(monkeypatch, capsys, *arguments, "--out", "afile/x")
    assert line.startswith("afile/x is in the way") and line.endswith("--out") and "--runs" not in line


def found(runs: Path) -> Finding:
    return next(finding for finding in _machine(runs) if finding.what == "runs")


def test_doctor_sees_that_a_file_is_no_folder_of_runs(tmp_path: Path) -> None:
    file = tmp_path / "afile"
    file.touch()
    for runs in (file, file / "below"):
        assert found(runs).trouble == f"{file} is no folder: choose another with --runs"
    for runs in (tmp_path, tmp_path / "new" / "runs"):
        assert found(runs).trouble is None


def test_clean_says_what_it_did_not_do(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("afile").touch()
    for place in ("afile", "nowhere"):
        assert refused(monkeypatch, capsys, "clean", "--runs", place).startswith(f"{place} is no folder: say with")
    stage = run.parent / ".kept" / "abc" / "stage.json"
    stage.parent.mkdir(parents=True)
    stage.write_text("{}")
    for answer in ("n\n", ""):
        read, write = os.pipe()
        os.write(write, answer.encode())
        os.close(write)
        with os.fdopen(read) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert call(monkeypatch, "clean") == 130
        assert capsys.readouterr().err.splitlines()[-1] == "nothing was deleted" and stage.is_file()
    assert call(monkeypatch, "clean", "--yes") == 0 and not stage.exists()
