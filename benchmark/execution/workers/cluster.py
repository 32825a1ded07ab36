"""Workers on the nodes of a Ray cluster, which come and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution.workers.executor import Done, Failed, Line, Lost, Message, Setup, Task
from cat_bench.benchmark.execution.workers.guest import Guest, about
from cat_bench.benchmark.execution.workers.joining import join

PATIENCE = 0.5  # seconds to wait for a message
LOOK = 2.0  # seconds between two looks for nodes that joined or left
WITHOUT = 60.0  # seconds to wait for a node when there is none left
TRIES = 3  # to begin a worker on a node
AHEAD = 8  # messages that a worker may be ahead of the driver


@dataclass
class _Seat:
    """A worker: an actor on a node. known: it was found to have the same program and the same weights."""

    node: str
    actor: Any
    waiting_for: Any  # its answer to the greeting, later the stream of a task's messages; None: it is free
    known: bool = False


class Cluster:
    """An executor. Nodes may join and leave at any time; one that is not like this machine is left out."""

    def __init__(self, setup: Setup, address: str, wanted: int | None, per_gpu: int, chains: int) -> None:
        """wanted: how many workers at most; chains: more than so many would have nothing to do."""
        self.setup, self.address, self.per_gpu = setup, address, per_gpu
        chains = max(chains, 1)  # the references alone may be missing
        self.most = min(wanted or chains, chains)
        self._seats: dict[int, _Seat] = {}
        self._next = 0
        self._names: dict[str, str] = {}  # of living nodes, by id
        self._refused: dict[str, str] = {}  # nodes, and why
        self._vain: Counter[str] = Counter()  # workers that did not begin, by node
        self._looked = 0.0
        self._alone_since: float | None = None

    @property
    def size(self) -> int:
        return sum(seat.known for seat in self._seats.values())

    def free(self) -> Sequence[int]:
        return [number for number, seat in self._seats.items() if seat.known and seat.waiting_for is None]

    def start(self, worker: int, task: Task) -> None:
        seat = self._seats[worker]
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": AHEAD}
        seat.waiting_for = seat.actor.work.options(**options).remote(task)

    def messages(self) -> Sequence[tuple[int, Message]]:
        found = self._look() if time.monotonic() - self._looked > LOOK else []
        waiting = {seat.waiting_for: number for number, seat in self._seats.items() if seat.waiting_for is not None}
        if found or not waiting:
            time.sleep(0 if found else PATIENCE)
            return found
        for ready in self._ray.wait(list(waiting), num_returns=1, timeout=PATIENCE)[0]:
            number = waiting[ready]
            seat = self._seats[number]
            try:
                found += self._hear(number, seat)
            except self._ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)  # what was raised there, if that is what went wrong
                if cause is not None and not seat.known:
                    found += self._refuse(number, f"cat-bench cannot be loaded there ({_first(cause)})")
                else:
                    found += self._lose(number, _first(cause or error))
            except StopIteration:
                found += self._lose(number, "it ended before its work did")
        return found

    def __enter__(self) -> Cluster:
        self._ray = ray = join(self.address)
        self._greeting = (about(), ray.cloudpickle.dumps(self.setup))
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._seats):
            self._lose(number, "")
        self._ray.shutdown()

    def _hear(self, number: int, seat: _Seat) -> list[tuple[int, Message]]:
        """The next thing that a worker has to say; raises RayError if it is gone."""
        if not seat.known:
            reason = self._ray.get(seat.waiting_for)
            seat.known, seat.waiting_for = reason is None, None
            return self._counted(number) if reason is None else self._refuse(number, reason)
        message: Message = self._ray.get(next(seat.waiting_for))
        if isinstance(message, Done | Failed):
            seat.waiting_for = None
        if isinstance(message, Failed):
            self._end(number)  # what went wrong may have left it unfit; the next look puts another in its place
            self._looked = 0.0
        return [(number, message)]

    def _counted(self, number: int) -> list[tuple[int, Message]]:
        """How many workers there are, once all that were greeted have answered."""
        if not all(seat.known for seat in self._seats.values()):
            return []
        nodes = len({seat.node for seat in self._seats.values()})
        workers = f"{self.size} worker{'' if self.size == 1 else 's'}"
        return [(number, Line(f"{workers} on {nodes} node{'' if nodes == 1 else 's'} of the cluster"))]

    def _look(self) -> list[tuple[int, Message]]:
        """Greet nodes that joined, as far as workers are wanted; notice those that left."""
        self._looked = time.monotonic()
        nodes = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        self._names = {id: node["NodeManagerAddress"] for id, node in nodes.items()}
        found: list[tuple[int, Message]] = []
        for number, seat in list(self._seats.items()):
            if seat.node not in nodes:
                found += self._lose(number, "its node left the cluster")
        for id, node in nodes.items():
            room = 0 if id in self._refused else self._room(node["Resources"])
            room -= sum(seat.node == id for seat in self._seats.values())
            for _ in range(min(room, self.most - len(self._seats))):
                self._greet(id)
        if self._seats or found:
            self._alone_since = None
        elif self._refused and self._refused.keys() >= {id for id in nodes if self._room(nodes[id]["Resources"])}:
            raise RunError(f"the cluster has no node that can be used: {next(iter(self._refused.values()))}")
        else:
            self._alone_since = self._alone_since or self._looked
            if self._looked - self._alone_since > WITHOUT:
                raise RunError(f"the cluster at {self.address} has no node left that can work; start one and go on")
        return found

    def _room(self, resources: dict[str, float]) -> int:
        """How many workers a node bears."""
        if self.setup.plan.identity.how.get("device") == "cuda":
            return int(resources.get("GPU", 0)) * self.per_gpu
        return int(resources.get("CPU", 0))

    def _greet(self, node: str) -> None:
        cuda = self.setup.plan.identity.how.get("device") == "cuda"
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        needs = {"num_cpus": 0, "num_gpus": 1 / self.per_gpu} if cuda else {"num_cpus": 1}
        actor = self._ray.remote(Guest).options(max_restarts=0, scheduling_strategy=strategy, **needs).remote()
        self._seats[self._next] = _Seat(node, actor, actor.meet.remote(*self._greeting))
        self._next += 1

    def _refuse(self, number: int, reason: str) -> list[tuple[int, Message]]:
        """Leave a worker's node out for good; what works there already may go on."""
        node = self._seats[number].node
        line = f"node {self._names.get(node, node[:8])} is left out: {reason}"
        for other in [other for other, seat in self._seats.items() if seat.node == node and not seat.known]:
            self._end(other)
        self._refused[node] = line
        self._looked = 0.0
        return [(number, Line(line))]

    def _lose(self, number: int, reason: str) -> list[tuple[int, Message]]:
        """A worker is gone. A node on which none begins is left out, if it does not turn out to have left."""
        seat = self._seats[number]
        self._vain[seat.node] += not seat.known
        if not seat.known and self._vain[seat.node] > TRIES and seat.node in self._names:
            return self._refuse(number, f"no worker begins there ({reason})")
        busy = seat.known and seat.waiting_for is not None
        self._end(number)
        self._looked = 0.0
        return [(number, Lost(f"its worker was lost ({reason})"))] if busy else []

    def _end(self, number: int) -> None:
        seat = self._seats.pop(number)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(seat.actor, no_restart=True)


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
