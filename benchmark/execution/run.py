"""A run carried out, as a generator of events. The caller owns showing and stopping.

    1  check    the sequence, the models and every name in the specification make sense; nothing is written before that
    2  lock     one process works in a run's folder at a time
    3  done?    a finished run is recognised by its record, without PyTorch
    4  plan     every stage that must exist, where it lies and under which keys; no model is loaded for it
    5  clear    stages that other settings made are set aside, and kept
    6  record   run.json says what this run is
    7  workers  this process, some beside it, or a cluster's; they load the models, and only if a stage is missing
    8  cells    stage by stage, as many at once as there are workers: they learn, sample and embed, this process scores;
                the references and the untouched backbone come first. A failed cell is recorded, others go on

This process alone writes the run's folder.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution.completion import is_complete, mark_complete
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.spec import RunSpec, cells
from cat_bench.benchmark.planning.variant import names_of
from cat_bench.benchmark.store.files import plain_errors
from cat_bench.benchmark.store.lock import locked
from cat_bench.benchmark.text_to_image.models import TextToImage
from cat_bench.methods.registry import methods
from cat_bench.tasks.sequence import Sequence, load_sequence

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.engine import Domain
    from cat_bench.benchmark.planning.plan import Plan
    from cat_bench.benchmark.store.library import Library


def run(
    spec: RunSpec, runs: Path, name: str | None = None, domain: Domain = TextToImage(), crew: Crew = Crew()
) -> Generator[events.Event, None, None]:
    """Run what is not done yet. crew: how many workers do it, and where; results do not depend on it.

    Raises RunError, SpecError, TaskError, MethodError or BackboneError for what the user can mend; a cell that fails is
    recorded and the others go on. On KeyboardInterrupt the cells at work are recorded as interrupted; everything
    finished is kept, and the same call goes on from there.
    """
    sequence = load_sequence(spec.sequence, Path(spec.data) if spec.data else None)
    sequence.check()
    spec = domain.settled(spec).model_copy(update={"sequence": sequence.id})  # it may have been a path
    for method in names_of(spec.methods):
        if method not in methods.names():
            methods.get(method)  # raises, with what was probably meant
    folder = runs / _checked(name or sequence.id)
    with plain_errors(folder), ExitStack() as stack:
        held = folder.is_dir()
        if held:
            stack.enter_context(locked(folder))
            if is_complete(folder, spec, sequence, domain):
                yield from _finished(spec, sequence, folder)
                return
        yield from _unfinished(spec, sequence, runs, folder, domain, crew, stack, held=held)


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
    spec: RunSpec,
    sequence: Sequence,
    runs: Path,
    folder: Path,
    domain: Domain,
    crew: Crew,
    stack: ExitStack,
    *,
    held: bool,
) -> Iterator[events.Event]:
    from cat_bench.benchmark.execution.changes import set_aside_changed
    from cat_bench.benchmark.execution.driver import Driver
    from cat_bench.benchmark.execution.stage import Work
    from cat_bench.benchmark.execution.workers.crew import assemble
    from cat_bench.benchmark.planning.plan import make_plan
    from cat_bench.benchmark.store.library import Library
    from cat_bench.benchmark.store.record import write_run
    from cat_bench.benchmark.text_to_image.references import references_ready

    plan = make_plan(spec, folder, sequence, domain.identity(spec))
    if not held:
        folder.mkdir(parents=True, exist_ok=True)  # another process may have begun the same meanwhile: then this waits
        stack.enter_context(locked(folder))
    library = Library(runs)
    yield from set_aside_changed(plan, library)
    write_run(plan)
    planned = _planned(plan, library)
    yield planned
    ok = len(plan.cells)
    if references_ready(plan) and not planned.chains:
        _all_ok(plan)
    else:
        executor, why = assemble(crew, plan, domain, len(planned.chains))
        if why:
            yield events.Message(why)
        ok = yield from Driver(Work(plan, library, domain.reader(spec)), stack.enter_context(executor)).drive()
    if ok == len(plan.cells):
        mark_complete(plan, domain)
    yield events.Ended(folder, ok, len(plan.cells) - ok)


def _planned(plan: Plan, library: Library) -> events.Planned:
    from cat_bench.benchmark.execution.stage import ready
    from cat_bench.benchmark.planning.plan import BASE

    chains: list[tuple[int, str, int, int]] = []
    done = 0
    for index, (cell, stages) in enumerate([(None, (plan.base,)), *((cell, cell.stages) for cell in plan.cells)]):
        pending = [stage for stage in stages if not ready(stage)]
        # An estimate: cells that share a beginning learn it once, which shows only on the way.
        steps = sum(cell.config.steps for stage in pending if cell and not library.find("key", stage.keys.key))
        fresh = (stage for stage in pending if not library.find("samples_key", stage.keys.samples_key))
        if pending:
            chains.append((index, cell.cell.method if cell else BASE, steps, sum(len(stage.items) for stage in fresh)))
        done += len(stages) - len(pending) if cell else 0
    steps, images = sum(chain[2] for chain in chains), sum(chain[3] for chain in chains)
    count = sum(len(cell.stages) for cell in plan.cells)
    return events.Planned(plan.folder, len(plan.cells), count, done, steps, images, chains=tuple(chains))


def _all_ok(plan: Plan) -> None:
    """Nothing is left to compute; a process that was killed may have left a cell without its last word."""
    from cat_bench.benchmark.execution.cell import end_ok
    from cat_bench.benchmark.store.files import read_json
    from cat_bench.benchmark.store.record import CELL

    for cell in plan.cells:
        ended = read_json(cell.folder / CELL) or {}
        if (ended.get("status"), ended.get("protocol")) != ("ok", plan.protocol):
            end_ok(cell, plan)
