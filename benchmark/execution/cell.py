"""How a cell ended, recorded in its folder. One failed cell never loses another."""

from __future__ import annotations

from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.plan import CellPlan, Plan, StagePlan
from cat_bench.benchmark.store.record import CELL, ERROR, write_cell


def open_cell(cell: CellPlan) -> None:
    """Work on a cell begins: it has no ending yet."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / CELL).unlink(missing_ok=True)


def end_ok(cell: CellPlan, plan: Plan) -> events.CellEnded:
    """Record that all of a cell's stages are in their places."""
    (cell.folder / ERROR).unlink(missing_ok=True)
    write_cell(cell.folder, plan.protocol, "ok", None)
    return events.CellEnded(cell.cell, "ok", None)


def end_failed(
    cell: CellPlan, plan: Plan, stage: StagePlan, status: events.Status, reason: str, trace: str
) -> events.CellEnded:
    """Record that a stage could not be made, and that the later ones of its cell were skipped for it."""
    skipped = tuple(later.place.name for later in cell.stages[stage.number :])
    (cell.folder / ERROR).write_text(trace, encoding="utf-8")
    write_cell(cell.folder, plan.protocol, status, reason, stage=stage.place.name, skipped=skipped)
    return events.CellEnded(cell.cell, status, reason, skipped)


def end_interrupted(cell: CellPlan, plan: Plan) -> None:
    """Record that a cell was left half made."""
    write_cell(cell.folder, plan.protocol, "interrupted", "stopped from outside; the same command goes on")
