"""Tuning: as many trials for each method, an objective that needs both, rounds that compute nothing twice."""

from __future__ import annotations

import ast
import csv
import io
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import pytest
from run_fakes import FakeEngine, FakeSequence

from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import StageEnded
from cat_bench.benchmark.planning.variant import Variant
from cat_bench.benchmark.tuning.protocol import KEPT, PROTOCOL, Protocol, label, words
from cat_bench.benchmark.tuning.search import Search
from cat_bench.benchmark.tuning.table import edge, markdown, preset, winner, winners
from cat_bench.benchmark.tuning.trial import BESIDE, Outcome, Trial, best
from cat_bench.methods.base import Method
from cat_bench.methods.cat import CAT
from cat_bench.methods.errors import MethodError
from cat_bench.methods.registry import methods

CONCEPTS = len(FakeSequence().concepts)


@pytest.mark.parametrize("name", methods.names())
def test_every_method_gets_as_many_settings_that_it_has_and_all_differ(name: str) -> None:
    grid = PROTOCOL.grid(methods.get(name))
    tried = (*grid, *PROTOCOL.beside(methods.get(name), grid[2:4]))
    assert len(tried) == len(PROTOCOL.rates) + KEPT == 8
    configs = {methods.get(name).configure(overrides=settings).model_dump_json() for settings in tried}
    assert len(configs) == 8
    assert tuple(settings["lr"] for settings in grid) == PROTOCOL.rates
    assert len({Variant.parse(label(name, settings)).label for settings in tried}) == 8


def test_the_protocol_is_the_one_that_was_written_down() -> None:
    assert PROTOCOL.sequence == "dev3" and PROTOCOL.images == 2
    assert all(2 <= high / low <= 3 for low, high in pairwise(PROTOCOL.rates))
    assert PROTOCOL.replicates == (1, 2, 5)
    assert PROTOCOL.cells == 6 + (4 * 2 - 2) + 2 * 3


def test_the_second_round_turns_the_knob_at_the_rates_that_are_ahead() -> None:
    grid = PROTOCOL.grid(CAT)
    assert {settings["weight"] for settings in grid} == {1.0}  # the usual one
    assert PROTOCOL.beside(CAT, (grid[3], grid[2])) == ({"lr": 2.5e-3, "weight": 6.0}, {"lr": 1e-3, "weight": 6.0})


@pytest.mark.parametrize(
    ("ahead", "beside"),
    [(2.5e-3, (1.6e-3, 3.9e-3)), (1.5e-2, (9.5e-3, 2.4e-2)), (1.6e-4, (1e-4, 2.5e-4)), (6e-3, (3.9e-3, 9.5e-3))],
)
def test_without_a_knob_half_steps_beside_the_best_rate_are_tried(ahead: float, beside: tuple[float, float]) -> None:
    plain = type("Plain", (Method,), {"name": "plain", "knob": None})
    assert PROTOCOL.grid(plain) == tuple({"lr": rate} for rate in PROTOCOL.rates)
    assert PROTOCOL.beside(plain, ({"lr": ahead}, {"lr": 1e-3})) == tuple({"lr": rate} for rate in beside)


def test_the_edge_is_the_lowest_and_the_highest_rate_that_was_tried() -> None:
    trials = [Trial({"lr": rate, "rank": 4}) for rate in (1e-3, 4e-4, 2e-3)]
    assert [edge(trial, trials) for trial in trials] == [None, "lowest", "highest"]
    assert edge(None, trials) is None


@pytest.mark.parametrize(
    ("knob", "says"),
    [
        ("rank", "knob 'rank': give a setting and two values"),
        (("rank", (1, 2, 3)), "give a setting and two values"),
        (("wieght", (1.0, 2.0)), "knob 'wieght': name a setting other than lr; it has: rank, alpha, steps"),
        (("lr", (1e-3, 1e-4)), "name a setting other than lr"),
        (("rank", (4, 4)), "both values are 4"),
        (("rank", (4, 0)), "rank = 0: Input should be greater than"),
    ],
)
def test_a_knob_that_cannot_be_turned_is_told_in_one_line(knob: object, says: str, tmp_path: Path) -> None:
    broken = type("Broken", (Method,), {"name": "mine", "knob": knob})
    with pytest.raises(MethodError, match=r"^method mine: ") as told:
        Search.of(broken, tmp_path, {})
    assert says in str(told.value) and "\n" not in str(told.value)


def outcome(fidelity: float, preservation: float, replicate: int = 0) -> Outcome:
    return Outcome(replicate, fidelity, preservation, dict.fromkeys(BESIDE, 0.5))


