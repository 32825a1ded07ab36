"""What a run looks like where there is no terminal, and how long it says it will take."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from cat_bench.benchmark.cli.doctor import examine
from cat_bench.benchmark.cli.follow import _summary
from cat_bench.benchmark.cli.progress import Display
from cat_bench.benchmark.planning.events import CellEnded, Learning, Message, Planned, Sampling, StageBegun, StageEnded
from cat_bench.benchmark.planning.spec import Cell
from cat_bench.benchmark.system.provenance import peak_memory, reset_peak_memory, versions
from cat_bench.results.tables.formats import Entry, Table

CELL = Cell("cat", "faces5", 0, 3)


def test_plain_lines_say_what_was_made_and_what_failed() -> None:
    out = io.StringIO()
    with Display(Console(file=out, width=300)) as display:
        display.show(Message("cat: redone [all of it]"))
        display.show(Planned(Path("runs/x"), 2, 10, 3, 100, 0, chains=((1, "cat", 300, 20), (2, "cat", 300, 20))))
        display.show(StageBegun(CELL, 1, 5, "marivi", 1, 2))
        display.show(Learning(1, 100, 0.5))
        display.show(Learning(100, 100, 0.5))
        display.show(Sampling(8, 8))
        logging.getLogger("cat_bench.somewhere").warning("prompt %r was cut", "a")
        logging.getLogger("cat_bench.somewhere").warning("prompt %r was cut", "b")
        display.show(StageEnded(CELL, 1, "marivi", "made", 75.0))
        display.show(StageEnded(CELL, 2, "tofire", "shared", 0.1))
        display.show(StageEnded(CELL, 3, "kobuli", "ready", 0.0))
        display.show(CellEnded(CELL, "oom", "CUDA out of memory", ("04-x", "05-y")))
    lines = out.getvalue().splitlines()
    assert lines[0] == "cat: redone [all of it]"
    assert lines[1] == "runs/x: 2 cells, 10 stages, 3 of them ready"
    assert lines[2] == "note: prompt 'a' was cut (others like it are not shown)"
    assert lines[3].startswith("cat/order0-seed3/01-marivi: 1 min 15 s, loss 0.5000 · ")
    assert lines[4].startswith("cat/order0-seed3/02-tofire: taken from an equal stage")
    assert lines[5] == "cat/order0-seed3: oom: CUDA out of memory; 2 later stages skipped"
    assert len(lines) == 6


def test_the_peak_of_memory_is_of_the_work_since_it_was_reset() -> None:
    large = bytearray(80_000_000)
    large[::4096] = b"x" * len(large[::4096])
    before = peak_memory()
    assert before > 80_000_000
    del large
    reset_peak_memory()
    assert peak_memory() <= before


def test_provenance_knows_the_packages() -> None:
    assert versions()["cat-bench"] and versions()["torch"]


def test_doctor_looks_at_everything_and_says_how_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cat_bench.benchmark.cli.doctor.ENOUGH_DISK", 1 << 60)
    found = {finding.what: finding for finding in examine(tmp_path / "runs")}
    assert {"python", "torch", "processor", "free disk", "device", "backbone", "sequence faces5", "methods"} <= set(
        found
    )
    assert found["free disk"].trouble == "a run needs about 1 GB"
    assert found["torch"].trouble is None
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("width", "fit"), [(80, 3), (40, 2), (20, 0)])
def test_the_summary_shows_as_many_columns_as_fit_and_breaks_no_number(
    width: int, fit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = ("method", "CLIP-I average ↑", "KPS ↑", "training [s] ↓")
    values = ["0.396 ± 0.067", "0.758 ± 0.012", "52.3 ± 1.4"]
    table = Table("summary", "Summary", heads, (tuple(map(Entry, ("lora", *values))),), ("method",), "a note")
    monkeypatch.setattr("cat_bench.results.tables.formats.summary_table", lambda _: table)
    out = io.StringIO()
    _summary(Console(file=out, width=width), tmp_path)
    assert [value in out.getvalue() for value in values] == [number < fit for number in range(3)]
    assert ("No room here for" in out.getvalue().replace("\n", " ")) == (fit < 3)
    assert "[s]" in out.getvalue()  # a unit is no markup
