"""Workers on this machine, each a process of its own: one that dies loses nothing but what it had in hand."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO, Any

from cat_bench.benchmark.execution.workers.executor import Done, Failed, Lost, Message, Setup, Task
from cat_bench.benchmark.execution.workers.worker import Notes, Worker, noted

EVERY = 0.1  # seconds between two reports of a training's progress
PATIENCE = 0.5  # seconds to wait for a message

# Neither fork (PyTorch's and CUDA's threads do not survive it) nor multiprocessing's spawn, which runs the caller's
# script again: a fresh interpreter that knows where the caller finds its modules.
_BEGIN = """
import sys
from multiprocessing.connection import Connection
driver = Connection(int(sys.argv[1]))
sys.path[:] = driver.recv()
from cat_bench.benchmark.execution.workers.processes import serve
serve(driver, int(sys.argv[2]))
"""


@dataclass
class _Seat:
    """A worker's process. up: it listens, and has its setup; task: what it works on, or will once it is up."""

    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    log: IO[bytes]
    up: bool = False
    task: Task | None = None


class Processes:
    """An executor. Processes begin when they are first needed, and are replaced when they die or fail."""

    def __init__(self, setup: Setup, scratch: Path, places: Sequence[Mapping[str, str]]) -> None:
        """scratch: a folder for what they have in hand; places: each worker's own environment variables."""
        self.setup, self.scratch, self.places = setup, scratch, places
        self._seats: dict[int, _Seat] = {}
        self._line: tuple[int, int] = (-1, -1)  # a pipe that nothing is written to: it breaks when the driver is gone

    @property
    def size(self) -> int:
        return len(self.places)

    def free(self) -> Sequence[int]:
        return [n for n in range(self.size) if n not in self._seats or self._seats[n].task is None]

    def start(self, worker: int, task: Task) -> None:
        seat = self._seats.get(worker) or self._begin(worker)
        seat.task = task
        if seat.up:
            self._send(seat, task)

    def messages(self) -> Sequence[tuple[int, Message]]:
        by_connection = {seat.connection: number for number, seat in self._seats.items()}
        found: list[tuple[int, Message]] = []
        for ready in wait(list(by_connection), PATIENCE):
            number = by_connection[ready]  # type: ignore[index]
            seat = self._seats[number]
            try:
                message = seat.connection.recv()
            except (EOFError, OSError):
                reason = self._end(number)
                if seat.task is not None:
                    found.append((number, Lost(reason)))
                continue
            if message is None:  # it listens
                seat.up = True
                self._send(seat, (self.setup, self.scratch), seat.task)
                continue
            if isinstance(message, Done):
                seat.task = None
            elif isinstance(message, Failed):
                seat.process.kill()  # what went wrong may have left it unfit, or without memory
                self._end(number)
            found.append((number, message))
        return found

    def __enter__(self) -> Processes:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self._line = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats.values():
            seat.process.kill()
        for number in list(self._seats):
            self._end(number)
        for end in self._line:
            os.close(end)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _begin(self, number: int) -> _Seat:
        here, there = Pipe()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, str(there.fileno()), str(self._line[0])],
            pass_fds=[there.fileno(), self._line[0]],
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.places[number]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # the terminal's Ctrl-C is for the driver, which ends its workers itself
        )
        there.close()
        self._seats[number] = seat = _Seat(process, here, log)
        self._send(seat, sys.path)
        return seat

    def _send(self, seat: _Seat, *things: Any) -> None:
        """To a worker that may have died: if so, the end of its connection is the next thing heard of it."""
        with suppress(OSError):
            for thing in things:
                seat.connection.send(thing)

    def _end(self, number: int) -> str:
        """End a worker's process, if it has not ended; how it did, in words."""
        seat = self._seats.pop(number)
        seat.connection.close()
        try:
            code = seat.process.wait(2)
        except subprocess.TimeoutExpired:
            seat.process.kill()
            code = seat.process.wait()
        seat.log.seek(0)
        last = seat.log.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        seat.log.close()
        if code == -signal.SIGKILL:
            return "its worker was killed, as a system does that runs out of memory"
        return f"its worker ended by itself ({_signal(code)}){': ' + last[0] if last else ''}"


def serve(driver: Connection[Any, Any], line: int) -> None:
    """What a worker's process does: tasks, until the driver is gone, however it went; then `line`, a pipe, ends."""
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    notes = Notes()
    logging.getLogger("cat_bench").addHandler(notes)
    driver.send(None)
    setup, scratch = driver.recv()
    with suppress(EOFError, OSError), Worker(setup, scratch / str(os.getpid()), EVERY) as worker:
        while True:
            task = driver.recv()
            for message in noted(worker.work(task), notes):
                driver.send(message)


def _end_with(line: int) -> None:
    os.read(line, 1)
    os._exit(0)  # in the middle of whatever it is: nobody waits for it any more


def _signal(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
