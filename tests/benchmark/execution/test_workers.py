"""Workers that are processes of their own: the same tree whatever their number, and whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_fakes import FakeEngine, FakeSequence, tree

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.execution.schedule import Schedule
from cat_bench.benchmark.execution.workers.crew import Crew, number
from cat_bench.benchmark.execution.workers.processes import Processes
from cat_bench.benchmark.planning.events import CellEnded, Ended, Event, Learning, Message, Sampling, StageBegun
from cat_bench.benchmark.planning.plan import make_plan
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.system.memory import available_memory

SPEC = {"sequence": "letters3", "methods": ("lora", "cat", "merge"), "images_per_prompt": 2}


@pytest.fixture(autouse=True)
def sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Worker and process id of all that were begun."""
    found: list[tuple[int, int]] = []
    begin = Processes._begin

    def noting(self: Processes, worker: int):  # type: ignore[no-untyped-def]
        seat = begin(self, worker)
        found.append((worker, seat.process.pid))
        return seat

    monkeypatch.setattr(Processes, "_begin", noting)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The tree of one worker."""
    runs = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
        list(go(runs, 1))
    return tree(runs)


def go(runs: Path, workers: int, engine: FakeEngine | None = None, **changes: object) -> Iterator[Event]:
    spec = resolve(SPEC, changes)
    return runner.run(spec, runs, None, engine or FakeEngine(spec), Crew(workers))


def test_the_tree_does_not_depend_on_the_number_of_workers(
    tmp_path: Path, alone: dict[str, object], begun: list[tuple[int, int]]
) -> None:
    events = list(go(tmp_path, 3))
    assert events[-1] == Ended(tmp_path / "letters3", 3, 0)
    assert Message("3 workers: as asked") in events
    assert {event.worker for event in events if isinstance(event, StageBegun)} == {0, 1, 2}
    assert tree(tmp_path) == alone
    assert [worker for worker, _ in begun] == [0, 1, 2]  # their models stayed loaded


def test_what_two_cells_have_in_common_is_made_once(tmp_path: Path) -> None:
    spec = resolve(SPEC, {"methods": ("lora",), "orders": (0, 3)})  # of three letters: the same order
    plan = make_plan(spec, tmp_path, FakeSequence(), FakeEngine(spec).identity(spec))
    schedule = Schedule(plan)
    first, second = schedule.cells
    assert schedule.next(3) is schedule.base
    schedule.base.busy = True
    assert schedule.next(3) is first
    first.busy = True
    assert schedule.next(3) is None  # the second waits for what the first one makes
    schedule.place(first, first.stages[0])
    assert schedule.next(3) is second


def test_cells_go_in_order_until_few_are_left(tmp_path: Path) -> None:
    spec = resolve(SPEC, {"seeds": (0, 1)})
    schedule = Schedule(make_plan(spec, tmp_path, FakeSequence(), FakeEngine(spec).identity(spec)))
    schedule.place(schedule.base, schedule.base.stages[0])
    schedule.cells[0].at = 2
    assert schedule.next(2) is schedule.cells[0]
    for chain in schedule.cells[3:]:
        chain.ended = True
    assert schedule.next(1) is schedule.cells[0]
    assert schedule.next(2) is schedule.cells[1]


def test_a_worker_that_is_killed_in_training_or_in_sampling_loses_nothing(
    tmp_path: Path, alone: dict[str, object], begun: list[tuple[int, int]]
) -> None:
    said, moments = [], [Learning, Sampling]
    for event in go(tmp_path, 2, FakeEngine(RunSpec(), pause=0.02)):
        if isinstance(event, Message):
            said.append(event.text)
        if moments and isinstance(event, moments[0]):
            moments.pop(0)
            os.kill(dict(begun)[event.worker], signal.SIGKILL)
    again = [text for text in said if "its worker was killed" in text]
    assert len(again) == 2 and again[0].endswith("tried again (1 of 3)")
    assert len(begun) == 4 and tree(tmp_path) == alone


class Troubled(FakeEngine):
    """Bob cannot be learned: with lora the process dies, with cat memory runs out, merge has a mistake."""

    def learn(self, cell, stage, target):  # type: ignore[no-untyped-def]
        match (stage.concept.id, cell.cell.method):
            case ("bob", "lora"):
                os.kill(os.getpid(), signal.SIGKILL)
            case ("bob", "cat"):
                raise MemoryError("out of memory")
            case ("bob", "merge"):
                raise ZeroDivisionError("nought")
        return super().learn(cell, stage, target)


def test_a_stage_that_cannot_be_made_fails_alone(tmp_path: Path, alone: dict[str, object]) -> None:
    events = list(go(tmp_path, 2, Troubled(RunSpec()), methods=("lora", "cat", "merge", "ortho")))
    ends = {event.cell.method: event for event in events if isinstance(event, CellEnded)}
    assert {method: (end.status, end.skipped) for method, end in ends.items()} == {
        "lora": ("failed", ("03-cy",)),
        "cat": ("oom", ("03-cy",)),
        "merge": ("failed", ("03-cy",)),
        "ortho": ("ok", ()),
    }
    for method, words in (("lora", "was killed"), ("cat", "out of memory"), ("merge", "ZeroDivisionError: nought")):
        assert words in str(ends[method].reason)
        record = json.loads((tmp_path / f"letters3/{method}/order0-seed0/cell.json").read_text())
        assert (record["stage"], record["skipped"]) == ("02-bob", ["03-cy"])
        assert (tmp_path / f"letters3/{method}/order0-seed0/01-ada/stage.json").is_file()
    again = [event.text.partition(":")[0] for event in events if isinstance(event, Message) and "again" in event.text]
    assert sorted(again) == ["cat/order0-seed0/02-bob"] * 3 + ["lora/order0-seed0/02-bob"] * 3
    assert events[-1] == Ended(tmp_path / "letters3", 1, 3)
    assert list(go(tmp_path, 1))[-1] == Ended(tmp_path / "letters3", 3, 0)
    found: dict[str, Any] = {path: content for path, content in tree(tmp_path).items() if "/ortho/" not in path}
    assert set(found["letters3/run.json"].pop("earlier_methods")) == {"ortho"}  # whose cell is there
    assert found == alone


class Homeless(FakeEngine):
    def __enter__(self) -> FakeEngine:
        raise RunError("no such model")


def test_models_that_cannot_be_loaded_stop_the_run_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^no such model$"):
        list(go(tmp_path, 2, Homeless(RunSpec())))


def test_a_driver_that_leaves_takes_its_workers_with_it(tmp_path: Path, begun: list[tuple[int, int]]) -> None:
    running = go(tmp_path, 3, FakeEngine(RunSpec(), pause=1.0))
    for event in running:
        if isinstance(event, Learning):
            break
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    for _, process in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert not (tmp_path / "letters3/.workers").exists()
    cells = [json.loads(path.read_text())["status"] for path in tmp_path.glob("letters3/*/*/cell.json")]
    assert cells and set(cells) == {"interrupted"}


@pytest.mark.parametrize(
    ("wanted", "most", "chains", "count", "says"),
    [
        (None, 2, 7, 2, "2 workers: one for each core"),
        (None, 16, 7, 7, "7 workers: as many as there are cells left and the base model"),
        (None, 16, 1, 1, "1 worker: one cell is left"),
        (None, 1, 7, 1, "1 worker: one for each core"),
        (3, 2, 7, 3, "3 workers: as asked"),
        (1, 16, 7, 1, None),
    ],
)
def test_how_many_workers_and_why(wanted: int | None, most: int, chains: int, count: int, says: str | None) -> None:
    assert number(wanted, most, "one for each core", chains) == (count, says)


def test_there_is_memory() -> None:
    assert available_memory() > 1 << 20
