"""How the studies' commands end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import typer

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.studies.command import start


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["study", "--much", "3"])
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_command_line_is_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    def study(much: int = 1) -> None:
        typer.echo(much + 1)

    with pytest.raises(SystemExit) as ended:
        start(study, "study")
    assert not ended.value.code and capsys.readouterr().out == "4\n"


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def study(much: int = 1) -> None:
        raise SpecError(f"--much {much}: give less")

    with pytest.raises(SystemExit) as ended:
        start(study, "study")
    assert ended.value.code == 2 and capsys.readouterr().err == "study: --much 3: give less\n"


def test_stopped_by_sigterm_it_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def study(much: int = 1) -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        time.sleep(30)

    with pytest.raises(SystemExit) as ended:
        start(study, "study")
    assert ended.value.code == 130 and "to go on, repeat the command" in capsys.readouterr().err
