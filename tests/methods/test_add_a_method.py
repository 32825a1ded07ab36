"""docs/add-a-method.md, done as a stranger would: in a checkout, and as a package of one's own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import cat_bench.methods
from cat_bench.methods.base import Adapter, Batch, Method, Query, mse
from cat_bench.methods.testing.contract import check_method

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def python(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


CHECK = """
print(methods.get("olora").__module__, methods.origin("olora"), "olora" in methods.names())
"""


def test_the_method_is_about_forty_lines() -> None:
    method, *_ = blocks("python")
    assert len(method.splitlines()) <= 42


def test_queries_about_the_earlier_concepts_keep_the_contract() -> None:
    written: dict[str, Any] = {"Batch": Batch, "Query": Query}
    exec(blocks("python")[2], written)

    class Recalling(Method):
        name, title, source = "recalling", "Recalling", "docs/add-a-method.md"
        queries = written["queries"]

        def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
            learn = mse(predicted["learn"], batch.target)
            return learn + mse(predicted["now"], predicted["then"]) if self.earlier else learn

    check_method(Recalling)


def test_in_a_checkout(tmp_path: Path) -> None:
    method, check, _ = blocks("python")
    wing = tmp_path / "cat_bench" / "methods"
    shutil.copytree(cat_bench.methods.__path__[0], wing, ignore=shutil.ignore_patterns("__pycache__"))
    (wing / "olora.py").write_text(method, encoding="utf-8")
    module, origin, listed = python(tmp_path, "-c", check + CHECK).split()
    assert (module, listed) == ("cat_bench.methods.olora", "True") and origin.startswith(str(wing.resolve()))


def test_in_a_package_of_its_own(tmp_path: Path) -> None:
    method, check, _ = blocks("python")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "my_methods.py").write_text(method, encoding="utf-8")
    (source / "pyproject.toml").write_text(blocks("toml")[0], encoding="utf-8")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    python(source, "-m", "pip", "install", *options, "--target", str(target), str(source))
    module, origin, listed = python(target, "-c", check + CHECK).split()
    assert (module, listed) == ("my_methods", "True") and origin.startswith(str((target / "my_methods.py").resolve()))
    entries = python(target, "-c", "from cat_bench.methods.registry import methods; print(methods.entries())")
    assert "where='my-methods 0.1'" in entries
