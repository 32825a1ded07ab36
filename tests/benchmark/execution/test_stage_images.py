"""A stage's images from the first batch to the packed file: interrupted, damaged, and asked for in another number."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from run_fakes import FakeConcept, FakeEngine, FakeSequence, tables

from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.execution import stage as making
from cat_bench.benchmark.planning.events import Ended, Event, Sampling
from cat_bench.benchmark.planning.plan import make_plan
from cat_bench.benchmark.planning.spec import RunSpec, resolve

SPEC = {"sequence": "letters3", "methods": ("lora", "cat"), "images_per_prompt": 2}
LAST = "letters3/cat/order0-seed0/03-cy"


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[FakeSequence]:
    """The sequence that is loaded is the last of these."""
    known = [FakeSequence()]
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: known[-1])
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    return known


def go(runs: Path, engine: FakeEngine | None = None, name: str | None = None, **changes: object) -> list[Event]:
    spec = resolve(SPEC, changes)
    return list(runner.run(spec, runs, name, engine or FakeEngine(spec)))


def interrupt(runs: Path, when: Callable[[Event], bool]) -> None:
    spec = resolve(SPEC)
    running = runner.run(spec, runs, None, FakeEngine(spec))
    for event in running:
        if when(event):
            break
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt())


def test_images_under_way_are_loose_and_survive(tmp_path: Path) -> None:
    interrupt(tmp_path / "a", lambda event: isinstance(event, Sampling) and event.done >= 8)
    place = tmp_path / "a/letters3/.base.partial"  # batches of four, of one concept's six images
    assert len(list(place.glob("images/**/*.png"))) == 4 + 2 + 4 and not (place / "images.parquet").exists()
    (place / "images/ada/02-1.png").write_bytes(b"")  # in the second batch: a power failure does that
    engine = FakeEngine(RunSpec())
    go(tmp_path / "a", engine)
    assert engine.calls[0] == "sample base 0 from 4"
    go(tmp_path / "b")
    assert tables(tmp_path / "a") == tables(tmp_path / "b")
    assert not list(tmp_path.glob("**/*.png")) and not list(tmp_path.glob("**/images"))


def test_images_under_way_give_way_to_a_finished_file(tmp_path: Path) -> None:
    interrupt(tmp_path, lambda event: isinstance(event, Sampling) and event.done >= 8)
    go(tmp_path, name="another")
    engine = FakeEngine(RunSpec())
    go(tmp_path, engine)
    assert engine.calls == [] and not list(tmp_path.glob("**/images"))
    for stage in ("base", "lora/order0-seed0/01-ada", "cat/order0-seed0/03-cy"):
        one, other = (tmp_path / run / stage for run in ("letters3", "another"))
        assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
        assert (one / "images.parquet").samefile(other / "images.parquet")


def test_killed_between_the_packed_file_and_the_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = making.pack

    def last(folder: Path, items: tuple[object, ...]) -> None:
        real(folder, items)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(making, "pack", last)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "a")
    engine = FakeEngine(RunSpec())
    go(tmp_path / "a", engine)
    assert not [call for call in engine.calls if "base" in call]  # drawn already; embedded again
    go(tmp_path / "b")
    assert tables(tmp_path / "a") == tables(tmp_path / "b")


def test_a_damaged_file_is_made_anew_where_it_is_needed(tmp_path: Path) -> None:
    go(tmp_path)
    packed = tmp_path / LAST / "images.parquet"
    whole = packed.read_bytes()
    for number, broken in enumerate((b"", whole[:-100], whole.replace(b"IDAT", b"idat"))):
        packed.write_bytes(broken)
        (tmp_path / "letters3/run.json").unlink()  # else it is known to be finished
        engine = FakeEngine(RunSpec(), metric_fingerprint=f"another {number}")
        assert go(tmp_path, engine)[-1] == Ended(tmp_path / "letters3", 2, 0)
        assert engine.calls == ["sample cat/order0-seed0 3 from 0"]
        assert packed.read_bytes() == whole and not list(tmp_path.glob("**/*.png"))


def test_no_more_is_forced_to_disk_for_more_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    go(tmp_path / "few", images_per_prompt=1)
    few = len(calls)
    go(tmp_path / "many", images_per_prompt=6)
    assert len(calls) - few == few


def test_an_added_prompt_draws_again_but_learns_nothing_again(tmp_path: Path, shown: list[FakeSequence]) -> None:
    ada, bob, cy = FakeSequence().concepts
    shown.append(replace(FakeSequence(), concepts=(ada, replace(bob, prompts=(*bob.prompts, "a {} asleep")), cy)))
    spec = resolve(SPEC)
    before, after = (make_plan(spec, tmp_path, s, FakeEngine(spec).identity(spec)).cells[0].stages for s in shown)
    assert [one.keys.key for one in before] == [one.keys.key for one in after]
    same = [one.keys.samples_key == other.keys.samples_key for one, other in zip(before, after, strict=True)]
    assert same == [True, False, False]

    asked = shown.pop()
    go(tmp_path)
    shown.append(asked)
    engine = FakeEngine(RunSpec())
    assert go(tmp_path, engine)[-1] == Ended(tmp_path / "letters3", 2, 0)
    assert not [call for call in engine.calls if call.startswith("learn")]
    assert len(engine.calls) == 5  # the base model, and two stages of each method: the first draws no bob
    shown.append(replace(asked, preservation={**asked.preservation, "class": ("a person",)}))
    engine = FakeEngine(RunSpec())
    go(tmp_path, engine)
    assert not [call for call in engine.calls if call.startswith("learn")] and len(engine.calls) == 7


@pytest.mark.parametrize("change", [{"noun": "robot"}, {"train_captions": ("a {}",) * 6}])
def test_what_is_learned_from_counts_for_what_is_learned(tmp_path: Path, change: dict[str, object]) -> None:
    spec, (ada, *others) = resolve(SPEC), FakeSequence().concepts
    other = FakeConcept(ada.id, **change)  # type: ignore[arg-type]
    sequences = FakeSequence(), replace(FakeSequence(), concepts=(other, *others))
    plans = [make_plan(spec, tmp_path, sequence, FakeEngine(spec).identity(spec)) for sequence in sequences]
    first, second = ([stage.keys.key for stage in plan.cells[0].stages] for plan in plans)
    assert not set(first) & set(second)
