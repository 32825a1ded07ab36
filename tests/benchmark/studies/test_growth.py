"""The large run that is measured is a run to the program."""

from __future__ import annotations

from pathlib import Path

from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.studies import growth
from cat_bench.tasks.sequence import load_sequence


def test_a_run_without_content_counts_as_finished(tmp_path: Path) -> None:
    growth.write_sequence(7, tmp_path / "large.toml")
    sequence = load_sequence(tmp_path / "large.toml")
    assert len(sequence.concepts) == 7 and len(sequence.concepts[6].prompts) == 8
    given = {"sequence": str(tmp_path / "large.toml"), "methods": growth.METHODS[:2]}
    plan = growth.finished(resolve(given), sequence, tmp_path / "runs")
    assert len(plan.stages) == 1 + 2 * 7
    shown = growth.start(given, tmp_path / "runs").split(" | ")
    assert shown[0] == "14 of 14" and shown[1].endswith(" s") and shown[2].endswith(" MiB")
