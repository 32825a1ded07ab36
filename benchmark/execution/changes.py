"""What a run's folder holds that other settings made is set aside before work begins, with a message for each kind."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator

from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.plan import Plan
from cat_bench.benchmark.store.files import read_json
from cat_bench.benchmark.store.library import KEPT, Library, difference
from cat_bench.benchmark.store.record import CELL
from cat_bench.benchmark.store.stage import RECORD, whole


def set_aside_changed(plan: Plan, library: Library) -> Iterator[events.Message]:
    """Leave in the folder only what may stand in one table with this plan's results.

    Stages whose model or images would differ move to the kept ones, so that a report never mixes two settings and going
    back to the earlier settings takes them up again. Stages that only need new scores stay: they are scored again.
    """
    planned = {stage.place: stage for stage in plan.stages}
    mine = {cell.folder for cell in plan.cells}
    moved: Counter[tuple[str, str]] = Counter()
    for record_path in [*sorted(plan.folder.glob(f"*/order*-seed*/*/{RECORD}")), plan.base.place / RECORD]:
        place = record_path.parent
        if place.name.startswith(".") or not place.is_dir() or (record := read_json(record_path)) is None:
            continue
        name = str(place.parent.relative_to(plan.folder)) if place != plan.base.place else "base"
        stage = planned.get(place)
        if stage is None:
            if place.parent in mine or record.get("protocol") != plan.protocol:
                library.set_aside(place)
                moved[name, "other settings made them, and this run has no such stage"] += 1
        elif (lacking := difference(record, stage.keys)) in ("the model", "the images"):
            library.set_aside(place)
            moved[name, f"other settings made {lacking}; they are redone"] += 1
        elif whole(place) is None:
            moved[name, "files were taken out of them; they are completed"] += 1
        elif lacking is not None:
            moved[name, f"other settings made {lacking}; those alone are redone"] += 1
    _remove_empty(plan)
    for (name, why), count in moved.items():
        yield events.Message(f"{name}: {count} stage{'s' if count > 1 else ''} set aside or updated: {why}")
    if any("redone" in why or "no such" in why for _, why in moved):
        yield events.Message(
            f"what was whole of it is kept in {library.runs / KEPT} and used again when settings match"
        )


def _remove_empty(plan: Plan) -> None:
    """Cells of other settings without a stage, but those that ended under this protocol or are half way through their
    first.
    """
    mine = {cell.folder for cell in plan.cells}
    for cell in sorted(plan.folder.glob("*/order*-seed*")):
        if cell in mine or not cell.is_dir() or any(cell.glob(f"*/{RECORD}")):
            continue
        ended = read_json(cell / CELL)
        if not (ended.get("protocol") == plan.protocol if ended else any(cell.glob(".*.partial"))):
            shutil.rmtree(cell)
            if not any(cell.parent.iterdir()):
                cell.parent.rmdir()
