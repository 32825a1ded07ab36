"""What the console cannot show or take is no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from cat_bench.benchmark.cli.main import main; main()"


def ended(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="latin-1",
        check=False,
    )


def test_signs_that_the_console_lacks_are_replaced() -> None:
    done = ended("list", "metrics", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and done.stderr == "" and "?" in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_left_is_no_traceback(unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = ended("list", "metrics", stdout=write, PYTHONUNBUFFERED=unbuffered)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_command_without_any_output_ends_well() -> None:
    code = f"import sys; sys.stdout = None; {CODE}"
    done = subprocess.run([sys.executable, "-c", code, "list", "metrics"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_space_is_one_line(unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = ended("list", "metrics", stdout=full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "no space left" in done.stderr.lower()
