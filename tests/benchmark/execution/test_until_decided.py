"""Replicates until a comparison is decided: the rule by hand, resumed, said in the report; nothing made twice."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from run_fakes import FakeEngine, FakeSequence, picture, tables

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.execution import until_decided
from cat_bench.benchmark.execution.until_decided import run_until_decided
from cat_bench.benchmark.planning.events import Ended, Event, Learning, Message, StageEnded
from cat_bench.benchmark.planning.plan import CellPlan, StagePlan
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.results.errors import ResultError
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.report import write_report
from cat_bench.results.tables.sentences import stopped
from cat_bench.results.verdicts import looks as looks_module
from cat_bench.results.verdicts.comparison import compare
from cat_bench.results.verdicts.looks import looks_at
from cat_bench.tasks.errors import TaskError


@pytest.fixture(autouse=True, scope="module")
def sequences() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (runner, until_decided):
            monkeypatch.setattr(module, "load_sequence", lambda name, data: FakeSequence())
        monkeypatch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def decided(sequences: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """The folder of a run that was stopped because all was decided, and what it told. Read only."""
    runs = tmp_path_factory.mktemp("decided")
    return runs / "letters3", go(runs, most=12)


@pytest.fixture(scope="module")
def undecided(sequences: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """The same of two methods that do not differ, which ended at the most that was declared."""
    runs = tmp_path_factory.mktemp("undecided")
    return runs / "letters3", go(runs, most=6, engine=FakeEngine)


@dataclass
class Partial(FakeEngine):
    """CAT's pictures of a concept are in part one of its references: it is better at every replicate."""

    share: float = 0.1

    def sample(
        self, cell: CellPlan | None, stage: StagePlan, adapter: Path | None, start: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for at, pictures in super().sample(cell, stage, adapter, start):
            if cell is not None and cell.cell.method == "cat":
                wanted = [item.group.partition("/")[2] for item in stage.items[at : at + len(pictures)]]
                seen = np.stack([picture(concept, "reference", 0) for concept in wanted])
                pictures = (self.share * seen + (1 - self.share) * pictures).astype(np.uint8)
            yield at, pictures


def go(runs: Path, most: int = 8, engine: type[FakeEngine] = Partial, **changes: Any) -> list[Event]:
    given = {"sequence": "letters3", "methods": ["lora", "cat"], "until_decided": most}
    spec = resolve({**given, **changes})
    return list(run_until_decided(spec, runs, None, engine(spec)))


def e_by_hand(d: list[float]) -> float:
    """The likelihood ratio of a standardised effect from N(0, 1) against none, as docs/statistics.md has it."""
    n = len(d)
    mean = sum(d) / n
    t2 = n * mean**2 / (sum((x - mean) ** 2 for x in d) / (n - 1))
    ratio = (1 + t2 / (n - 1)) / (1 + t2 / ((n - 1) * (1 + n)))
    return (1 + n) ** -0.5 * ratio ** (n / 2)


def made(events: list[Event]) -> int:
    return sum(isinstance(e, StageEnded) and e.cell is not None and e.origin == "made" for e in events)


def test_it_stops_at_the_first_replicate_at_which_the_bound_is_reached(decided: tuple[Path, list[Event]]) -> None:
    folder, events = decided
    info = json.loads((folder / "run.json").read_text())
    replicates, decision = info["spec"]["replicates"], info["decision"]
    assert 5 < replicates < 12 and decision["stop"] == "decided"
    assert made(events) == replicates * 2 * 3
    (c,) = compare(Run.open(folder), "clip_i_average")
    reached = [n for n in range(5, replicates + 1) if e_by_hand(list(c.differences[:n])) >= 20]
    assert reached[0] == replicates == c.n
    assert decision["looks"] == {str(n): {"cat": "different" if n in reached else None} for n in range(5, c.n + 1)}
    assert (decision["figure"], decision["against"], decision["most"]) == ("clip_i_average", "lora", 12)
    said = [event.text for event in events if isinstance(event, Message)]
    assert said[-1].endswith(f"{replicates} replicates, clip_i_average against lora: cat different; all is decided")


def test_the_report_says_so_and_has_always_valid_intervals(decided: tuple[Path, list[Event]], tmp_path: Path) -> None:
    run = Run.open(decided[0])
    (c,) = compare(run, "clip_i_average")
    d, n = np.array(c.differences), c.n
    power = (20 * math.sqrt(1 + n)) ** (2 / n)
    times = math.sqrt((n - 1) * (power - 1) / (1 - power / (1 + n)))
    half = times * d.std(ddof=1) / math.sqrt(n)
    assert (c.low, c.high) == pytest.approx((d.mean() - half, d.mean() + half), abs=1e-12)
    assert c.p == pytest.approx(1 / e_by_hand(list(c.differences)))
    assert (c.verdict, c.wide_low, c.always) == ("better", None, True)
    paths = write_report(run.folder, tmp_path)
    for page in (paths.html.read_text(), paths.verdicts[1].read_text()):
        assert f"was stopped after {n} replicates, when every comparison was decided" in page
        assert "always-valid 95 % intervals" in page and "--until-decided 12" in page


def test_without_an_effect_it_ends_undecided_at_the_most_that_was_declared(
    undecided: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder, events = undecided
    info = json.loads((folder / "run.json").read_text())
    assert info["decision"]["stop"] == "most" and info["spec"]["replicates"] == 6
    assert info["decision"]["looks"] == {"5": {"cat": None}, "6": {"cat": None}}
    assert made(events) == 6 * 2 * 3
    page = write_report(folder, tmp_path).verdicts[1].read_text()
    assert "ended after 6 replicates, the most that were declared, with cat undecided" in page


def test_equivalent_is_what_lies_within_the_margin(
    undecided: tuple[Path, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(undecided[0])
    (c,) = compare(run, "clip_i_average")
    assert c.low is not None and c.high is not None
    widest = max(abs(c.low), abs(c.high))
    original = looks_module.compare
    for margin, decision in ((widest * 1.001, "equivalent"), (widest * 0.999, None)):
        monkeypatch.setattr(
            looks_module, "compare", lambda *given, m=margin: [replace(x, margin=m) for x in original(*given)]
        )
        assert looks_at(run, "clip_i_average", 6, 6).looks[-1].decided == {"cat": decision}


def test_the_same_again_makes_nothing_and_interrupted_it_ends_the_same(
    decided: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    spec = resolve({"sequence": "letters3", "methods": ["lora", "cat"], "until_decided": 12})
    going = run_until_decided(spec, tmp_path / "broken", None, Partial(spec))
    for event in going:  # stopped within the replicate after the first look
        if isinstance(event, StageEnded) and event.cell is not None and event.cell.order == 5:
            break
    going.close()
    before = json.loads((tmp_path / "broken/letters3/run.json").read_text())
    assert before["spec"]["replicates"] == 6 and list(before["decision"]["looks"]) == ["5"]
    said = stopped(Run.open(tmp_path / "broken/letters3"))
    assert said and "is not at its end after 5 replicates" in said
    events = go(tmp_path / "broken", most=12)
    assert not any(isinstance(e, Message) and e.text.startswith("5 replicates") for e in events)
    assert tables(tmp_path / "broken") == tables(decided[0].parent)
    whole, broken = (json.loads((f / "run.json").read_text()) for f in (decided[0], tmp_path / "broken/letters3"))
    assert whole["decision"] == broken["decision"]
    assert made(go(tmp_path / "broken", most=12)) == 0


def test_seeds_of_one_order_that_are_there_already_are_no_replicates(
    decided: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    spec = resolve({"sequence": "letters3", "methods": ["lora", "cat"], "seeds": list(range(5))})
    assert isinstance(list(runner.run(spec, tmp_path, None, Partial(spec)))[-1], Ended)
    go(tmp_path, most=12)
    found = json.loads((tmp_path / "letters3/run.json").read_text())["decision"]
    assert found == json.loads((decided[0] / "run.json").read_text())["decision"]


def test_what_another_choice_of_methods_had_begun_is_not_looked_at(
    decided: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    spec = resolve({"sequence": "letters3", "methods": ["merge"], "replicates": 1})
    running = runner.run(spec, tmp_path, None, Partial(spec))
    for event in running:
        if isinstance(event, Learning):
            break
    running.close()
    go(tmp_path, most=12)
    found = json.loads((tmp_path / "letters3/run.json").read_text())
    assert found["decision"] == json.loads((decided[0] / "run.json").read_text())["decision"]
    assert (tmp_path / "letters3/merge/order0-seed0").is_dir() and "merge" in found["earlier_methods"]


def test_a_decision_about_other_models_is_not_kept(decided: tuple[Path, list[Event]], tmp_path: Path) -> None:
    record = Path(shutil.copytree(decided[0], tmp_path / "letters3")) / "run.json"
    info = json.loads(record.read_text())
    record.write_text(json.dumps({**info, "complete": None}))  # as if the model's files had been touched
    spec = resolve({"sequence": "letters3", "methods": ["lora", "cat"], "until_decided": 12})
    going = run_until_decided(spec, tmp_path, None, Partial(spec, fingerprint="another"))
    next(event for event in going if isinstance(event, StageEnded))
    going.close()
    assert "decision" in info and "decision" not in json.loads(record.read_text())


def test_a_replicate_with_a_failed_cell_is_not_looked_at(tmp_path: Path) -> None:
    spec = resolve({"sequence": "letters3", "methods": ["lora", "cat"], "until_decided": 5})
    engine = Partial(spec, fail={"bob": RuntimeError("no luck")})
    events = list(run_until_decided(spec, tmp_path, None, engine))
    assert isinstance(events[-1], Message) and "replicate 5 is not complete" in events[-1].text
    assert "decision" not in json.loads((tmp_path / "letters3/run.json").read_text())
    go(tmp_path, most=5)
    assert "decision" in json.loads((tmp_path / "letters3/run.json").read_text())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"decide": "clip_i_averag"}, SpecError, "--decide clip_i_averag: there is no such figure; did you mean 'clip"),
        ({"methods": ["lora"]}, SpecError, "compares methods: give two or more"),
        ({"methods": ["lora", "joint"]}, SpecError, "compares methods: give two or more that are no references"),
        ({"until_decided": 4}, SpecError, "until_decided: input should be greater than or equal to 5"),
        ({"seeds": [0, 1]}, SpecError, "seeds: replicates are orders and seeds already"),
    ],
)
def test_what_cannot_be_decided_is_said_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        go(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_more_replicates_than_there_are_orders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ordered(self: FakeSequence, order: int, seed: int = 0) -> tuple[Any, ...]:
        raise TaskError(f"no order {order}")

    monkeypatch.setattr(FakeSequence, "ordered", ordered)
    with pytest.raises(TaskError, match="no order 7"):
        go(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_figure_without_values_is_said(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="replicate 0 of cat or lora has no clip_i_forgetting"):
        go(tmp_path, decide="clip_i_forgetting", stages="last")
