"""A run of many concepts: what its lines say, and one of two concepts."""

from __future__ import annotations

import shutil
from pathlib import Path

from cat_bench.benchmark.studies.long_run import Stage, sequence, stages, summary
from cat_bench.tasks.sequence import load_sequence


def test_the_sequence_has_as_many_people_as_asked_for_and_is_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "long4.toml"
    path.write_text(sequence(4), encoding="utf-8")
    found = load_sequence(path)
    assert found.id == "long4" and len({concept.fingerprint for concept in found.concepts}) == 4
    assert sequence(4) == sequence(4) and sequence(5).startswith(sequence(4).replace("long4", "long5"))


def test_growth_is_the_last_ten_stages_to_the_second_ten() -> None:
    found = [
        Stage("lora", n, 2.0 if n > 20 else 1.0, 0.1 * n, n, 100 << 20 if n <= 10 else 150 << 20) for n in range(1, 31)
    ]
    lines = list(summary(found))
    assert lines[2] == "| lora | 1 | 1.00 | 0.1000 | 100 |"
    assert lines[-1] == "lora: memory 1.00×, training 2.00×, an image 1.00× (last ten to second ten)"
    assert len(list(summary(found[:20]))) == 2 + 3  # too short to tell


def test_each_stage_says_what_it_took(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_backbone_folder, tmp_path / "tiny")
    shutil.copytree(tiny_metric_folder, tmp_path / "tiny-clip")
    found = list(stages(("lora",), 2, 1, str(tmp_path / "tiny"), tmp_path))
    assert [(stage.method, stage.number) for stage in found] == [("lora", 1), ("lora", 2)]
    assert found[1].images == found[0].images + 2
    assert all(stage.train > 0 and stage.sample > 0 and stage.memory > 1 << 20 for stage in found)
