"""Run a specification: every cell, stage by stage, as a generator of events. The caller owns showing and stopping."""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cat_bench.benchmark.backbones.folders import find_backbone, find_metric, metric_for
from cat_bench.benchmark.backbones.registry import described, kin
from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution.completion import CELL, RUN, is_complete, mark_complete
from cat_bench.benchmark.extractors.folders import find_dino
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.engine import Engine
from cat_bench.benchmark.planning.keys import code_digest, digest
from cat_bench.benchmark.planning.spec import RunSpec, cells
from cat_bench.benchmark.store.files import disk_trouble, plain_errors, write_json
from cat_bench.benchmark.store.library import Library
from cat_bench.benchmark.store.lock import locked
from cat_bench.benchmark.system import provenance
from cat_bench.methods.registry import methods
from cat_bench.tasks.sequence import Sequence, load_sequence

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.plan import Plan

MANY_TOKENS = 4  # a trigger of more is worth a warning
ERROR = "error.txt"  # the whole traceback of a failed cell


class Opener(Protocol):
    """Makes an engine; called only when something is left to compute."""

    def __call__(self, spec: RunSpec) -> AbstractContextManager[Engine]: ...


def torch_engine(spec: RunSpec) -> AbstractContextManager[Engine]:
    """The real engine, imported when it is needed: a finished run is recognised without PyTorch."""
    from cat_bench.benchmark.text_to_image.engine import TorchEngine

    return TorchEngine(spec)


def run(
    spec: RunSpec, runs: Path, name: str | None = None, opener: Opener = torch_engine
) -> Generator[events.Event, None, None]:
    """Run what is not done yet. Nothing is written before the specification is known to make sense.

    Raises RunError, SpecError, TaskError, MethodError or BackboneError for what the user can mend; a cell that fails is
    recorded and the others go on. On KeyboardInterrupt the current cell is recorded as interrupted; everything
    finished is kept, and the same call goes on from there.
    """
    sequence = load_sequence(spec.sequence, Path(spec.data) if spec.data else None)
    sequence.check()
    backbone = find_backbone(spec.backbone, fetch=False)  # raises, as what follows, before anything slow begins
    spec = _settled(spec, sequence, *backbone)
    for method in spec.methods:
        if method not in methods.names():
            methods.get(method)  # raises, with what was probably meant
    find_metric(spec.metric or metric_for(*backbone))
    if spec.dino:
        find_dino(spec.dino, fetch=False)
    folder = runs / _checked(name or sequence.id)
    with plain_errors(folder), ExitStack() as stack:
        if folder.is_dir():
            stack.enter_context(locked(folder))
            if is_complete(folder, spec, sequence):
                count = len(list(cells(spec)))
                stages = count * len(sequence.concepts)
                yield events.Planned(folder, count, stages, stages, 0, 0)
                yield events.Ended(folder, count, 0)
                return
        yield from _run(spec, sequence, runs, folder, opener, stack)


def _settled(spec: RunSpec, sequence: Sequence, backbone: str, folder: Path | None) -> RunSpec:
    """What the specification leaves to the sequence and the backbone, filled in."""
    own = described(backbone, folder)
    usual = {"name": own.scheduler, "steps": own.steps, "guidance": own.guidance}
    missing = {key: value for key, value in usual.items() if getattr(spec.sampler, key) is None}
    sampler = spec.sampler.model_copy(update=missing)
    return spec.model_copy(update={"sequence": sequence.id, "sampler": sampler})  # it may have been a path


