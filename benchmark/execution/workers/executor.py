"""Whoever carries tasks out: each worker takes one at a time, and what it makes comes back as messages.

The unit is a stage. A worker is handed all that the stage needs and hands back the files it made; the driver alone
writes the run's folder, so a worker need not see its disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from cat_bench.benchmark.planning.engine import Domain
from cat_bench.benchmark.planning.events import Learning, Sampling
from cat_bench.benchmark.planning.plan import CellPlan, Plan, StagePlan


@dataclass(frozen=True)
class Setup:
    """What every worker of a run knows from the start. The plan is without its cells: a task brings its own."""

    plan: Plan
    domain: Domain


@dataclass(frozen=True)
class Task:
    """What a worker is to make: the adapter, pictures and embeddings of a stage, or the references of the run.

    stage     None: the references
    cell      without its stages; None: of the untouched backbone
    previous  the adapter file that the stage goes on from; None: the untouched backbone
    files     what there is of the stage already, by its path in the stage's folder: the adapter, pictures
    seconds   that its sampling has taken so far
    """

    stage: StagePlan | None = None
    cell: CellPlan | None = None
    previous: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Opened:
    """The worker has its models loaded.

    tokens: into how many tokens the backbone cuts each trigger of the sequence. inputs: of each linear layer that can
    be adapted.
    """

    tokens: Mapping[str, int]
    inputs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Files:
    """Files that were made, whole, by path in the stage's folder (or that of the references), and facts about them."""

    files: Mapping[str, bytes]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A warning of the program, as it was logged."""

    logger: str
    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Done:
    """The task is done; the worker waits for the next one."""


@dataclass(frozen=True)
class Failed:
    """The task could not be done, and why. trouble: one line if no other task can be done either."""

    status: Literal["failed", "oom"]
    reason: str
    trace: str
    trouble: str | None = None


@dataclass(frozen=True)
class Lost:
    """The worker is gone, and its task with it; the executor puts another in its place if it can."""

    reason: str


@dataclass(frozen=True)
class Line:
    """Something worth a line of its own, such as a node that was left out, and why."""

    text: str


Message = Opened | Files | Note | Learning | Sampling | Done | Failed | Lost | Line


class Executor(Protocol):
    """Workers by number. A context manager: on leaving it all of them are stopped at once, whatever they do."""

    @property
    def size(self) -> int:
        """How many workers there are, at present."""

    def free(self) -> Sequence[int]:
        """The workers that wait for a task."""

    def start(self, worker: int, task: Task) -> None:
        """Hand a task to a free worker; its messages end with Done, Failed or Lost."""

    def messages(self) -> Sequence[tuple[int, Message]]:
        """What the workers have to say, in each one's order; waits a little for it, and may come back with nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