@pytest.mark.parametrize(("a", "b", "expected"), [(0.5, 0.5, 0.5), (1.0, 0.25, 0.4), (0.9, 0.0, 0.0), (-0.2, 0.9, 0.0)])
def test_the_objective_needs_both(a: float, b: float, expected: float) -> None:
    assert outcome(a, b).objective == pytest.approx(expected)
    assert math.isnan(outcome(a, math.nan).objective)


def test_the_best_have_the_highest_mean_and_what_failed_comes_last() -> None:
    trials = (
        Trial({"lr": 1}, trouble="failed"),
        Trial({"lr": 2}, (outcome(0.2, 0.2), outcome(0.4, 0.4))),
        Trial({"lr": 3}, (outcome(0.3, 0.3),)),
        Trial({"lr": 4}, (outcome(0.5, 0.5),)),
        Trial({"lr": 5}, (outcome(0.0, 0.5),)),
    )
    assert [trial.settings["lr"] for trial in best(trials, 5)] == [4, 2, 3, 5, 1]
    assert trials[1].objective == pytest.approx(0.3) and trials[1].spread == pytest.approx(stdev([0.2, 0.4]))
    assert math.isnan(trials[0].objective) and math.isnan(trials[2].spread)


def test_the_winner_has_all_replicates_and_the_edge_is_told() -> None:
    once = Trial(PROTOCOL.grid(CAT)[2], (outcome(0.9, 0.9),))
    often = Trial(PROTOCOL.grid(CAT)[5], tuple(outcome(0.5, 0.5, r) for r in range(5)))
    assert winner((once, often), PROTOCOL) is often
    page = markdown(CAT, (once, often), PROTOCOL, "avatars64.v2")
    assert (
        "| **lr 0.015, weight 1** | 5 | 0.500 | **0.500** | 0.000 |" in page
        and "| lr 0.001, weight 1 | 1 | 0.900 | 0.900 | – |" in page
    )
    assert "**at the edge**: 0.015 is the highest learning rate" in page
    assert 'Preset: `"avatars64.v2": {"steps": 80, "lr": 0.015, "weight": 1.0}`' in page
    nothing = Trial(PROTOCOL.grid(CAT)[3], tuple(outcome(0.0, 0.5, r) for r in range(5)))
    assert winner((once, nothing), PROTOCOL) is None
    assert "No winner" in markdown(CAT, (once, nothing), PROTOCOL, "avatars64.v2")


def test_winners_stand_best_first_and_a_method_without_one_last() -> None:
    good, better = (Trial({"lr": 1e-3}, (outcome(a, a), outcome(a, a, 1))) for a in (0.4, 0.6))
    lines = winners({"none": None, "good": good, "better": better}).splitlines()
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| better", "| good", "| none"]
    assert lines[4].startswith("| better | lr 0.001 | 0.600 | 0.000 | 0.600 | 0.600 |") and "nan" not in lines[-1]
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_a_preset_keeps_what_was_not_tuned_and_leaves_out_defaults() -> None:
    lora = methods.get("lora")
    assert preset(lora, {"lr": 1e-3, "rank": 16}, "avatars64.v2") == {"steps": 80, "lr": 1e-3}
    assert preset(lora, {"lr": 1e-3, "rank": 4}, "avatars64.v2") == {"steps": 80, "lr": 1e-3, "rank": 4}
    assert preset(lora, {"lr": 1e-3, "rank": 16}, "another") == {}
    assert words({"lr": 4e-4, "weight": 1e6, "rank": 4, "targets": "attn2"}) == (
        "lr 0.0004, weight 1e+06, rank 4, targets attn2"
    )


SMALL = Protocol("letters3", (1e-3, 2e-3, 4e-3), (1, 2, 3), images=1)


class Engine(FakeEngine):
    """Counts what is learned in all runs; stops at a given stage."""

    learned: Counter[str] = Counter()
    left = math.inf

    def learn(self, cell, stage, target):  # type: ignore[no-untyped-def]
        if Engine.left <= 0:
            raise KeyboardInterrupt
        Engine.left -= 1
        Engine.learned[f"{cell.cell.path} {stage.number}"] += 1
        return super().learn(cell, stage, target)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(Engine, "learned", Counter())
    monkeypatch.setattr(Engine, "left", math.inf)


def carry_out(search: Search) -> Counter[str]:
    """Every run that the search asks for; where stages came from."""
    origins: Counter[str] = Counter()
    for wanted in search:
        for event in runner.run(wanted.spec, search.runs, wanted.name, Engine(wanted.spec)):
            if isinstance(event, StageEnded) and event.cell is not None:
                origins[event.origin] += 1
    return origins


