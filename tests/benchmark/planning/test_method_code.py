"""What of a method's code counts for its keys, and what does not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from cat_bench.benchmark.planning.method_code import code_digest
from cat_bench.methods import base, clora, settings
from cat_bench.methods.registry import methods

SOURCE = '''
from cat_bench.methods.base import Method

class Mine(Method):
    """Says something."""

    def loss(self, batch, predicted, adapter):
        return 2 * super().loss(batch, predicted, adapter)  # twice
'''
PACKAGE = {
    "__init__.py": "",
    "method.py": "from cat_bench.methods.base import Method\nfrom .helpers import double\n\n"
    "class Mine(Method):\n    def loss(self, *given):\n        return double(super().loss(*given))\n",
    "helpers.py": "def double(x):\n    from strangers.deeper import TWO\n\n    return TWO * x\n",
    "deeper.py": "TWO = 2  # and no other\n",
    "aside.py": "THREE = 3\n",
}


def digest_of(folder: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the class `Mine` of a module in that folder, read anew."""
    monkeypatch.syspath_prepend(str(folder))
    top = module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return code_digest(importlib.import_module(module).Mine)


def write(folder: Path, files: dict[str, str]) -> Path:
    """Those files in the package `strangers` below the folder."""
    for name, text in files.items():
        (folder / "strangers").mkdir(parents=True, exist_ok=True)
        (folder / "strangers" / name).write_text(text)
    return folder


def test_a_methods_code_counts_but_not_its_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said_otherwise = SOURCE.replace("Says something.", "Says\n    something else.").replace("# twice", "# really")
    spaced = said_otherwise.replace("2 * super()", "2  *  super()").replace("\n    def", "\n\n    # here\n    def")
    texts = {"first_mine": SOURCE, "second_mine": spaced, "third_mine": SOURCE.replace("2 *", "3 *")}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    first, second, third = (digest_of(tmp_path, name, monkeypatch) for name in texts)
    assert first == second != third


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("        if a:\n            f()\n        g()\n", "        if a:\n            f()\n            g()\n"),
        (
            "        for x in a:\n            f()\n        return not g\n",
            "        for x in a:\n            f()\n            return not g\n",
        ),
        ("        return not g\n", "        return notg\n"),
        ("        return 1\n", "        return1\n"),
    ],
)
def test_where_a_line_stands_counts(one: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wider = one.replace(" " * 12, " " * 16)
    found = []
    for number, text in enumerate((one, other, wider)):
        (tmp_path / f"mine_{number}.py").write_text(f"{SOURCE}\n    def end(self, a, f, g, notg):\n{text}")
        found.append(digest_of(tmp_path, f"mine_{number}", monkeypatch))
    assert found[0] == found[2] != found[1]


DECLARING = SOURCE.replace(
    "    def loss",
    """    title = "Mine"
    presets = {
        "avatars64.v2": {"lr": 1e-3},
    }
    knob = ("rank", (16, 4))
    scale = 2

    def loss""",
)


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("1e-3", "2.5e-3", False),
        ('"Mine"', '"Yours"', False),
        ("(16, 4)", "(4, 16)", False),
        ("scale = 2", "scale = 3", True),
        ("scale = 2", "scale = 2\n    wide = True", True),
        ('title = "Mine"', 'title = "Mine"; scale = 1', True),
    ],
)
def test_presets_and_words_do_not_count_but_other_attributes_do(
    before: str, after: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DECLARING.count(before) == 1
    for name, text in (("first_mine", DECLARING), ("second_mine", DECLARING.replace(before, after))):
        (tmp_path / f"{name}.py").write_text(text)
    first, second = (digest_of(tmp_path, name, monkeypatch) for name in ("first_mine", "second_mine"))
    assert (first != second) == counts


@pytest.mark.parametrize("touched", list(PACKAGE))
def test_of_another_package_all_that_the_method_uses_counts(
    touched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_of(write(tmp_path / "a", PACKAGE), "strangers.method", monkeypatch)
    assert digest_of(write(tmp_path / "b", PACKAGE), "strangers.method", monkeypatch) == before
    changed = PACKAGE | {touched: PACKAGE[touched] + "\nMORE = 1\n"}
    after = digest_of(write(tmp_path / "c", changed), "strangers.method", monkeypatch)
    assert (after != before) == (touched in ("method.py", "helpers.py", "deeper.py"))


def test_the_helper_of_a_shipped_method_counts_when_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    before, other = code_digest(methods.get("clora")), code_digest(methods.get("cat"))
    monkeypatch.setattr(clora, "penalty", lambda adapter: 0.0)
    assert code_digest(methods.get("clora")) != before
    assert code_digest(methods.get("cat")) == other


def text_with(monkeypatch: pytest.MonkeyPatch, changed: object, line: str) -> None:
    """Lets the text of a module end in one more line, as if its file had been edited."""
    import inspect

    read = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda thing: read(thing) + (line if thing is changed else ""))


def test_a_helper_from_another_file_of_the_methods_counts_and_their_base_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = code_digest(methods.get("ortho"))
    with monkeypatch.context() as edit:
        text_with(edit, base, "\nMORE = 1\n")
        assert code_digest(methods.get("ortho")) == before
    with monkeypatch.context() as edit:
        text_with(edit, settings, "\nMORE = 1\n")
        assert code_digest(methods.get("ortho")) != before
