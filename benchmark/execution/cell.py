"""A cell carried out: its stages one after another, and how it ended. One failed cell never loses another."""

from __future__ import annotations

import traceback
from collections.abc import Generator

from cat_bench.benchmark.execution.stage import Work, make_stage
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.plan import CellPlan, Plan
from cat_bench.benchmark.store.files import disk_trouble
from cat_bench.benchmark.store.record import CELL, ERROR, write_cell
from cat_bench.benchmark.system.provenance import peak_memory


def run_cell(work: Work, cell: CellPlan, index: int) -> Generator[events.Event, None, events.CellEnded]:
    """Make what is missing of a cell; returns how it ended. index: its number in the run, from 1.

    What the disk refuses is raised, since no other cell could go on either; so is an interruption, once it is recorded.
    """
    plan = work.plan
    try:
        cell.folder.mkdir(parents=True, exist_ok=True)
        (cell.folder / CELL).unlink(missing_ok=True)
        for stage in cell.stages:
            yield from make_stage(work, cell, stage, index)
    except Exception as error:
        if disk_trouble(error, plan.folder):
            raise
        status, reason = _verdict(error)
        (cell.folder / ERROR).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        write_cell(cell.folder, plan.protocol, status, reason)
        return events.CellEnded(cell.cell, status, reason)
    except BaseException:  # Ctrl-C, a signal, or a caller that has seen enough
        write_cell(cell.folder, plan.protocol, "interrupted", "stopped from outside; the same command goes on")
        raise
    end_ok(cell, plan)
    return events.CellEnded(cell.cell, "ok", None)


def end_ok(cell: CellPlan, plan: Plan) -> None:
    """Record that all of a cell's stages are in their places."""
    (cell.folder / ERROR).unlink(missing_ok=True)
    write_cell(cell.folder, plan.protocol, "ok", None)


def _verdict(error: Exception) -> tuple[events.Status, str]:
    """Out of memory is told apart: it is the machine's limit, not the method's fault."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    name = type(error).__name__
    words = ("out of memory", "not enough memory", "can't allocate memory")
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(word in first.lower() for word in words):
        return "oom", f"{first.rstrip('.')} (at its peak the process held {peak_memory() / 2**30:.1f} GiB)"
    own = isinstance(error, ValueError) and type(error).__module__.startswith("cat_bench.")
    return "failed", first if own else f"{name}: {first}"
