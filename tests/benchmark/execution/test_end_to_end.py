"""The command itself, with a real if tiny model: killed, interrupted, repeated."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from run_fakes import tables, tree

COMMAND = [sys.executable, "-c", "from cat_bench.benchmark.cli.main import main; main()"]
QUICK = ["--set", "steps=2", "--steps", "2", "--images", "1", "--batch", "4", "--precision", "fp32"]


@pytest.fixture(scope="module")
def backbone(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone with the tiny metric model as its neighbour."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_backbone_folder, folder / "tiny")
    shutil.copytree(tiny_metric_folder, folder / "tiny-clip")
    return folder / "tiny"


def arguments(backbone: Path, runs: Path, *more: str) -> list[str]:
    given = ["run", "--sequence", "smoke2", "--backbone", str(backbone), "--runs", str(runs)]
    return [*COMMAND, *given, "--method", "cat,magmax,clora", *QUICK, "--workers", "1", *more]


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it, and so would this
    try:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, handler)


def finish(command: list[str]) -> tuple[int, str, str]:
    process = start(command)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def uninterrupted(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, str]:
    runs = tmp_path_factory.mktemp("uninterrupted")
    began = time.monotonic()
    code, out, err = finish(arguments(backbone, runs))
    assert code == 0, err
    return runs, time.monotonic() - began, out


def test_a_run_ends_with_the_summary_and_where_the_report_is(uninterrupted: tuple[Path, float, str]) -> None:
    runs, _, out = uninterrupted
    for name in ("cat", "magmax", "clora", "floor", "ceiling", "cat-bench report"):
        assert name in out
    (made,) = runs.glob("smoke2/magmax/order0-seed0/02-*/stage.json")
    record = json.loads(made.read_text())
    assert record["peak_memory_bytes"] > 10_000_000
    assert record["trainable_parameters"] > 0 and record["bytes_carried"] > 0
    assert record["seconds"]["train"] > 0 and record["seconds"]["sample"] > 0


def test_the_same_command_again_takes_a_moment_and_changes_nothing(
    backbone: Path, uninterrupted: tuple[Path, float, str]
) -> None:
    runs, _, first = uninterrupted
    before = tables(runs)
    began = time.monotonic()
    code, out, err = finish(arguments(backbone, runs))
    assert code == 0 and "6 of them ready" in err
    assert out.splitlines()[:5] == first.splitlines()[:5]
    assert time.monotonic() - began < 15  # 2 seconds on a machine with nothing else to do
    assert tables(runs) == before


def test_a_finished_run_is_recognised_without_pytorch(backbone: Path, uninterrupted: tuple[Path, float, str]) -> None:
    code = "import sys; sys.modules['torch'] = None; from cat_bench.benchmark.cli.main import main; main()"
    given = arguments(backbone, uninterrupted[0])[len(COMMAND) :]
    assert finish([sys.executable, "-c", code, *given])[0] == 0


def test_killed_at_random_moments_equals_uninterrupted(
    backbone: Path, uninterrupted: tuple[Path, float, str], tmp_path: Path
) -> None:
    """Drivers and workers, of one to three workers; as many kills as CAT_BENCH_KILLS says, a few without it."""
    whole, seconds, _ = uninterrupted
    dice, left, number = random.Random(1), int(os.environ.get("CAT_BENCH_KILLS", "3")), 0
    while left > 0:
        number += 1
        runs = tmp_path / str(number)
        command = arguments(backbone, runs, "--workers", str(1 + number % 3))
        process = start(command)
        while left > 0:
            time.sleep(dice.uniform(0.3, 1.0) * seconds)
            if process.poll() is not None:
                break
            left -= 1
            workers = psutil.Process(process.pid).children()
            if not workers or dice.random() < 0.5:
                process.kill()
                break
            dice.choice(workers).kill()
        process.communicate()
        done = {path: path.stat().st_mtime_ns for path in runs.glob("smoke2/*/*/[0-9]*/stage.json")}
        ends = [finish(command)]
        while ends[-1][0] == 1 and len(ends) < 3:  # a stage that was killed too often has failed, and is tried anew
            ends.append(finish(command))
        assert ends[-1][0] == 0, ends[-1][2]
        assert {path: path.stat().st_mtime_ns for path in done} == done  # nothing finished was redone
        assert tree(runs) == tree(whole)
        shutil.rmtree(runs)


@pytest.mark.parametrize("workers", ["2", "3"])
def test_the_tree_is_the_same_whatever_the_number_of_workers(
    backbone: Path, uninterrupted: tuple[Path, float, str], tmp_path: Path, workers: str
) -> None:
    code, out, err = finish(arguments(backbone, tmp_path, "--workers", workers))
    assert code == 0, err
    assert f"{workers} workers: as asked" in err
    assert tree(tmp_path) == tree(uninterrupted[0])
    assert out.splitlines()[:2] == uninterrupted[2].splitlines()[:2]


@pytest.mark.parametrize(("workers", "number"), [("1", signal.SIGTERM), ("2", signal.SIGINT)])
def test_a_signal_stops_at_once_and_says_how_to_go_on(
    backbone: Path, tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    process = start(arguments(backbone, tmp_path, "--set", "steps=5000", "--workers", workers))
    assert process.stderr is not None
    while not process.stderr.readline().startswith("base:"):
        assert process.poll() is None
    time.sleep(0.5)
    began = time.monotonic()
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) == (int(workers) if workers != "1" else 0)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert not psutil.wait_procs(below, timeout=5)[1]
    assert time.monotonic() - began < 5
    last = err.strip().splitlines()[-1]
    assert last.startswith("interrupted: 0 of 6 stages are finished and kept; to go on, repeat: ")
    assert "--sequence smoke2" in last and "Traceback" not in err
    assert json.loads((tmp_path / "smoke2/cat/order0-seed0/cell.json").read_text())["status"] == "interrupted"


def test_a_second_process_on_the_folder_says_so_and_stops(backbone: Path, tmp_path: Path) -> None:
    first = start(arguments(backbone, tmp_path, "--set", "steps=5000"))
    assert first.stderr is not None
    while not first.stderr.readline().startswith("base:"):
        assert first.poll() is None
    code, out, err = finish(arguments(backbone, tmp_path))
    first.kill()
    first.communicate()
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and f"in use by process {first.pid}" in err
