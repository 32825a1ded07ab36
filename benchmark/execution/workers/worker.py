"""A worker: models that stay loaded, and what is made with them of one task after another."""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cat_bench.benchmark.errors import CatBenchError
from cat_bench.benchmark.execution.workers.executor import Done, Failed, Files, Message, Note, Opened, Setup, Task
from cat_bench.benchmark.planning.engine import Engine
from cat_bench.benchmark.planning.events import Learning, Sampling
from cat_bench.benchmark.planning.keys import ADAPTER, EMBEDDINGS
from cat_bench.benchmark.planning.plan import CellPlan, StagePlan
from cat_bench.benchmark.store.files import disk_trouble, write_bytes
from cat_bench.benchmark.store.images import loose
from cat_bench.benchmark.system import provenance
from cat_bench.benchmark.system.memory import hold_freed_memory
from cat_bench.benchmark.text_to_image.references import REFERENCES, prepare_references
from cat_bench.benchmark.text_to_image.scoring import sample_and_embed

Facts = dict[str, Any]


class Worker:
    """A context manager. scratch: a folder of its own to work in; every: seconds between two reports of progress."""

    def __init__(self, setup: Setup, scratch: Path, every: float = 0.0) -> None:
        self.setup, self.scratch, self.every = setup, scratch, every
        self._exit = ExitStack()
        self._engine: Engine | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def work(self, task: Task) -> Iterator[Message]:
        """Do a task. The last message is Done or Failed: what goes wrong is a value, never an exception."""
        try:
            if self._engine is None:
                yield from self._open()
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir(parents=True)
            yield from self._stage(task) if task.stage else self._references()
        except Exception as error:
            yield self._failure(error)
        else:
            yield Done()

    def _open(self) -> Iterator[Message]:
        hold_freed_memory()
        self._engine = engine = self._exit.enter_context(self.setup.domain.open(self.setup.plan.spec))
        triggers = [concept.trigger for concept in self.setup.plan.sequence.concepts]
        yield Opened({trigger: engine.tokens(trigger) for trigger in triggers}, engine.inputs())

    def _failure(self, error: Exception) -> Failed:
        status, reason = verdict(error)
        trouble = disk_trouble(error, self.setup.plan.folder)
        if self._engine is None and status != "oom":
            trouble = reason if isinstance(error, CatBenchError) else f"the models cannot be loaded: {reason}"
        return Failed(status, reason, "".join(traceback.format_exception(error)), trouble)

    def _references(self) -> Iterator[Message]:
        assert self._engine is not None
        made = self.scratch / REFERENCES
        prepare_references(self.setup.plan, self._engine, made)
        yield Files({str(path.relative_to(made)): path.read_bytes() for path in _below(made)})

    def _stage(self, task: Task) -> Iterator[Message]:
        assert self._engine is not None and task.stage is not None
        folder, stage = self.scratch / "stage", task.stage
        folder.mkdir()
        for name, content in task.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if task.previous is not None:
            write_bytes(self.scratch / "previous.safetensors", task.previous, durable=False)
            stage = replace(stage, previous=self.scratch / "previous.safetensors")
        if task.cell is not None and ADAPTER not in task.files:
            yield from self._learn(self._engine, task.cell, stage, folder)
        if EMBEDDINGS not in task.files:
            yield from self._sample(self._engine, task, stage, folder)

    def _learn(self, engine: Engine, cell: CellPlan, stage: StagePlan, folder: Path) -> Iterator[Message]:
        provenance.reset_peak_memory()
        began = time.monotonic()
        facts = yield from self._spaced(engine.learn(cell, stage, folder / ADAPTER))
        seconds, peak = time.monotonic() - began, provenance.peak_memory()
        facts |= {"train_seconds": seconds, "train_peak": peak, "train_made": self._made_with(), "computed": True}
        yield Files({ADAPTER: (folder / ADAPTER).read_bytes()}, facts)

    def _spaced(self, learning: Generator[Learning, None, Facts]) -> Generator[Learning, None, Facts]:
        """The steps of a training, not more often than wanted; the first and the last are told in any case."""
        told = 0.0
        while True:
            try:
                step = next(learning)
            except StopIteration as end:
                facts: Facts = end.value
                return facts
            now = time.monotonic()
            if now - told >= self.every or step.step == step.steps:
                told = now
                yield step

    def _sample(self, engine: Engine, task: Task, stage: StagePlan, folder: Path) -> Iterator[Message]:
        roles = tuple(self.setup.plan.identity.extractors)
        adapter = folder / ADAPTER if task.cell else None
        began, told = time.monotonic(), 0
        made = {"sample_made": self._made_with(), "computed": True}
        for done in sample_and_embed(engine, roles, task.cell, stage, folder, adapter):
            paths = map(loose, stage.items[told if told < done else 0 : done])  # it begins again if a file is damaged
            there = {path: (folder / path).read_bytes() for path in paths if (folder / path).is_file()}
            told = done
            if fresh := {path: content for path, content in there.items() if task.files.get(path) != content}:
                facts = {**made, "sample_seconds": task.seconds + time.monotonic() - began}
                yield Files(fresh, facts)
            yield Sampling(done, len(stage.items))
        facts = {"sample_seconds": task.seconds + time.monotonic() - began, "sample_peak": provenance.peak_memory()}
        yield Files({EMBEDDINGS: (folder / EMBEDDINGS).read_bytes()}, facts)

    def _made_with(self) -> dict[str, str | None]:
        return provenance.made_with(str(self.setup.plan.identity.how.get("device")))


class Notes(logging.Handler):
    """Warnings of the program, kept until they are told; of each kind the first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[Note] = []
        self._seen: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        kind = (record.name, str(record.msg))
        if kind not in self._seen:
            self._seen.add(kind)
            values = record.args if isinstance(record.args, tuple) else ()
            plain = tuple(value if isinstance(value, str | int | float) else str(value) for value in values)
            self.kept.append(Note(*kind, plain))

    def take(self) -> list[Note]:
        """What was kept since the last time."""
        taken, self.kept = self.kept, []
        return taken


def noted(messages: Iterator[Message], notes: Notes) -> Iterator[Message]:
    """The messages, each after the warnings that came before it."""
    for message in messages:
        yield from notes.take()
        yield message


def verdict(error: Exception) -> tuple[Literal["failed", "oom"], str]:
    """What a failure is called, and its reason in one line. Out of memory is the machine's limit, not the method's."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    name = type(error).__name__
    words = ("out of memory", "not enough memory", "can't allocate memory")
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(word in first.lower() for word in words):
        return "oom", f"{first.rstrip('.')} (at its peak the process held {provenance.peak_memory() / 2**30:.1f} GiB)"
    own = isinstance(error, ValueError) and type(error).__module__.startswith("cat_bench.")
    return "failed", first if own else f"{name}: {first}"


def _below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
