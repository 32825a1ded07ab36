"""How a run is shown while it goes on: a live display on a terminal, plain lines everywhere else."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from cat_bench.benchmark.planning.events import (
    CellEnded,
    Event,
    Learning,
    Message,
    Planned,
    Sampling,
    StageBegun,
    StageEnded,
)
from cat_bench.benchmark.planning.spec import Cell

IMAGE_IN_STEPS = 0.5  # a first guess of what an image costs, in training steps, until both were measured


@dataclass
class Pace:
    """How fast one kind of work goes, from the time between its events."""

    done: int = 0
    seconds: float = 0.0

    def add(self, units: int, seconds: float) -> None:
        self.done += units
        self.seconds += seconds

    @property
    def each(self) -> float | None:
        """Seconds a unit; None until one was measured."""
        return self.seconds / self.done if self.done else None


@dataclass
class Estimate:
    """What is left, in seconds, from the plan's counts and the pace so far."""

    steps: int = 0
    images: int = 0
    step: Pace = field(default_factory=Pace)
    image: Pace = field(default_factory=Pace)

    @property
    def seconds_left(self) -> float | None:
        step, image = self.step.each, self.image.each
        if step is None and image is None:
            return None
        step = step if step is not None else (image or 0.0) / IMAGE_IN_STEPS
        image = image if image is not None else step * IMAGE_IN_STEPS
        return max(self.steps - self.step.done, 0) * step + max(self.images - self.image.done, 0) * image

    @property
    def share(self) -> float:
        """Of the work that is done, 0 to 1."""
        step = self.step.each if self.step.each is not None else 1.0
        image = self.image.each if self.image.each is not None else step * IMAGE_IN_STEPS
        whole = self.steps * step + self.images * image
        done = min(self.step.done, self.steps) * step + min(self.image.done, self.images) * image
        return done / whole if whole else 1.0


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
        self._last = time.monotonic()
        self._images = 0  # of the current stage
        self._loss: float | None = None
        self._stage = ""
        self._bars = Progress(
            *(TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn()),
            *(TextColumn("{task.fields[state]}"),),
            console=console,
            transient=True,
        )
        self._bar = self._bars.add_task("run", total=1.0, state="loading the models")

    def __enter__(self) -> Display:
        if self.live:
            self._bars.start()
        logger = logging.getLogger("cat_bench")
        logger.addHandler(self._notes)
        logger.propagate = False  # libraries install a root handler of their own, which would say everything twice
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._bars.stop()
        logging.getLogger("cat_bench").removeHandler(self._notes)
        logging.getLogger("cat_bench").propagate = True

    def show(self, event: Event) -> None:
        """Show one event."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        match event:
            case Message(text):
                self._line(text)
            case Planned():
                self.estimate.steps, self.estimate.images = event.steps, event.images
                ready = f", {event.ready} of them ready" if event.ready else ""
                self._line(f"{event.folder}: {_many(event.cells, 'cell')}, {_many(event.stages, 'stage')}{ready}")
            case StageBegun():
                self._images, self._loss = 0, None
                where = f"cell {event.index}/{event.cells} {_name(event.cell)}" if event.cell else "base model"
                part = f" · stage {event.number}/{event.count} {event.concept}" if event.cell else ""
                self._stage = where + part
                self._state("")
            case Learning():
                self.estimate.step.add(1, passed)
                self._loss = event.loss if self._loss is None else 0.9 * self._loss + 0.1 * event.loss
                self._state(f"step {event.step}/{event.steps} · loss {self._loss:.4f}")
            case Sampling():
                self.estimate.image.add(event.done - self._images, passed)
                self._images = event.done
                self._state(f"image {event.done}/{event.total}")
            case StageEnded(origin="ready"):
                pass
            case StageEnded():
                name = f"{_name(event.cell)}/{event.number:02d}-{event.concept}" if event.cell else "base"
                loss = f", loss {self._loss:.4f}" if self._loss is not None else ""
                how = f"{_clock(event.seconds)}{loss}" if event.origin == "made" else "taken from an equal stage"
                self._line(f"{name}: {how}{self._left()}")
            case CellEnded(status="ok"):
                pass
            case CellEnded():
                self._line(f"{_name(event.cell)}: {event.status}: {event.reason}")

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _state(self, what: str) -> None:
        if self.live:
            state = " · ".join(part for part in (self._stage, what) if part) + self._left()
            self._bars.update(self._bar, completed=self.estimate.share, state=state)

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
