"""What is written on the command line, or in a file that it names, as settings."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.spec import BOUND, MOST
from cat_bench.benchmark.planning.variant import toml_value

INTERRUPTED = 130  # exit code
_COMMA = re.compile(r",(?![^\[\]]*\])")  # of a list; what is behind it closes no bracket


def as_given() -> str:
    """The command as it was given, to be repeated."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def words(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names given one by one or with commas, those inside of brackets aside; None if none were."""
    if not given:
        return None
    return tuple(word.strip() for text in given for word in _COMMA.split(text) if word.strip())


def numbers(given: str | None, flag: str) -> tuple[int, ...] | None:
    """`0`, `0,1,2` or `0-4` (both ends belong to it), MOST of them at most. Raises SpecError."""
    if given is None:
        return None
    found: list[int] = []
    for part in given.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise SpecError(f"{flag} {given!r}: give numbers such as 0 or 0,1,2 or 0-4")
        first, last = (_number(text, flag) for text in (match[1], match[2] or match[1]))
        if last < first:
            raise SpecError(f"{flag} {given!r}: give numbers such as 0 or 0,1,2 or 0-4")
        if len(found) + last - first >= MOST:
            raise SpecError(f"{flag} {given!r}: give at most {MOST:,} numbers at once")
        found += range(first, last + 1)
    return tuple(found)


def _number(digits: str, flag: str) -> int:
    if len(digits) > 99 or int(digits) >= BOUND:
        raise SpecError(f"{flag}: {digits[:40]} is too large; give numbers below 2**63")
    return int(digits)


def read_spec(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, unchecked. Raises SpecError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path} cannot be read as TOML: {error}") from None


def crew_size(given: str) -> int | None:
    """`auto` (None) or a number of workers. Raises SpecError."""
    if given == "auto":
        return None
    if not given.isdecimal():
        raise SpecError(f"--workers {given!r}: give a number, or auto")
    return int(given)


def overrides(given: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`method.key=value`, or `key=value` for all methods, values as in TOML (a bare word is text). Raises SpecError."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        method, _, key = name.strip().rpartition(".")
        if not equals or not key:
            raise SpecError(f"--set {text!r}: give METHOD.KEY=VALUE, such as cat.weight=6")
        for one in (method,) if method else methods:
            found.setdefault(one, {})[key] = toml_value(value.strip())
    return found


def savings(given: Sequence[str]) -> dict[str, Any]:
    """`checkpointing`, `adamw8bit`, `micro_batch=2` and the like as keys of Economy, which checks them."""
    found: dict[str, Any] = {}
    for word in words(given) or ():
        key, equals, value = word.partition("=")
        if key == "adamw8bit":
            found["optimizer"] = key
        else:
            found[key] = toml_value(value) if equals else True
    return found
