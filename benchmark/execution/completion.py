"""Whether a run is finished, told in a moment: from what it recorded, without loading a model or importing PyTorch."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.spec import RunSpec
from cat_bench.benchmark.planning.variant import names_of
from cat_bench.benchmark.store.files import read_json, write_json
from cat_bench.benchmark.store.record import CELL, RUN
from cat_bench.benchmark.store.stage import whole
from cat_bench.benchmark.system.provenance import now
from cat_bench.methods.registry import methods

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.engine import Domain
    from cat_bench.benchmark.planning.plan import Plan
    from cat_bench.tasks.sequence import Sequence


def mark_complete(plan: Plan, domain: Domain) -> None:
    """Record that every stage of the plan is in its place, and what that was concluded from."""
    record = read_json(plan.folder / RUN) or {}
    complete = {
        "signature": _signature(plan.spec, plan.sequence, domain),
        "references": plan.references_key,
        "cells": [cell.cell.path for cell in plan.cells],
        "stages": {str(stage.place.relative_to(plan.folder)): asdict(stage.keys) for stage in plan.stages},
    }
    write_json(plan.folder / RUN, {**record, "finished": now(), "complete": complete})


def is_complete(folder: Path, spec: RunSpec, sequence: Sequence, domain: Domain) -> bool:
    """Whether this very specification was finished here, nothing it depends on was touched since, and all is there.

    False only means that the plan must be made to know: the answer never replaces a stage's own key.
    """
    record = read_json(folder / RUN)
    complete: dict[str, Any] | None = (record or {}).get("complete")
    if complete is None or complete["signature"] is None or complete["signature"] != _signature(spec, sequence, domain):
        return False
    references = read_json(folder / "references" / "references.json")
    if references is None or references["key"] != complete["references"]:
        return False
    if any((read_json(folder / cell / CELL) or {}).get("status") != "ok" for cell in complete["cells"]):
        return False
    for place, wanted in complete["stages"].items():
        stage = whole(folder / place) if (folder / place).is_dir() else None
        if stage is None or any(stage.get(part) != key for part, key in wanted.items()):
            return False
    os.utime(folder / RUN)  # it is the latest run again
    return True


def _signature(spec: RunSpec, sequence: Sequence, domain: Domain) -> str | None:
    """Changes whenever a key could; it may change more often (a touched file), which costs seconds, not results."""
    models = domain.files(spec)
    if models is None or any(
        e.target.startswith("__main__") for e in methods.entries() if e.name in names_of(spec.methods)
    ):
        return None  # of what was typed in, or lies elsewhere, no file tells
    return keys.digest(
        spec.model_dump(mode="json"),
        repr(sequence),  # what pictures are drawn from, and sums of photos: the drawing itself would take seconds
        [version(package) for package in ("cat-bench", "dicebear-core", "dicebear-styles", "resvg-py")],
        *(keys.LEARNING_VERSION, keys.SAMPLING_VERSION, keys.SCORING_VERSION),
        [keys.folder_digest(folder) for folder in (*models, *_method_folders(spec), *_folders("cat_bench.tasks"))],
    )


def _method_folders(spec: RunSpec) -> list[Path]:
    """Where the code of this run's methods lies, this package's and others'; none of it is imported."""
    names = names_of(spec.methods)
    modules = [entry.target.partition(":")[0] for entry in methods.entries() if entry.name in names]
    own = "cat_bench.methods"
    # Others' methods may use this package's helpers, so these count in any case.
    roots = {own, *(module.partition(".")[0] for module in modules if not module.startswith(f"{own}."))}
    return [folder for root in sorted(roots) for folder in _folders(root)]


def _folders(module: str) -> list[Path]:
    """Where a package lies, or the file of a module."""
    found = importlib.util.find_spec(module)
    if found is not None and found.submodule_search_locations:
        return [Path(location) for location in found.submodule_search_locations]
    return [Path(found.origin)] if found is not None and found.origin else []
