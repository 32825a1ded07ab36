"""The one worker that needs no process of its own."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import cast

from cat_bench.benchmark.execution.workers.executor import Done, Failed, Message, Setup, Task
from cat_bench.benchmark.execution.workers.worker import Worker


class Inline:
    """The task goes on while its messages are asked for."""

    size = 1

    def __init__(self, setup: Setup, scratch: Path) -> None:
        self._worker = Worker(setup, scratch)
        self._running: Generator[Message, None, None] | None = None

    def free(self) -> Sequence[int]:
        return (0,) if self._running is None else ()

    def start(self, worker: int, task: Task) -> None:
        self._running = cast(Generator[Message, None, None], self._worker.work(task))

    def messages(self) -> Sequence[tuple[int, Message]]:
        if self._running is None:
            return ()
        message = next(self._running)
        if isinstance(message, Done | Failed):
            self._running.close()
            self._running = None
        return ((0, message),)

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.close()
        self._worker.__exit__()
