"""Methods are found without being imported, and whatever is wrong with one is said in a line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cat_bench.methods
from cat_bench.methods import registry as registry_module
from cat_bench.methods.base import Method, MethodError
from cat_bench.methods.registry import Registry, methods

SIX = {"cat", "clora", "lora", "magmax", "merge", "ortho"}
METHOD = '''
from cat_bench.methods.base import Method
from cat_bench.methods.registry import register

@register("{name}")
class {cls}(Method):
    """Does {name}."""
'''


def python(code: str, *path: Path) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An importable empty package; its name is its folder's."""
    folder = tmp_path / f"wing_{abs(hash(request.node.name))}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def of(package: Path, group: str = "no.such.group") -> Registry[Any]:
    return Registry("method", package.name, group, "cat_bench.methods.base:Method", MethodError)


def fake_entry_points(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    from importlib.metadata import EntryPoint

    points = [EntryPoint(name, target, "g") for name, target in targets.items()]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: points)


def test_the_six_are_there_with_their_origin() -> None:
    assert set(methods.names()) >= SIX and list(methods.names()) == sorted(methods.names())
    for name in SIX:
        cls = methods.get(name)
        file, _, line = methods.origin(name).rpartition(":")
        assert cls.name == name and cls.title and "arXiv" in cls.source
        assert Path(file).name == f"{name}.py" and Path(file).read_text().splitlines()[int(line) - 1].startswith("@")
    assert all(entry.summary.endswith((".", ")")) for entry in methods.entries() if entry.name in SIX)


def test_names_are_listed_without_torch_or_pydantic() -> None:
    code = "import sys; from cat_bench.methods.registry import methods; print(*methods.names(), *methods.entries());"
    out = python(code + "print('heavy:', [m for m in ('torch', 'pydantic', 'peft') if m in sys.modules])")
    assert "clora" in out and "heavy: []" in out


def test_a_new_file_with_the_decorator_is_enough(tmp_path: Path) -> None:
    wing = tmp_path / "cat_bench" / "methods"
    wing.mkdir(parents=True)
    for file in Path(cat_bench.methods.__path__[0]).glob("*.py"):
        (wing / file.name).write_bytes(file.read_bytes())
    (wing / "mine.py").write_text(METHOD.format(name="mine", cls="Mine"))
    code = "from cat_bench.methods.registry import methods; print(methods.get('mine').name, methods.origin('mine'))"
    name, origin = python(code, tmp_path).split()
    assert name == "mine" and origin == f"{wing.resolve() / 'mine.py'}:5"


def test_unknown_names_say_what_was_meant() -> None:
    with pytest.raises(MethodError, match=r"^unknown method 'magmx'; did you mean 'magmax'\?$"):
        methods.get("magmx")
    with pytest.raises(MethodError, match=r"^unknown method 'zzz'; there are: cat, catmulti"):
        methods.origin("zzz")


def test_a_name_is_taken_once(package: Path) -> None:
    for file in ("one", "two"):
        (package / f"{file}.py").write_text(METHOD.format(name="same", cls="Same"))
    with pytest.raises(
        MethodError, match=r"'same' is registered twice: .*one\.py:5 and .*two\.py:5; give one of them another name$"
    ):
        of(package).names()


def test_an_entry_point_cannot_take_a_built_in_name(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "one.py").write_text(METHOD.format(name="same", cls="Same"))
    fake_entry_points(monkeypatch, same="elsewhere:Same")
    with pytest.raises(MethodError, match="registered twice"):
        of(package).names()


def test_registering_while_running(package: Path) -> None:
    registry = of(package)

    @registry.register("local")
    class Local(Method):
        """A class of a notebook."""

    assert registry.get("local") is Local and Local.name == "local"
    assert registry.origin("local").startswith(str(Path(__file__)))
    with pytest.raises(MethodError, match="registered twice"):

        @registry.register("local")
        class Other(Method):
            pass


def test_a_class_may_be_defined_again(package: Path) -> None:
    registry = of(package)

    def cell() -> type[Method]:
        @registry.register("local")
        class Local(Method):
            pass

        return Local

    cell()
    latest = cell()
    assert registry.get("local") is latest


def test_names_are_fit_for_folders(package: Path) -> None:
    (package / "one.py").write_text(METHOD.format(name="My Method", cls="Mine"))
    with pytest.raises(MethodError, match=r"'My Method' \(.*one\.py:5\): use lower-case"):
        of(package).names()


def test_a_file_that_does_not_parse(package: Path) -> None:
    (package / "broken.py").write_text('@register("x")\nclass X(\n')
    with pytest.raises(MethodError, match=r"broken\.py:2 does not parse"):
        of(package).names()


def test_a_file_that_does_not_import(package: Path) -> None:
    (package / "needy.py").write_text("import no_such_library\n" + METHOD.format(name="needy", cls="Needy"))
    registry = of(package)
    assert registry.names() == ("needy",)
    with pytest.raises(
        MethodError, match=r"'needy' \(.*needy\.py:6\) cannot be imported: ModuleNotFoundError: No module"
    ):
        registry.get("needy")


def test_entry_points_are_checked_when_used(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "plain.py").write_text("class Plain: pass\n")
    (package / "bare.py").write_text("from cat_bench.methods.base import Method\nclass Bare(Method): pass\n")
    (package / "other.py").write_text(METHOD.format(name="otherwise", cls="Other").replace("@register", "@named"))
    text = (package / "other.py").read_text().replace("import register", "import register as named")
    (package / "other.py").write_text(
        text.replace("@named", "named = lambda n: lambda c: setattr(c, 'name', n) or c\n@named")
    )
    base = package.name
    fake_entry_points(
        monkeypatch,
        plain=f"{base}.plain:Plain",
        bare=f"{base}.bare:Bare",
        other=f"{base}.other:Other",
        gone="nowhere:X",
    )
    registry = of(package)
    assert registry.names() == ("bare", "gone", "other", "plain")
    assert registry.get("bare").name == "bare", "the decorator is optional there"
    assert registry.origin("bare").endswith("bare.py:2")
    with pytest.raises(MethodError, match=r"plain:Plain is not a subclass of cat_bench\.methods\.base\.Method"):
        registry.get("plain")
    with pytest.raises(MethodError, match="is registered as 'otherwise'; use one name for both"):
        registry.get("other")
    with pytest.raises(MethodError, match=r"'gone' \(.*\) cannot be imported: ModuleNotFoundError"):
        registry.get("gone")


def test_what_a_class_says_of_itself_is_read_without_importing_it() -> None:
    for entry in methods.entries():
        cls = methods.get(entry.name)
        assert entry.facts["carries"] == cls.carries, "each file says it itself, so that a list need not import it"
        assert bool(entry.facts.get("reference")) == cls.reference
    assert {entry.name for entry in methods.entries() if entry.facts.get("reference")} == {"isolated", "joint"}
