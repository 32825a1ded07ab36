"""What counts for a key, and what does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from cat_bench.benchmark.planning import keys

SOURCE = '''
from cat_bench.methods.base import Method

class Mine(Method):
    """Says something."""

    def loss(self, batch, predicted, adapter):
        return 2 * super().loss(batch, predicted, adapter)  # twice
'''


def digest_of(tmp_path: Path, name: str, source: str) -> str:
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import sys

    sys.modules[name] = module
    return keys.code_digest(module.Mine)


def test_a_methods_code_counts_but_not_its_comments(tmp_path: Path) -> None:
    first = digest_of(tmp_path, "first_method", SOURCE)
    said_otherwise = SOURCE.replace("Says something.", "Says\n    something else.").replace("# twice", "# really")
    spaced = said_otherwise.replace("2 * super()", "2  *  super()").replace("\n    def", "\n\n    # here\n    def")
    assert digest_of(tmp_path, "second_method", spaced) == first
    assert digest_of(tmp_path, "third_method", SOURCE.replace("2 *", "3 *")) != first


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
