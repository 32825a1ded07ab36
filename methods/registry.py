"""Find methods by name without importing them: this package's own files, and other packages' entry points."""

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from cat_bench.methods.errors import MethodError

if TYPE_CHECKING:
    from cat_bench.methods.base import Method

__all__ = ["Entry", "Registry", "methods", "register"]

T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True)
class Entry:
    """A registered class, known before it is imported.

    target   "module:Class"
    where    "file:line", or "package version" of the distribution that announced it
    summary  first line of its docstring; "" where only importing it would tell
    facts    class attributes that are written as plain text or numbers in the class itself
    """

    name: str
    target: str
    where: str
    summary: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


class Registry(Generic[T]):
    """Classes by name, imported on first use.

    Sources: every file of `package` in which a class carries `@register("name")` (read, not imported), the entry-point
    group `group` of installed packages, and classes registered while the program runs. A name is taken once: a second
    taker is an error that says where both are.
    """

    def __init__(self, kind: str, package: str, group: str, base: str, error: type[ValueError]) -> None:
        """kind: the noun in messages; base: "module:Class" from which every registered class must derive."""
        self.kind, self.package, self.group, self.base, self.error = kind, package, group, base, error
        self._entries: dict[str, Entry] | None = None
        self._live: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type[C]], type[C]]:
        """Class decorator: makes the class known as `name` and sets its attribute `name`."""

        def decorate(cls: type[C]) -> type[C]:
            where = _live_origin(cls)
            entry = Entry(name, f"{cls.__module__}:{cls.__qualname__}", where, _first_line(cls.__doc__))
            taken = self._table().get(name)
            # A script that is run by its path is `__main__`, not the module that its file is listed as.
            if taken is None or (cls.__module__ == "__main__" and taken.where == where):
                self._add(self._table(), entry, replace=True)
            else:
                self._add(self._table(), entry)
            self._live[name] = cls
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return decorate

    def names(self) -> tuple[str, ...]:
        """All names in alphabetical order; imports nothing."""
        return tuple(sorted(self._table()))

    def entries(self) -> tuple[Entry, ...]:
        """All entries in alphabetical order; imports nothing."""
        return tuple(self._table()[name] for name in self.names())

    def get(self, name: str) -> type[T]:
        """The class called `name`, imported now if it was not yet. Raises the registry's error if it cannot be had."""
        entry = self._entry(name)
        try:
            cls = self._live[name] if name in self._live else _load(entry.target)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise self.error(
                f"{self.kind} {name!r} ({entry.where}) cannot be imported: {type(error).__name__}: {reason}"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, _load(self.base))):
            raise self.error(f"{self.kind} {name!r}: {entry.target} is not a subclass of {self.base.replace(':', '.')}")
        if "name" not in vars(cls):
            cls.name = name  # type: ignore[attr-defined]
        elif vars(cls)["name"] != name:
            raise self.error(
                f"{self.kind} {name!r}: {entry.target} is registered as {vars(cls)['name']!r}; use one name for both"
            )
        return cast(type[T], cls)

    def origin(self, name: str) -> str:
        """ "file:line" of the class called `name`."""
        entry = self._entry(name)
        return entry.where if re.search(r"\.py:\d+$", entry.where) else _live_origin(self.get(name))

    def _entry(self, name: str) -> Entry:
        table = self._table()
        if name not in table:
            near = get_close_matches(name, table, 1)
            hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(sorted(table))
            raise self.error(f"unknown {self.kind} {name!r}; {hint}")
        return table[name]

    def _table(self) -> dict[str, Entry]:
        if self._entries is None:
            table: dict[str, Entry] = {}
            for entry in (*self._from_files(), *self._from_entry_points()):
                self._add(table, entry)
            self._entries = table
        return self._entries

    def _add(self, table: dict[str, Entry], entry: Entry, replace: bool = False) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", entry.name):  # it names folders of results
            raise self.error(
                f"{self.kind} name {entry.name!r} ({entry.where}): use lower-case letters, digits and any of _ . -"
            )
        taken = table.get(entry.name)
        if taken is not None and taken.target != entry.target and not replace:
            raise self.error(
                f"{self.kind} {entry.name!r} is registered twice: {taken.where} and "
                f"{entry.where}; give one of them another name"
            )
        if taken is None or replace:
            table[entry.name] = entry

    def _from_files(self) -> Iterator[Entry]:
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for file in sorted(Path(folder).resolve().glob("*.py")):
                source = file.read_text(encoding="utf-8")
                if "register(" not in source:
                    continue
                try:
                    tree = ast.parse(source)
                except SyntaxError as error:
                    raise self.error(f"{file}:{error.lineno} does not parse: {error.msg}") from error
                for name, cls in _registered_classes(tree):
                    target = f"{self.package}.{file.stem}:{cls.name}"
                    line = cls.decorator_list[0].lineno  # where inspect, too, lets a decorated class begin
                    yield Entry(name, target, f"{file}:{line}", _first_line(ast.get_docstring(cls)), dict(_facts(cls)))

    def _from_entry_points(self) -> Iterator[Entry]:
        for point in entry_points(group=self.group):
            where = f"{point.dist.name} {point.dist.version}" if point.dist else self.group
            yield Entry(point.name, point.value, where)


def _registered_classes(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class at the top under `@register("x")` or `@something.register("x")`, with the x."""
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for decorator in cls.decorator_list:
            match decorator:
                case ast.Call(
                    func=ast.Name(id="register") | ast.Attribute(attr="register"),
                    args=[ast.Constant(value=str(name))],
                ):
                    yield name, cls


def _facts(cls: ast.ClassDef) -> Iterator[tuple[str, object]]:
    for node in cls.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                yield name, value


def _load(target: str) -> Any:
    module, _, qualname = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _live_origin(cls: type) -> str:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    try:
        line = inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):  # defined at a prompt
        return f"{cls.__module__}:{cls.__qualname__}"
    return f"{Path(file).resolve()}:{line}" if file else f"{cls.__module__}:{cls.__qualname__}"


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]


methods: "Registry[Method]" = Registry(
    kind="method",
    package="cat_bench.methods",
    group="cat_bench.methods",
    base="cat_bench.methods.base:Method",
    error=MethodError,
)
register = methods.register
