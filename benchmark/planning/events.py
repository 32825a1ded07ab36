"""What a run tells its caller while it goes on; the caller owns showing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cat_bench.benchmark.planning.spec import Cell

Status = Literal["ok", "failed", "oom", "interrupted"]
Origin = Literal["made", "shared", "ready"]  # computed now; taken from another stage; was in place before


@dataclass(frozen=True)
class Message:
    """Something worth a line of its own, such as which stages are redone and why."""

    text: str


@dataclass(frozen=True)
class Planned:
    """The work is known. steps, images: how many are still to be done, of the cells that are not done yet.

    chains: of each cell that is not done its number from 1, its method, steps and
    images, which are done one after another; number 0 is the untouched backbone.
    """

    folder: Path
    cells: int
    stages: int
    ready: int
    steps: int
    images: int
    chains: tuple[tuple[int, str, int, int], ...] = ()


@dataclass(frozen=True)
class Workers:
    """So many workers share the work, from now on."""

    count: int


@dataclass(frozen=True)
class StageBegun:
    """A stage is taken up. cell None: the untouched backbone. count: how many stages its cell has."""

    cell: Cell | None
    number: int
    count: int
    concept: str
    index: int  # of its cell, from 1
    cells: int
    worker: int = 0  # by which the following events of this stage are its own


@dataclass(frozen=True)
class Learning:
    """A training step is done."""

    step: int
    steps: int
    loss: float
    worker: int = 0


@dataclass(frozen=True)
class Sampling:
    """So many of the stage's images are there."""

    done: int
    total: int
    worker: int = 0


@dataclass(frozen=True)
class StageEnded:
    """A stage is in its place."""

    cell: Cell | None
    number: int
    concept: str
    origin: Origin
    seconds: float


@dataclass(frozen=True)
class CellEnded:
    """A cell ended, one way or another. skipped: the stages that were not begun since one before them has no result."""

    cell: Cell
    status: Status
    reason: str | None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The run ended; troubled cells were reported one by one."""

    folder: Path
    ok: int
    troubled: int


Event = Message | Planned | Workers | StageBegun | Learning | Sampling | StageEnded | CellEnded | Ended