def _checked(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise RunError(f"{name!r} cannot be a run's name: it names a folder, so give it no slash and no leading dot")
    return name


def _run(
    spec: RunSpec, sequence: Sequence, runs: Path, folder: Path, opener: Opener, stack: ExitStack
) -> Iterator[events.Event]:
    from cat_bench.benchmark.execution.changes import set_aside_changed
    from cat_bench.benchmark.execution.stage import make_stage, ready
    from cat_bench.benchmark.planning.plan import configure, make_plan
    from cat_bench.benchmark.text_to_image.scoring import prepare_references, references_ready

    for method in spec.methods:
        configure(spec, method, kin(*find_backbone(spec.backbone, fetch=False)))  # raises before the models are loaded
    engine = stack.enter_context(opener(spec))
    plan = make_plan(spec, folder, sequence, engine)
    if not folder.is_dir():
        folder.mkdir(parents=True)
        stack.enter_context(locked(folder))
    library = Library(runs)
    yield from set_aside_changed(plan, library)
    yield from _long_triggers(plan, engine)
    _write_run(spec, plan, engine)
    stages = [(cell, stage) for cell in plan.cells for stage in cell.stages]
    pending = [(cell, stage) for cell, stage in stages if not ready(stage)]
    # An estimate: cells that share a beginning learn it once, which shows only on the way.
    steps = sum(cell.config.steps for cell, stage in pending if not library.find("key", stage.keys.key))
    fresh = [stage for _, stage in pending] + [stage for stage in (plan.base,) if not ready(stage)]
    images = sum(len(stage.items) for stage in fresh if not library.find("samples_key", stage.keys.samples_key))
    yield events.Planned(folder, len(plan.cells), len(stages), len(stages) - len(pending), steps, images)
    if not references_ready(plan):
        prepare_references(plan, engine)
    yield from make_stage(plan, None, plan.base, spec, engine, library, 0)

    ok = 0
    for index, cell in enumerate(plan.cells, 1):
        status: events.Status = "ok"
        reason: str | None = None
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)
            (cell.folder / CELL).unlink(missing_ok=True)
            for stage in cell.stages:
                yield from make_stage(plan, cell, stage, spec, engine, library, index)
        except Exception as error:
            if disk_trouble(error, folder):
                raise
            status, reason = _verdict(error)
            (cell.folder / ERROR).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        except BaseException:  # Ctrl-C, a signal, or a caller that has seen enough
            _end_cell(cell.folder, plan.protocol, "interrupted", "stopped from outside; the same command goes on")
            raise
        else:
            (cell.folder / ERROR).unlink(missing_ok=True)
            ok += 1
        _end_cell(cell.folder, plan.protocol, status, reason)
        yield events.CellEnded(cell.cell, status, reason)
    if ok == len(plan.cells):
        mark_complete(plan, spec)
    yield events.Ended(folder, ok, len(plan.cells) - ok)


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


def _write_run(spec: RunSpec, plan: Plan, engine: Engine) -> None:
    resolved = spec.model_dump(mode="json")
    record = {
        "schema_version": 1,
        "name": plan.folder.name,
        "spec": resolved,
        "spec_hash": digest(resolved),
        "computed": dict(engine.how),
        "backbone": {"id": engine.backbone_id, "fingerprint": engine.fingerprint},
        "metric_model": {"id": engine.metric_id, "fingerprint": engine.metric_fingerprint},
        **({"dino": {"id": engine.dino_id, "fingerprint": engine.dino_fingerprint}} if engine.dino_id else {}),
        "sequence": {
            **{key: getattr(plan.sequence, key) for key in ("id", "version", "title", "license", "citation")},
            "fingerprint": plan.sequence.fingerprint,
            "concepts": [concept.id for concept in plan.sequence.concepts],
            # What prompts call them, so that a result can be used without the sequence's own files.
            "names": {
                concept.id: {"trigger": concept.trigger, "noun": concept.noun} for concept in plan.sequence.concepts
            },
        },
        "methods": {
            cell.cell.method: {
                **{key: getattr(cell.method, key) for key in ("version", "title", "source")},
                "code": code_digest(cell.method),
                "config": cell.config.model_dump(mode="json"),
            }
            for cell in plan.cells
        },
        "protocol": plan.protocol,
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "machine": provenance.machine(),
        "started": provenance.now(),
        "finished": None,
    }
    write_json(plan.folder / RUN, record)


def _end_cell(folder: Path, protocol: str, status: events.Status, reason: str | None) -> None:
    write_json(folder / CELL, {"status": status, "reason": reason, "protocol": protocol})


def _verdict(error: Exception) -> tuple[events.Status, str]:
    """Out of memory is told apart: it is the machine's limit, not the method's fault."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    name = type(error).__name__
    words = ("out of memory", "not enough memory", "can't allocate memory")
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(word in first.lower() for word in words):
        return "oom", f"{first.rstrip('.')} (at its peak the process held {provenance.peak_memory() / 2**30:.1f} GiB)"
    own = isinstance(error, ValueError) and type(error).__module__.startswith("cat_bench.")
    return "failed", first if own else f"{name}: {first}"
