"""Submissions: of a run of three methods with five seeds, and of a smaller one of another's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from handed_in import CONCEPTS, RULES, finish

from cat_bench.results.leaderboard.pack import pack


@pytest.fixture(scope="session")
def whole_run(make_run: Callable[..., Path]) -> Path:
    """A finished run: two methods and a reference, five seeds. Read only."""
    seeds = tuple(range(5))
    return finish(make_run(methods=("lora", "cat", "joint"), concepts=CONCEPTS, seeds=seeds, pictures=False), seeds)


@pytest.fixture(scope="session")
def small_whole_run(make_run: Callable[..., Path]) -> Path:
    """A finished run: another method, and one that the first has, too. Read only."""
    seeds = (0, 1)
    return finish(make_run(methods=("cat", "merge[rank=4]"), concepts=CONCEPTS, seeds=seeds, pictures=False), seeds)


@pytest.fixture(scope="session")
def alice(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The submission of the larger run. Read only."""
    out = tmp_path_factory.mktemp("handed-in") / "alice"
    pack(whole_run, out, RULES)
    return out


@pytest.fixture(scope="session")
def bob(small_whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The submission of the smaller run. Read only."""
    out = tmp_path_factory.mktemp("handed-in") / "bob"
    pack(small_whole_run, out, RULES)
    return out
