"""What counts for a key, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cat_bench.benchmark.planning import keys


def test_each_part_of_a_learning_key_counts() -> None:
    plain: dict[str, Any] = {
        "previous": "before",
        "concept": "concept",
        "method": "cat",
        "version": "1",
        "code": "code",
    }
    plain |= {"config": {"lr": 1e-3}, "seed": 0, "how": {"device": "cpu"}}
    other: dict[str, Any] = {
        "previous": "BEFORE",
        "concept": "CONCEPT",
        "method": "lora",
        "version": "2",
        "code": "CODE",
    }
    other |= {"config": {"lr": 2e-3}, "seed": 1, "how": {"device": "cuda"}}
    found = {keys.learning_key(**plain), *(keys.learning_key(**{**plain, part: other[part]}) for part in plain)}
    assert len(found) == len(plain) + 1


def test_numbers_that_are_no_numbers_have_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        keys.digest(float("nan"))


def test_a_folder_that_was_touched_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = keys.folder_digest(tmp_path)
    assert keys.folder_digest(tmp_path) == before
    (tmp_path / "a.py").write_text("12")
    assert keys.folder_digest(tmp_path) != before
    for number in (1, 2):
        (tmp_path / "elsewhere" / str(number)).mkdir(parents=True)
        (tmp_path / "elsewhere" / str(number) / "b.py").write_text("1" * number)
    (tmp_path / "here").mkdir()
    found = set()
    for number in (1, 2):
        (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere" / str(number))
        found.add(keys.folder_digest(tmp_path / "here"))
        (tmp_path / "here" / "linked").unlink()
    assert len(found) == 2
    (tmp_path / "here" / "round").symlink_to(tmp_path / "here")
    assert keys.folder_digest(tmp_path / "here"), "a link to itself is no way without end"
    assert keys.folder_digest(tmp_path / "nowhere") == keys.digest()
