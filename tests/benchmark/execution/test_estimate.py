"""How long a run says it will take."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_fakes import FakeConcept, FakeEngine, FakeSequence

from cat_bench.benchmark.execution.estimate import Estimate, Load
from cat_bench.benchmark.execution.schedule import Chain, Schedule
from cat_bench.benchmark.planning.plan import make_plan
from cat_bench.benchmark.planning.spec import resolve

FIVE = FakeSequence("letters5", tuple(map(FakeConcept, ("ada", "bob", "cy", "dan", "eve"))))
COSTS = {"lora": 1.0, "cat": 1.9, "merge": 1.0, "ortho": 1.1, "magmax": 1.0, "clora": 1.4}  # seconds a step


def test_the_time_left_follows_the_pace_of_steps_and_of_images() -> None:
    estimate = Estimate({0: Load("base", 0, 10), 1: Load("cat", 100, 40)})
    assert estimate.seconds_left is None
    estimate.learned(1, 10, 20.0)
    assert estimate.seconds_left == 90 * 2 + 50 * 1  # an image is guessed at half a step
    estimate.sampled(0, 10, 40.0)
    assert estimate.seconds_left == 90 * 2 + 40 * 4
    assert 0 < estimate.share < 1
    estimate.end(1)
    assert estimate.seconds_left == 0 and estimate.share == 1


def test_workers_share_what_is_left_but_no_chain() -> None:
    cells = {number: Load("cat", 100, 40) for number in range(1, 7)}
    estimate = Estimate({0: Load("base", 0, 10), **cells}, workers=3)
    estimate.learned(1, 1, None)  # the models were loaded meanwhile: counted, not timed
    assert estimate.seconds_left is None
    estimate.learned(1, 99, 99.0)
    estimate.sampled(0, 10, 20.0)
    assert estimate.seconds_left == pytest.approx((40 * 2 + 5 * (100 + 40 * 2)) / 3)
    for number in (2, 3, 4, 5):
        estimate.end(number)
    assert estimate.seconds_left == 180  # of cell 6, whatever the others do


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_time_left_is_right_within_a_quarter_after_the_first_cell(tmp_path: Path, workers: int, seeds: int) -> None:
    """A run of five concepts played through in the order of the schedule; steps of the methods take different times."""
    spec = resolve({"sequence": "letters5", "methods": tuple(COSTS), "seeds": tuple(range(seeds))})
    plan = make_plan(spec, tmp_path, FIVE, FakeEngine(spec).identity(spec))
    loads = {
        number: Load(cell.cell.method, 5 * cell.config.steps, sum(len(stage.items) for stage in cell.stages))
        for number, cell in enumerate(plan.cells, 1)
    }
    schedule, estimate = Schedule(plan), Estimate(loads, workers)
    schedule.place(schedule.base, plan.base)
    free, now, told, busy = workers, 0.0, None, list[tuple[float, Chain]]()
    while schedule.open:
        while free and (chain := schedule.next(workers)):
            assert chain.cell is not None
            method, images = chain.cell.cell.method, len(chain.stages[chain.at].items)
            chain.busy, free = True, free - 1
            busy.append((now + chain.cell.config.steps * COSTS[method] + images * 0.5, chain))
        now, chain = min(busy, key=lambda pair: pair[0])
        busy.remove((now, chain))
        assert chain.cell is not None
        stage, steps = chain.stages[chain.at], chain.cell.config.steps
        estimate.learned(chain.index, steps, steps * COSTS[chain.cell.cell.method])
        estimate.sampled(chain.index, len(stage.items), len(stage.items) * 0.5)
        chain.busy, chain.at, free = False, chain.at + 1, free + 1
        if schedule.place(chain, stage):
            estimate.end(chain.index)
            told = told or (now, estimate.seconds_left)
    assert told is not None
    assert told[1] == pytest.approx(now - told[0], rel=0.25)