@pytest.mark.parametrize("stopped_after", [math.inf, 5, 13, 31])
def test_rounds_narrow_down_compute_nothing_twice_and_go_on_where_they_stopped(
    stopped_after: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "left", stopped_after)
    if stopped_after < math.inf:
        with pytest.raises(KeyboardInterrupt):
            carry_out(Search.of(CAT, tmp_path, {}, SMALL))
        monkeypatch.setattr(Engine, "left", math.inf)
    search = Search.of(CAT, tmp_path, {}, SMALL)
    carry_out(search)
    assert SMALL.cells == 3 + (4 * 2 - 2) + 2 * 1
    assert sum(Engine.learned.values()) == SMALL.cells * CONCEPTS and set(Engine.learned.values()) == {1}

    again = Search.of(CAT, tmp_path, {}, SMALL)
    assert not carry_out(again)
    assert again.write() == search.write()
    assert sorted(len(trial.outcomes) for trial in search.trials) == [1, 2, 2, 3, 3]
    chosen = winner(search.trials, SMALL) or max(search.trials, key=lambda trial: len(trial.outcomes))
    assert [outcome.replicate for outcome in chosen.outcomes] == [0, 1, 2]
    assert max(trial.objectives[0] for trial in search.trials) in [
        trial.objectives[0] for trial in search.trials if len(trial.outcomes) > 1
    ]


def test_the_tables_say_what_the_cells_came_to(tmp_path: Path) -> None:
    search = Search.of(CAT, tmp_path, {}, SMALL)
    carry_out(search)
    page = search.write()
    assert (tmp_path / "cat.md").read_text() == page and page.count("\n| lr ") + page.count("\n| **lr ") == 5
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cat.csv").read_text())))
    assert len(rows) == SMALL.cells
    for trial in search.trials:
        own = [row for row in rows if row["settings"] == words(trial.settings)]
        assert fmean(float(row["objective"]) for row in own) == pytest.approx(trial.objective, abs=1e-5)
        for row in own:
            a, b = float(row["clip_i_share"]), float(row["kps_share"])
            expected = 2 * a * b / (a + b) if min(a, b) > 0 else 0.0
            assert float(row["objective"]) == pytest.approx(expected, abs=1e-5)
            assert row["edge"] == (edge(trial, search.trials) or "")


def test_shares_are_those_of_the_report(tmp_path: Path) -> None:
    from cat_bench.results.records.run_folder import Run
    from cat_bench.results.tables.summary import summarise

    search = Search.of(CAT, tmp_path, {}, SMALL)
    carry_out(search)
    rows = {row.name: row.values for row in summarise(Run.open(tmp_path / "cat-round1")).rows}
    trial = search.trials[0]

    def value(row: str, figure: str) -> float:
        mean = rows[row][figure].mean
        assert mean is not None
        return mean

    named = label("cat", trial.settings)
    floor, top = value("base", "clip_i_average"), value("real", "clip_i_average")
    assert trial.outcomes[0].fidelity == pytest.approx((value(named, "clip_i_average") - floor) / (top - floor))
    low = value("base", "kps_class_other")
    assert trial.outcomes[0].preservation == pytest.approx((value(named, "kps_class_other") - low) / (1 - low))


def test_a_cell_that_fails_is_told_and_does_not_win(tmp_path: Path) -> None:
    search = Search.of(CAT, tmp_path, {}, SMALL)
    for number, wanted in enumerate(search):
        engine = Engine(wanted.spec, fail={"bob": RuntimeError("no luck")} if number == 0 else {})
        list(runner.run(wanted.spec, tmp_path, wanted.name, engine))
    assert all(len(trial.outcomes) <= 3 for trial in search.trials)
    assert "order 0, seed 0: failed: RuntimeError: no luck" in search.write()


def test_the_page_says_what_is_done() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tuning.md").read_text(encoding="utf-8")
    rates, cells = (
        next(line for line in page.splitlines() if line.startswith(f"| {row} |")) for row in ("learning rates", "cells")
    )
    told = [float(word.strip(",:")) for word in rates.split() if word[0].isdigit() and "e-" in word]
    assert tuple(told) == PROTOCOL.rates and f"= {PROTOCOL.cells} for each method" in cells
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    knobs = {name.strip(" `"): (knob.strip(" `"), values) for names, knob, values in rows for name in names.split(",")}
    for name in methods.names():
        knob = methods.get(name).knob
        told_knob, values = knobs[name]
        if knob is None:
            assert told_knob == "none"
        else:
            assert (told_knob, tuple(map(float, values.split(",")))) == knob


def test_presets_are_the_winners_of_the_page_and_none_lies_at_the_edge() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tuned.md").read_text(encoding="utf-8")
    told = {section.split("\n", 1)[0]: section for section in page.split("\n## ")[1:] if "Preset: " in section}
    assert sorted(told) == sorted(methods.names()) and "at the edge**" not in page
    for name, section in told.items():
        found = re.search(r'^Preset: `"avatars64\.v2": (\{.*\})`$', section, re.MULTILINE)
        assert found is not None
        assert methods.get(name).presets["avatars64.v2"] == ast.literal_eval(found[1])
