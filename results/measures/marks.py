"""Which metrics failed a test of the instrument: what `cat-bench validate --ship` left, read for every table.

`validation.json` beside this file: {"schema_version": 1, "judges": {model: {"with": {…}, "metrics": {metric:
{test: null or why it fails}}, "noise": {metric: noise floor}}}}. A metric of a model that was never tested has no mark.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cat_bench.results.errors import ResultError
from cat_bench.results.records.long_table import write_atomically

SHIPPED = Path(__file__).with_name("validation.json")
SCHEMA_VERSION = 1
MARK = "†"
TITLES = {
    "blur": "blur",
    "mosaic": "mosaics",
    "grain": "noise in the pictures",
    "face": "erased faces",
    "parts": "exchanged identity parts",
    "blend": "more of an adapter",
    "weights": "noise in the weights",
    "margin": "smallest difference against the noise floor",
    "copies": "copied training pictures",
}


def tested(path: Path = SHIPPED) -> Mapping[str, Any]:
    """By model what its metrics were tested with and what came of it. Raises ResultError if the file is damaged."""
    return {model: metrics for model, (metrics, _) in _judges(path).items()}


@cache
def _judges(path: Path) -> Mapping[str, tuple[dict[str, Any], dict[str, float]]]:
    """By model what came of the tests of its metrics, and the metrics' noise floors."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise ResultError(f"{path} was written by another version of cat-bench: validate again")
        judges: Mapping[str, Any] = content["judges"]
        return {model: (dict(about["metrics"]), dict(about.get("noise", {}))) for model, about in judges.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ResultError):
            raise
        raise ResultError(f"{path} cannot be read ({error}): `cat-bench validate --ship` writes it anew") from error


def failures(metric: str, model: str, path: Path = SHIPPED) -> tuple[str, ...]:
    """Ids of the tests that a metric fails with the features of a model."""
    found = tested(path).get(model, {}).get(metric, {})
    return tuple(test for test, why in found.items() if why is not None)


def noise_floor(metric: str, model: str, path: Path = SHIPPED) -> float | None:
    """Standard deviation of a metric's mean over scorings of one adapter, each from other noise; None: not measured."""
    return _judges(path).get(model, ({}, {}))[1].get(metric)


def footnote(metric: str, model: str, path: Path = SHIPPED) -> str | None:
    """`† clip_i (avatars64-clip) fails a test of the instrument: blur.`; None if it fails none."""
    failed = failures(metric, model, path)
    if not failed:
        return None
    named = ", ".join(TITLES.get(test, test) for test in failed)
    return f"{MARK} {metric} by {model} fails {'a test' if len(failed) == 1 else 'tests'} of the instrument: {named}."


def ship(data: Mapping[str, Any], path: Path = SHIPPED) -> None:
    """Keep a validation's verdicts (`validation.json` of its page), in place of what its models had before."""
    try:
        judges = dict(json.loads(path.read_text(encoding="utf-8"))["judges"])
    except (OSError, ValueError, KeyError):
        judges = {}
    fresh: dict[str, dict[str, Any]] = {}
    for metric, about in data["metrics"].items():
        said = {t: None if v["passed"] else v["reason"] for t, v in about["tests"].items() if v["passed"] is not None}
        entry = fresh.setdefault(about["extractor"], {"with": dict(data["facts"]), "metrics": {}, "noise": {}})
        entry["metrics"][metric] = said
        if about["noise_floor"] is not None:
            entry["noise"][metric] = round(about["noise_floor"], 6)
    content = {"schema_version": SCHEMA_VERSION, "judges": dict(sorted((judges | fresh).items()))}
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    _judges.cache_clear()
