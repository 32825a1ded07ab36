"""A run carried out, as a generator of events. The caller owns showing and stopping.

    1  check    the sequence, the models and every name in the specification make sense; nothing is written before that
    2  lock     one process works in a run's folder at a time
    3  done?    a finished run is recognised by its record, without PyTorch
    4  plan     every stage that must exist, where it lies and under which keys; no model is loaded for it
    5  clear    stages that other settings made are set aside, and kept
    6  record   run.json says what this run is
    7  base     the references are embedded, and the untouched backbone is sampled and scored
    8  cells    one after another, stage by stage: learn, sample, embed, score; a failed cell is recorded, others go on

The engine, with its models, is opened between 6 and 7, and only if a stage is missing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution.completion import is_complete, mark_complete
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.spec import RunSpec, cells
from cat_bench.benchmark.store.files import plain_errors
from cat_bench.benchmark.store.lock import locked
from cat_bench.benchmark.text_to_image.models import TextToImage
from cat_bench.methods.registry import methods
from cat_bench.tasks.sequence import Sequence, load_sequence

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.engine import Domain, Engine
    from cat_bench.benchmark.planning.plan import Plan
    from cat_bench.benchmark.store.library import Library

MANY_TOKENS = 4  # a trigger of more is worth a warning


def run(
    spec: RunSpec, runs: Path, name: str | None = None, domain: Domain = TextToImage()
) -> Generator[events.Event, None, None]:
    """Run what is not done yet.

    Raises RunError, SpecError, TaskError, MethodError or BackboneError for what the user can mend; a cell that fails is
    recorded and the others go on. On KeyboardInterrupt the current cell is recorded as interrupted; everything
    finished is kept, and the same call goes on from there.
    """
    sequence = load_sequence(spec.sequence, Path(spec.data) if spec.data else None)
    sequence.check()
    spec = domain.settled(spec).model_copy(update={"sequence": sequence.id})  # it may have been a path
    for method in spec.methods:
        if method not in methods.names():
            methods.get(method)  # raises, with what was probably meant
    folder = runs / _checked(name or sequence.id)
    with plain_errors(folder), ExitStack() as stack:
        if folder.is_dir():
            stack.enter_context(locked(folder))
            if is_complete(folder, spec, sequence, domain):
                yield from _finished(spec, sequence, folder)
                return
        yield from _unfinished(spec, sequence, runs, folder, domain, stack)


def _checked(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise RunError(f"{name!r} cannot be a run's name: it names a folder, so give it no slash and no leading dot")
    return name


def _finished(spec: RunSpec, sequence: Sequence, folder: Path) -> Iterator[events.Event]:
    count = len(list(cells(spec)))
    stages = count * len(sequence.concepts)
    yield events.Planned(folder, count, stages, stages, 0, 0)
    yield events.Ended(folder, count, 0)


def _unfinished(
    spec: RunSpec, sequence: Sequence, runs: Path, folder: Path, domain: Domain, stack: ExitStack
) -> Iterator[events.Event]:
    from cat_bench.benchmark.execution.changes import set_aside_changed
    from cat_bench.benchmark.execution.stage import ready
    from cat_bench.benchmark.planning.plan import make_plan
    from cat_bench.benchmark.store.library import Library
    from cat_bench.benchmark.store.record import write_run
    from cat_bench.benchmark.text_to_image.references import references_ready

    plan = make_plan(spec, folder, sequence, domain.identity(spec))
    if not folder.is_dir():
        folder.mkdir(parents=True)
        stack.enter_context(locked(folder))
    library = Library(runs)
    yield from set_aside_changed(plan, library)
    write_run(plan)
    yield _planned(plan, library)
    ok = len(plan.cells)
    if references_ready(plan) and all(map(ready, plan.stages)):
        _all_ok(plan)
    else:
        ok = yield from _make(plan, stack.enter_context(domain.open(spec)), library)
    if ok == len(plan.cells):
        mark_complete(plan, domain)
    yield events.Ended(folder, ok, len(plan.cells) - ok)


def _planned(plan: Plan, library: Library) -> events.Planned:
    from cat_bench.benchmark.execution.stage import ready

    stages = [(cell, stage) for cell in plan.cells for stage in cell.stages]
    pending = [(cell, stage) for cell, stage in stages if not ready(stage)]
    # An estimate: cells that share a beginning learn it once, which shows only on the way.
    steps = sum(cell.config.steps for cell, stage in pending if not library.find("key", stage.keys.key))
    fresh = [stage for _, stage in pending] + [stage for stage in (plan.base,) if not ready(stage)]
    images = sum(len(stage.items) for stage in fresh if not library.find("samples_key", stage.keys.samples_key))
    return events.Planned(plan.folder, len(plan.cells), len(stages), len(stages) - len(pending), steps, images)


def _all_ok(plan: Plan) -> None:
    """Nothing is left to compute; a process that was killed may have left a cell without its last word."""
    from cat_bench.benchmark.execution.cell import end_ok

    for cell in plan.cells:
        end_ok(cell, plan)


def _make(plan: Plan, engine: Engine, library: Library) -> Generator[events.Event, None, int]:
    """Steps 7 and 8; returns how many cells are whole."""
    from cat_bench.benchmark.execution.cell import run_cell
    from cat_bench.benchmark.execution.stage import Work, make_stage
    from cat_bench.benchmark.text_to_image.references import prepare_references, references_ready

    work = Work(plan, engine, library)
    yield from _long_triggers(plan, engine)
    if not references_ready(plan):
        prepare_references(plan, engine)
    yield from make_stage(work, None, plan.base)
    ok = 0
    for index, cell in enumerate(plan.cells, 1):
        ended = yield from run_cell(work, cell, index)
        ok += ended.status == "ok"
        yield ended
    return ok


def _long_triggers(plan: Plan, engine: Engine) -> Iterator[events.Message]:
    """A word that the tokenizer cuts into many pieces is a poor trigger where no token is learned in its place."""
    if all(cell.method.learns_token for cell in plan.cells):
        return
    counts = {concept.trigger: engine.tokens(concept.trigger) for concept in plan.sequence.concepts}
    if long := {trigger: count for trigger, count in counts.items() if count > MANY_TOKENS}:
        named = ", ".join(f"{trigger} ({count} tokens)" for trigger, count in long.items())
        yield events.Message(
            f"triggers are learned best as one to {MANY_TOKENS} rare tokens; this backbone reads {named}"
        )
