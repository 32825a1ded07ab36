"""What is built is what is there."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("benchmark", "methods", "tasks", "results")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_of_modules_is_in_the_list_of_packages() -> None:
    found = {
        "cat_bench." + ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_typed(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_that_is_no_module_is_package_data(room: str) -> None:
    declared = PROJECT["tool"]["setuptools"]["package-data"]
    installed = {ROOT / room / "py.typed"}
    for package, names in declared.items():
        folder = ROOT / package.removeprefix("cat_bench.").replace(".", "/")
        installed.update(path for name in names for path in folder.glob(name))  # as setuptools does
    for path in (ROOT / room).rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            assert path in installed, f"{path} would not be installed"


def test_pictures_depend_on_exact_versions() -> None:
    pinned = [line for line in requires("cat-bench") or () if line.startswith(("dicebear", "resvg"))]
    assert len(pinned) == 3 and all("==" in line for line in pinned)
