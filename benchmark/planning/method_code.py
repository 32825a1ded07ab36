"""What a method's code says, as one digest: its own module, and what that uses of its own package."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from typing import Any

from cat_bench.benchmark.planning.keys import digest

_OURS = "cat_bench.methods"
# What these do is covered by LEARNING_VERSION, or (the registry, the errors) does not touch what is learned.
_COVERED = {_OURS, *(f"{_OURS}.{name}" for name in ("base", "adapter", "batch", "registry", "errors"))}
# What a class declares of itself: settings count as they were resolved, and words not at all.
_DECLARED = {"presets", "knob", "title", "source", "carries"}
_FOREIGN = {*sys.stdlib_module_names - {"__main__"}, "pydantic"}


def code_digest(cls: type) -> str:
    """sha256 of a method's code, up to comments, docstrings, white space, and the presets and words that it declares.

    It covers its module, those of its bases, and whatever these import, at any depth, of `cat_bench.methods` (without
    its `base`) and of the class's own top-level package; of a base from elsewhere the class alone. A method under
    development changes without its version being raised; its old results must not pass for new ones.
    """
    home = cls.__module__.partition(".")[0]
    parts = [part for part in cls.__mro__ if part.__module__.partition(".")[0] not in _FOREIGN]
    sources: dict[str, list[str]] = {}
    waiting = [part.__module__ for part in parts if _follows(part.__module__, home)]
    while waiting:
        name = waiting.pop()
        if name in sources or name in _COVERED:
            continue
        source = _module_source(name)
        if source is None:
            continue
        sources[name] = [_meaning(source), *_replaced(name, source)]
        waiting += [found for found in _imported(name, source) if _follows(found, home)]
    # Typed in at a prompt, or of another package: the class alone.
    loose = [_source(part) for part in parts if part.__module__ not in {*sources, *_COVERED}]
    return digest(cls.__qualname__, [sources[name] for name in sorted(sources)], loose)


def _follows(name: str, home: str) -> bool:
    return name.startswith(f"{_OURS}.") or (home != "cat_bench" and name.partition(".")[0] == home)


def _module_source(name: str) -> str | None:
    """The text of a module; None where there is none."""
    module = sys.modules.get(name)
    try:
        if module is not None:
            return inspect.getsource(module)
        spec = importlib.util.find_spec(name)
        return spec.loader.get_source(name) if spec and spec.loader else None  # type: ignore[attr-defined]
    except (OSError, TypeError, ImportError, AttributeError, ValueError):
        return None


def _imported(name: str, source: str) -> Iterator[str]:
    """The modules that a module's text imports, wherever in it."""
    module = sys.modules.get(name)
    package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            start = importlib.util.resolve_name(start, package) if node.level else start
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)  # it may be a module, too


def _replaced(name: str, source: str) -> Iterator[str]:
    """Functions and classes that stand in the module now in place of those that its text defines."""
    module = sys.modules.get(name)
    for node in ast.parse(source).body if module else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            live = getattr(module, node.name, None)
            if getattr(live, "__module__", None) != name or getattr(live, "__qualname__", None) != node.name:
                yield f"{node.name} = {_source(live)}"


def _source(thing: Any) -> str:
    """Of a class or function: what its text means, or its name where there is no text to be had."""
    try:
        return _meaning(inspect.getsource(thing))
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):  # no text, or not a whole statement
        return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(type(thing)))}"


def _meaning(source: str) -> str:
    """A source text without comments, docstrings, white space and what classes declare of themselves.

    A line a statement, behind as many marks as it stands deep.
    """
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER}
    kept: list[str] = []
    line: list[tokenize.TokenInfo] = []
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(_undeclared(textwrap.dedent(source))).readline):
        if token.type == tokenize.NEWLINE:
            if not (len(line) == 1 and line[0].type == tokenize.STRING):
                kept.append(">" * depth + _joined(line))
            line = []
        elif token.type in (tokenize.INDENT, tokenize.DEDENT):
            depth += 1 if token.type == tokenize.INDENT else -1
        elif token.type not in quiet:
            line.append(token)
    return "\n".join(kept)


def _joined(line: list[tokenize.TokenInfo]) -> str:
    """Tokens in a row, words apart: `not x` is no `notx`."""
    text = ""
    for token in line:
        apart = f"a{text[-1:]}".isidentifier() and f"a{token.string[:1]}".isidentifier()
        text += f" {token.string}" if apart else token.string
    return text


def _undeclared(source: str) -> str:
    """A source text whose classes assign none of `_DECLARED`, as far as such a statement has its lines for itself."""
    lines = source.splitlines()
    for cls in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if not all(isinstance(target, ast.Name) and target.id in _DECLARED for target in targets):
                continue
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            rest = lines[last].encode()[node.end_col_offset :].lstrip()
            if lines[first][: node.col_offset].isspace() and not rest.startswith(b";"):
                lines[first : last + 1] = [""] * (last + 1 - first)
    return "\n".join(lines)
