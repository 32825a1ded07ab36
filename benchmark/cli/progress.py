"""How a run is shown while it goes on: a live display on a terminal, plain lines everywhere else."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column

from cat_bench.benchmark.execution.estimate import Estimate
from cat_bench.benchmark.planning.events import (
    CellEnded,
    Event,
    Learning,
    Message,
    Planned,
    Sampling,
    StageBegun,
    StageEnded,
    Workers,
)
from cat_bench.benchmark.planning.spec import Cell


@dataclass
class At:
    """What a worker is at. since: when it was last heard of; None: it has not told anything yet."""

    of: Cell | None = None
    number: int = 0
    stage: str = ""
    step: int = 0
    images: int = 0
    since: float | None = None

    def passed(self) -> float | None:
        """Seconds since it was last heard of."""
        before, self.since = self.since, time.monotonic()
        return None if before is None else self.since - before


class Notes(logging.Handler):
    """Warnings of the program as lines of the display: of each kind the first, so that they do not bury the run."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console
        self._seen: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        kind = (record.name, str(record.msg))
        if kind not in self._seen:
            self._seen.add(kind)
            text = f"note: {record.getMessage()} (others like it are not shown)"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class Display:
    """A context manager; `show` takes the run's events one by one."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = console.is_terminal
        self._notes = Notes(console)
        self.estimate = Estimate()
        self._at: defaultdict[int, At] = defaultdict(At)  # by worker
        self._index: defaultdict[Cell | None, int] = defaultdict(int)  # of cells, from 1; 0: the untouched backbone
        self._loss: dict[tuple[Cell | None, int], float] = {}  # of stages, an average of the last steps
        self._lines: dict[int, TaskID] = {}
        self._whole = Progress(
            *(TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn()),
            TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
        )
        self._bar = self._whole.add_task("run", total=1.0, state="loading the models")
        described = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
        self._workers = Progress(described, console=console)
        self._view = Live(Group(self._whole, self._workers), console=console, transient=True)

    def __enter__(self) -> Display:
        if self.live:
            self._view.start()
        logger = logging.getLogger("cat_bench")
        logger.addHandler(self._notes)
        logger.propagate = False  # libraries install a root handler of their own, which would say everything twice
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._view.stop()
        logging.getLogger("cat_bench").removeHandler(self._notes)
        logging.getLogger("cat_bench").propagate = True

    def show(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Message(text):
                self._line(text)
            case Planned():
                self.estimate = Estimate.of(event)
                ready = f", {event.ready} of them ready" if event.ready else ""
                self._line(f"{event.folder}: {_many(event.cells, 'cell')}, {_many(event.stages, 'stage')}{ready}")
            case Workers(count):
                self.estimate.workers = count
                for line in self._lines.values():  # of a worker that is no more, perhaps; the others speak again soon
                    self._workers.remove_task(line)
                self._lines.clear()
            case StageBegun():
                at = self._at[event.worker]
                at.of, at.number, at.step, at.images = event.cell, event.number, 0, 0
                self._index[event.cell] = event.index
                if at.since is not None:
                    at.since = time.monotonic()
                where = f"cell {event.index}/{event.cells} {_name(event.cell)}" if event.cell else "base model"
                at.stage = where + (f" · stage {event.number}/{event.count} {event.concept}" if event.cell else "")
                self._state(event.worker, "")
            case Learning():
                at = self._at[event.worker]
                self.estimate.learned(self._index[at.of], event.step - at.step, at.passed())
                at.step = event.step
                before = self._loss.get((at.of, at.number), event.loss)
                self._loss[at.of, at.number] = loss = 0.9 * before + 0.1 * event.loss
                self._state(event.worker, f"step {event.step}/{event.steps} · loss {loss:.4f}")
            case Sampling():
                at = self._at[event.worker]
                self.estimate.sampled(self._index[at.of], event.done - at.images, at.passed())
                at.images = event.done
                self._state(event.worker, f"image {event.done}/{event.total}")
            case StageEnded():
                self._stage_ended(event)
            case CellEnded(status="ok"):
                self.estimate.end(self._index[event.cell])
            case CellEnded():
                self.estimate.end(self._index[event.cell])
                skipped = f"; {_many(len(event.skipped), 'later stage')} skipped" if event.skipped else ""
                self._line(f"{_name(event.cell)}: {event.status}: {event.reason}{skipped}")

    def _stage_ended(self, event: StageEnded) -> None:
        if event.cell is None:
            self.estimate.end(0)
        if event.origin == "ready":
            return
        name = f"{_name(event.cell)}/{event.number:02d}-{event.concept}" if event.cell else "base"
        told = self._loss.pop((event.cell, event.number), None)
        loss = f", loss {told:.4f}" if told is not None else ""
        how = f"{_clock(event.seconds)}{loss}" if event.origin == "made" else "taken from an equal stage"
        self._line(f"{name}: {how}{self._left()}")

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _state(self, worker: int, what: str) -> None:
        if not self.live:
            return
        state = " · ".join(part for part in (self._at[worker].stage, what) if part)
        if self.estimate.workers <= 1 and not self._lines:
            self._whole.update(self._bar, completed=self.estimate.share, state=state + self._left())
            return
        if worker not in self._lines:
            self._lines[worker] = self._workers.add_task("")
        self._workers.update(self._lines[worker], description=f"worker {worker + 1}: {state}")
        self._whole.update(self._bar, completed=self.estimate.share, state=self._left().removeprefix(" · "))

    def _left(self) -> str:
        left = self.estimate.seconds_left
        return f" · {_clock(left)} left" if left else ""


def _name(cell: Cell | None) -> str:
    return cell.path if cell else "base"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _clock(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
