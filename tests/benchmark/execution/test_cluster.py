"""Workers on a Ray cluster: two nodes on one machine, which come and go. Left out where Ray is not installed."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from run_fakes import FakeConcept, FakeEngine, FakeSequence, tree

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.execution.workers import cluster
from cat_bench.benchmark.execution.workers.cluster import Cluster, _Seat
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.execution.workers.executor import Done, Files, Lost, Note, Opened, Setup, Task
from cat_bench.benchmark.execution.workers.guest import Guest, about
from cat_bench.benchmark.planning.events import Ended, Event, Learning, Message, StageBegun, StageEnded
from cat_bench.benchmark.planning.plan import Plan, make_plan
from cat_bench.benchmark.planning.spec import RunSpec, resolve

ROUNDS = max(1, int(os.environ.get("CAT_BENCH_KILLS", "3")) // 3)
SPEC = {"sequence": "letters3", "methods": ("lora", "cat", "merge"), "images_per_prompt": 1}


@pytest.fixture(autouse=True)
def sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    spec = resolve(SPEC)
    return make_plan(spec, tmp_path, FakeSequence(), FakeEngine(spec).identity(spec))


def go(runs: Path, crew: Crew, **engine: Any) -> Iterator[Event]:
    return runner.run(resolve(SPEC), runs, None, FakeEngine(RunSpec(), **engine), crew)


def answer(plan: Plan, theirs: dict[str, Any] | None = None, **engine: Any) -> str | None:
    """What a node says to a driver with this plan; engine: how the node's own models differ."""
    setup = Setup(plan, FakeEngine(RunSpec(), **engine))
    return Guest().meet(theirs or about(), pickle.dumps(setup))


@dataclass(frozen=True)
class Kept(FakeConcept):
    """Its pictures are not the same on the driver's machine, which has read them, as on the node."""

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        return "read"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "fingerprint": "read on the driver's machine"}


def test_a_node_that_is_not_the_same_says_why_in_one_line(plan: Plan) -> None:
    assert answer(plan) is None
    here = about()
    version = here["packages"]["cat-bench"]
    other = {**here, "packages": {**here["packages"], "cat-bench": "9.9"}}
    assert answer(plan, other) == f"it has cat-bench {version}, this is 9.9"
    assert answer(plan, {**here, "program": "x"}) == (
        f"its cat-bench {version} differs from this one: install the same on every node"
    )
    assert answer(plan, fingerprint="others") == "its fake has other weights"
    assert answer(plan, metric_fingerprint="others") == "its eye has other weights"
    gpu = replace(plan, identity=replace(plan.identity, how={**plan.identity.how, "device": "cuda"}))
    assert answer(gpu) == "it computes with device cpu, this run with cuda: say which with --device"
    elsewhere = replace(plan, sequence=replace(FakeSequence(), concepts=(Kept("ada"),)))
    assert answer(elsewhere) == "its pictures of ada are others"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeEngine, "identity", lambda *_: 1 / 0)
        assert answer(plan) == "ZeroDivisionError: division by zero"


def test_a_guest_works_in_a_folder_of_its_own(plan: Plan, tmp_path: Path) -> None:
    guest = Guest()
    assert guest.meet(about(), pickle.dumps(Setup(plan, FakeEngine(RunSpec())))) is None
    cell, stage = replace(plan.cells[0], stages=()), plan.cells[0].stages[0]
    messages = list(guest.work(Task(stage, cell)))
    made = {name for message in messages if isinstance(message, Files) for name in message.files}
    assert {"adapter.safetensors", "embeddings.safetensors", "images/ada/00-0.png"} <= made
    assert isinstance(messages[-1], Done) and list(tmp_path.iterdir()) == []


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RunError, match=f"^no Ray cluster answers at {address}: "):
        list(go(tmp_path, Crew(None, cluster=address)))


def test_warnings_come_with_the_messages(plan: Plan) -> None:
    """Through a generator into which values are sent, as Ray does."""
    guest = Guest()
    assert guest.meet(about(), pickle.dumps(Setup(plan, FakeEngine(RunSpec())))) is None
    stream = guest.work(Task())
    first = next(stream)
    logging.getLogger("cat_bench.somewhere").warning("prompt %r was cut", "a")
    rest = [stream.send(1), *stream]  # type: ignore[attr-defined]
    assert isinstance(first, Opened) and rest[0] == Note("cat_bench.somewhere", "prompt %r was cut", ("a",))


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"--cluster needs Ray: pip install 'cat-bench\[cluster\]'"):
        list(go(tmp_path, Crew(None, cluster="local")))


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """A cluster on whose head nothing runs, and two nodes of one worker each."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        store = {"object_store_memory": 80 << 20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=80 << 20)
        yield made
        made.shutdown()


@pytest.mark.timeout(600 * ROUNDS)
def test_nodes_that_go_while_they_work_or_with_what_they_made_lose_nothing(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many nodes as CAT_BENCH_KILLS says, three at a time; three without it."""
    executors: list[cluster.Cluster] = []
    enter = cluster.Cluster.__enter__
    monkeypatch.setattr(cluster.Cluster, "__enter__", lambda self: executors.append(self) or enter(self))
    monkeypatch.setattr(cluster, "LOOK", 0.5)
    list(go(tmp_path / "alone", Crew()))

    def remove_node_of(worker: int) -> None:
        seat = executors[-1]._seats.get(worker)
        for node in two_nodes.worker_nodes:
            if seat is not None and node.node_id == seat.node:
                two_nodes.remove_node(node, allow_graceful=False)
                two_nodes.add_node(num_cpus=1, object_store_memory=80 << 20)

    for number in range(ROUNDS):
        runs = tmp_path / str(number)
        # In the middle of its work; then one that has just made what the next stage of its cell goes on from.
        moments, at, workers, said = [Learning, StageEnded, Learning], {}, set(), []
        for event in go(runs, Crew(None, cluster=two_nodes.address), pause=0.05):
            match event:
                case Message(text):
                    said.append(text)
                case StageBegun():
                    at[event.cell] = event.worker
                    workers.add(event.worker)
            if moments and isinstance(event, moments[0]) and getattr(event, "cell", True):
                moments.pop(0)
                remove_node_of(event.worker if isinstance(event, Learning) else at[event.cell])
        assert event == Ended(runs / "letters3", 3, 0)
        assert len(workers) >= 4 and any("its worker was lost" in text for text in said)
        assert tree(runs) == tree(tmp_path / "alone")
        shutil.rmtree(runs)


@pytest.mark.timeout(600)
def test_a_cluster_of_another_version_is_refused_with_one_line(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "about", lambda: {**about(), "packages": {"cat-bench": "9.9"}})
    with pytest.raises(
        RunError, match=r"^the cluster has no node that can be used: node .* has cat-bench .*, this is 9"
    ):
        list(go(tmp_path, Crew(None, cluster=two_nodes.address)))


def test_a_worker_that_is_lost_where_no_other_begins_gives_its_task_back(plan: Plan) -> None:
    cluster = Cluster(Setup(plan, FakeEngine(RunSpec())), "local", None, 1, 0)
    assert cluster.most == 1, "the references alone may be missing"
    cluster._ray = SimpleNamespace(kill=lambda *given, **more: None, exceptions=SimpleNamespace(RayError=Exception))
    cluster._names, cluster._vain = {"n": "node"}, Counter(n=100)
    cluster._seats[0] = _Seat("n", None, object(), known=True)
    assert [type(message) for _, message in cluster._lose(0, "gone")] == [Lost] and not cluster._seats
