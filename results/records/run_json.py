"""run.json, read: what a run recorded of itself, checked as far as its results are read by it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cat_bench.results.errors import ResultError

SCHEMA = 1
_OBJECTS = ("spec", "computed", "backbone", "metric_model", "sequence", "methods", "earlier_methods", "versions")
_OBJECTS_OR_NULL = ("git", "decision")
_LISTS = {"methods": str, "orders": int, "seeds": int}  # of the spec


def recorded(folder: Path) -> dict[str, Any] | None:
    """The record of the run in a folder; None if there is none.

    Keys may be missing. Raises ResultError for a file that is damaged, of another schema or with a value of a wrong
    type.
    """
    path = folder / "run.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror}): mend its permissions") from None
    except (ValueError, RecursionError):
        raise _damaged(path, "it is no JSON") from None
    if not isinstance(info, dict):
        raise _damaged(path, "it holds no JSON object")
    if (schema := info.get("schema_version", SCHEMA)) != SCHEMA:
        raise ResultError(f"{path} is of schema {schema!r} and this version reads {SCHEMA}: use the one that made it")
    if wrong := _wrong(info):
        raise _damaged(path, wrong)
    return info


def _damaged(path: Path, why: str) -> ResultError:
    return ResultError(f"{path} is damaged: {why}; delete it, then the same `cat-bench run` again writes it anew")


def _wrong(info: Mapping[str, Any]) -> str | None:
    """What is first found to be of a wrong type."""
    if "spec" not in info and isinstance(info.get("sequence"), str):  # its settings stand at the top
        info = {key: value for key, value in info.items() if key != "sequence"}
    return _wrong_objects(info) or _wrong_settings(info.get("spec", {}))


def _wrong_objects(info: Mapping[str, Any]) -> str | None:
    for key in _OBJECTS:
        if key in info and not isinstance(info[key], Mapping):
            return f"{key} is no object"
    for key in _OBJECTS_OR_NULL:
        if info.get(key) is not None and not isinstance(info[key], Mapping):
            return f"{key} is no object"
    for key in ("methods", "earlier_methods"):
        for name, value in info.get(key, {}).items():
            if not isinstance(value, Mapping):
                return f"{key}.{name} is no object"
    concepts = info.get("sequence", {}).get("concepts", [])
    names = info.get("sequence", {}).get("names", {})
    return None if isinstance(concepts, list) and isinstance(names, Mapping) else "the sequence's concepts are no list"


def _wrong_settings(spec: Mapping[str, Any]) -> str | None:
    for key, kind in _LISTS.items():
        value = spec.get(key, [])
        if not isinstance(value, list) or any(type(one) is not kind for one in value):
            return f"spec.{key} is no list of {'names' if kind is str else 'numbers'}"
    replicates = spec.get("replicates")
    return None if replicates is None or type(replicates) is int else "spec.replicates is no number"
