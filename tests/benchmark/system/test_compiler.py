"""torch.compile's needs: a compiler, and where compiled code is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.system.compiler import compiler, keep_compiled
from cat_bench.benchmark.text_to_image.models import TextToImage


def test_the_compiler_is_the_environments_or_a_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert compiler() is None
    for name in ("clang++", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert compiler() == str(tmp_path / "clang++")
    monkeypatch.setenv("CXX", "mine")
    assert compiler() == str(tmp_path / "mine")


def test_without_a_compiler_one_line_says_so_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve({"economy": {"compile": True}})
    monkeypatch.setattr("cat_bench.benchmark.text_to_image.models.compiler", lambda: None)
    with pytest.raises(SpecError, match=r"^economy compile: no C\+\+ compiler is found"):
        TextToImage().settled(spec)
    assert TextToImage().settled(resolve()).sampler.steps


def test_compiled_code_is_kept_beside_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    keep_compiled(tmp_path / "one")
    keep_compiled(tmp_path / "two")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "one")
