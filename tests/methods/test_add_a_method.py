"""docs/add-a-method.md, done as a stranger would: in a checkout, and as a package of one's own."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import cat_bench.methods
from cat_bench.methods import base
from cat_bench.methods.testing.contract import check_method

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def python(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


CHECK = """
print(methods.get("l2sp").__module__, methods.origin("l2sp"), "l2sp" in methods.names())
"""


LISTED = """
from cat_bench.benchmark.cli.listing import list_methods
for row in zip(*(column.cells for column in list_methods().columns)):
    print(*row, sep=" | ")
"""


def test_the_method_is_about_forty_lines() -> None:
    method, *_ = blocks("python")
    assert len(method.splitlines()) <= 42


HOOKS = {"earlier": 2, "pools": 3, "survey": 4, "route": 5, "foresee": 6}


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_as_the_page_shows_it_keeps_the_contract(hook: str) -> None:
    block = textwrap.dedent(blocks("python")[HOOKS[hook]])
    names = {name: getattr(base, name) for name in base.__all__} | {"Mapping": Mapping, "Sequence": Sequence}
    written: dict[str, Any] = {}
    exec(block, {**names, "Tensor": Tensor}, written)
    written |= {"name": hook, "title": hook, "source": "docs/add-a-method.md"}
    check_method(type(hook.title(), (base.Method,), written))
    assert len([line for line in block.splitlines() if line]) <= 12


def test_in_a_checkout(tmp_path: Path) -> None:
    method, check, *_ = blocks("python")
    wing = tmp_path / "cat_bench" / "methods"
    shutil.copytree(cat_bench.methods.__path__[0], wing, ignore=shutil.ignore_patterns("__pycache__"))
    (wing / "l2sp.py").write_text(method, encoding="utf-8")
    module, origin, listed = python(tmp_path, "-c", check + CHECK).split()
    assert (module, listed) == ("cat_bench.methods.l2sp", "True") and origin.startswith(str(wing.resolve()))


def test_in_a_package_of_its_own(tmp_path: Path) -> None:
    method, check, *_ = blocks("python")
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "my_methods.py").write_text(method, encoding="utf-8")
    points = 'l2sp = "my_methods:L2SP"\n'
    project = blocks("toml")[0].replace(points, f'{points}gone = "my_methods:Gone"\n')
    (source / "pyproject.toml").write_text(project, encoding="utf-8")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    python(source, "-m", "pip", "install", *options, "--target", str(target), str(source))
    module, origin, listed = python(target, "-c", check + CHECK).split()
    assert (module, listed) == ("my_methods", "True") and origin.startswith(str((target / "my_methods.py").resolve()))
    entries = python(target, "-c", "from cat_bench.methods.registry import methods; print(methods.entries())")
    assert "where='my-methods 0.1'" in entries
    rows = python(target, "-c", LISTED).splitlines()
    assert (
        "l2sp | L2-SP: each concept changes the weights as little as it must. | merged weights | my-methods 0.1" in rows
    )
    assert any(
        row.startswith("gone | method 'gone' (my-methods 0.1) cannot be imported: AttributeError") for row in rows
    )
    assert [row.partition(" ")[0] for row in rows[-2:]] == ["isolated", "joint"]
