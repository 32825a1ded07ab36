"""The runner with an engine that computes nothing: what is done, what is done again, and what is never done twice."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from run_fakes import FakeConcept, FakeEngine, FakeSequence, picture, tables

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import CellEnded, Ended, Event, Learning, Message, Planned, StageEnded
from cat_bench.benchmark.planning.identity import Identity
from cat_bench.benchmark.planning.items import Item
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.store.library import KEPT, kept
from cat_bench.benchmark.store.lock import locked
from cat_bench.benchmark.store.stage import Keys, Workplace
from cat_bench.benchmark.text_to_image.readings import NO_PARTS
from cat_bench.methods.registry import methods
from cat_bench.results.records.images import StageImages
from cat_bench.results.records.long_table import read_scores

SPEC = {"sequence": "letters3", "methods": ("lora", "cat"), "images_per_prompt": 2}
FIVE = FakeSequence("letters5", (*FakeSequence().concepts, FakeConcept("dan"), FakeConcept("eve")))


@pytest.fixture(autouse=True)
def sequences(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeSequence]:
    known = {"letters3": FakeSequence(), "letters5": FIVE}
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: known[name])
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # only a power failure would tell
    return known


def go(runs: Path, engine: FakeEngine | None = None, name: str | None = None, **changes: object) -> list[Event]:
    spec = resolve(SPEC, changes)
    return list(runner.run(spec, runs, name, engine or FakeEngine(spec)))


class Unmoved(FakeEngine):
    """A model on which learning does nothing, and whose pictures show in what company they were made."""

    def draw(self, model: str, item: Item, company: Sequence[Item]) -> NDArray[np.uint8]:
        return picture(item.text, item.seed, [other.path for other in company])


def origins(events: list[Event]) -> list[str]:
    return [event.origin for event in events if isinstance(event, StageEnded) and event.cell is not None]


def test_a_method_that_learns_nothing_keeps_all_of_the_base_model_exactly(tmp_path: Path) -> None:
    go(tmp_path, Unmoved(resolve(SPEC, {})))
    for stage in sorted(tmp_path.glob("letters3/*/order0-seed0/*")):
        if stage.is_dir():
            table = read_scores(stage / "scores.parquet")
            kept = table[table["metric"].isin(["kps", "kps_cos"])]
            assert len(kept) and set(kept["value"]) == {1.0}
            assert set(table.loc[table["metric"] == "class_diversity", "value"]) == {1.0}
    places = ("lora/order0-seed0/03-cy", "base")
    last, base = (read_scores(tmp_path / f"letters3/{place}/scores.parquet") for place in places)
    leaks = [t[(t["metric"] == "class_leak") & (t["method"] != "real")] for t in (last, base)]
    assert leaks[0]["value"].notna().sum() >= 16
    np.testing.assert_array_equal(leaks[0]["value"], leaks[1]["value"])  # the floor, exactly


def test_rows_of_one_image_have_one_noise_whatever_drew_it(tmp_path: Path) -> None:
    go(tmp_path)
    places = ("base", "lora/order0-seed0/03-cy", "cat/order0-seed0/03-cy")
    found = [read_scores(tmp_path / "letters3" / place / "scores.parquet") for place in places]
    assert all(table["protocol"].nunique() == 1 for table in found) and set(found[0]["backbone"]) == {"fake"}
    noise = [t[(t["metric"] == "clip_i") & (t["method"] != "real")]["noise"].tolist() for t in found]
    assert noise[0] == noise[1] == noise[2] and len(set(noise[0])) == 18
    kept = [t[(t["metric"] == "kps_cos") & (t["prompt"] >= 0)]["noise"].tolist() for t in found]
    assert kept[1] == kept[2] and len(kept[1]) == 5 and not {*kept[0]} & {*kept[1]}  # the base's are of other noise
    assert found[0]["seed"].isna().all() and set(found[1]["seed"]) == {0}


def test_the_base_model_is_compared_with_itself_from_other_noise(tmp_path: Path) -> None:
    go(tmp_path)
    base = tmp_path / "letters3/base"
    images = StageImages(base / "images.parquet")
    assert images.find("other", 2, 0, "other_noise")
    table = read_scores(base / "scores.parquet")
    rows = table[table["method"] == "other_noise"]
    assert set(rows["metric"]) == {"kps", "kps_cos"} and set(rows["concept"]) == {"class", "other", "all"}
    assert ((rows["value"] < 1) & (rows["value"] > 0)).all()
    first, other = (images.find("class", 0, 0, kind) for kind in ("preservation", "other_noise"))
    assert first and other and first.read_bytes() != other.read_bytes()
    last = StageImages(tmp_path / "letters3/lora/order0-seed0/03-cy/images.parquet")
    assert "other_noise" not in {row.kind for row in last.rows}


def test_a_run_leaves_every_stage_whole_and_scored(tmp_path: Path) -> None:
    events = go(tmp_path)
    assert events[-1] == Ended(tmp_path / "letters3", 2, 0)
    assert origins(events) == ["made"] * 6
    stage = tmp_path / "letters3/cat/order0-seed0/02-bob"
    record = json.loads((stage / "stage.json").read_text())
    assert record["concept"] == "bob" and record["stage"] == 2 and record["status"] == "ok"
    assert record["change_norm"] == 0.5 and record["made"]["train"]["torch"] == record["versions"]["torch"]
    assert record["made"]["train"] == record["made"]["sample"] and record["made"]["sample"]["gpu"] is None
    assert record["trainable_parameters"] == 4 and record["seconds"]["train"] >= 0
    table = read_scores(stage / "scores.parquet")
    assert set(table["concept"]) >= {"ada", "bob", "class", "other"} and "cy" not in set(table["concept"])
    images = StageImages(stage / "images.parquet")
    kinds = Counter((row.kind, row.concept) for row in images.rows)
    assert kinds["concept", "ada"] == kinds["concept", "bob"] == 6 and kinds["diversity", "person"] == 16
    accuracy = table[table["metric"] == "class_accuracy"]
    assert accuracy["value"].tolist() == (accuracy["seen"] == "person").astype(float).tolist()
    assert set(table.loc[table["metric"] == "part_accuracy", "reason"]) == {NO_PARTS}
    assert set(table["label"]) == {"cat"}
    assert images.find("other", 2, 0, "preservation") and not images.find("other", 3, 0, "preservation")
    assert set(read_scores(tmp_path / "letters3/base/scores.parquet")["method"]) == {"base", "other_noise", "real"}
    references = StageImages(tmp_path / "letters3/references/images.parquet")
    assert sum(row.concept == "cy" for row in references.rows) == 4
    assert not list(tmp_path.glob("**/*.png"))
    assert json.loads((tmp_path / "letters3/run.json").read_text())["finished"]
    assert not list((tmp_path / "letters3").glob("**/.*partial"))


def test_a_finished_run_is_recognised_without_an_engine(tmp_path: Path) -> None:
    go(tmp_path)
    engine = FakeEngine(RunSpec())
    events = go(tmp_path, engine)
    assert isinstance(events[0], Planned) and events[0].ready == events[0].stages == 6
    assert events[-1] == Ended(tmp_path / "letters3", 2, 0)
    assert engine.calls == []


def test_a_stage_whose_files_were_removed_is_completed_from_what_is_left(tmp_path: Path) -> None:
    go(tmp_path)
    before = tables(tmp_path)
    (tmp_path / "letters3/lora/order0-seed0/02-bob/images.parquet").unlink()
    engine = FakeEngine(RunSpec())
    go(tmp_path, engine)
    assert all("02" in call or "sample lora/order0-seed0 2" in call or "bob" in call for call in engine.calls)
    assert tables(tmp_path) == before


def test_another_run_shares_the_beginning_by_hard_links(tmp_path: Path) -> None:
    go(tmp_path)
    engine = FakeEngine(RunSpec())
    events = go(tmp_path, engine, sequence="letters5")
    assert origins(events) == ["shared"] * 3 + ["made"] * 2 + ["shared"] * 3 + ["made"] * 2
    assert [c for c in engine.calls if c.startswith("learn")] == [
        f"learn {method}/order0-seed0 {concept}" for method in ("lora", "cat") for concept in ("dan", "eve")
    ]
    one, other = (tmp_path / f"{name}/cat/order0-seed0/03-cy/images.parquet" for name in ("letters3", "letters5"))
    assert one.samefile(other)
    alone = tmp_path / "alone"
    go(alone, sequence="letters5")
    assert tables(alone / "letters5") == tables(tmp_path / "letters5")


def test_base_images_are_made_once_for_all_methods_and_runs(tmp_path: Path) -> None:
    engine = FakeEngine(RunSpec())
    go(tmp_path, engine)
    go(tmp_path, engine, name="again", seeds=(1,))
    assert sum("base" in call for call in engine.calls) == 1


def test_changed_settings_redo_what_depends_on_them_and_say_so(tmp_path: Path) -> None:
    go(tmp_path)
    first = tables(tmp_path / "letters3")
    events = go(tmp_path, overrides={"cat": {"weight": 6.0}})
    assert origins(events) == ["ready"] * 3 + ["made"] * 3
    said = [event.text for event in events if isinstance(event, Message)]
    assert said[0] == "cat/order0-seed0: 3 stages set aside or updated: other settings made the model; they are redone"
    assert tables(tmp_path / "letters3") != first
    events = go(tmp_path)  # and back: nothing is computed again
    assert origins(events) == ["ready"] * 3 + ["shared"] * 3
    assert tables(tmp_path / "letters3") == first


def test_another_sampler_redoes_images_but_no_training(tmp_path: Path) -> None:
    go(tmp_path)
    engine = FakeEngine(RunSpec())
    go(tmp_path, engine, sampler={"steps": 30})
    assert not [call for call in engine.calls if call.startswith("learn")]
    assert len([call for call in engine.calls if call.startswith("sample")]) == 7


def test_another_metric_model_embeds_again_but_samples_nothing(tmp_path: Path) -> None:
    go(tmp_path)
    engine = FakeEngine(RunSpec(), metric_fingerprint="another")
    spec = resolve(SPEC)
    (tmp_path / "letters3/run.json").unlink()  # else it is known to be finished
    list(runner.run(spec, tmp_path, None, engine))
    assert engine.calls == []


def test_cells_made_with_other_settings_leave_the_folder(tmp_path: Path) -> None:
    go(tmp_path)
    events = go(tmp_path, methods=("lora",), images_per_prompt=3)
    assert not (tmp_path / "letters3/cat").exists()
    assert any("cat/order0-seed0: 3 stages" in event.text for event in events if isinstance(event, Message))
    events = go(tmp_path, methods=("cat",), images_per_prompt=3)
    assert (tmp_path / "letters3/lora/order0-seed0/01-ada/stage.json").is_file()  # same settings: may stay


def test_what_was_replaced_is_kept_until_it_is_cleaned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def clean(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["cat-bench", "clean", "--runs", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    go(tmp_path)
    assert clean() == 0 and "keeps no replaced stages" in capsys.readouterr().out
    go(tmp_path, images_per_prompt=3)
    stages, freed = kept(tmp_path)
    # Six stages and the base; adapters are shared with the stages that replaced them, and stay.
    mine = [path for path in (tmp_path / KEPT).rglob("*") if path.is_file()]
    assert stages == 7 and freed == sum(path.stat().st_size for path in mine if path.stat().st_nlink == 1)
    assert 0 < freed < sum(path.stat().st_size for path in mine)
    before = tables(tmp_path / "letters3")
    assert clean("--yes") == 0
    assert f"deleted 7 replaced stages in {tmp_path}, {freed / 2**20:.1f} MiB" in capsys.readouterr().out
    assert kept(tmp_path) == (0, 0) and tables(tmp_path / "letters3") == before
    assert origins(go(tmp_path, images_per_prompt=3)) == []


def test_a_failing_cell_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    class Failing(FakeEngine):
        def learn(self, cell, stage, target):  # type: ignore[no-untyped-def]
            self.fail = {"bob": RuntimeError("CUDA out of memory. Tried")} if cell.cell.method == "lora" else {}
            return super().learn(cell, stage, target)

    events = go(tmp_path, Failing(RunSpec()))
    ends = [event for event in events if isinstance(event, CellEnded)]
    assert [(end.cell.method, end.status) for end in ends] == [("lora", "oom"), ("cat", "ok")]
    folder = tmp_path / "letters3/lora/order0-seed0"
    record = json.loads((folder / "cell.json").read_text())
    assert record["status"] == "oom" and re.search(r"at its peak the process held \d+\.\d GiB", record["reason"])
    assert "Traceback" in (folder / "error.txt").read_text()
    assert (folder / "01-ada/stage.json").is_file()
    engine = FakeEngine(RunSpec())
    events = go(tmp_path, engine)  # tried again from where it failed
    assert [call for call in engine.calls if "learn" in call] == [
        "learn lora/order0-seed0 bob",
        "learn lora/order0-seed0 cy",
    ]
    assert json.loads((folder / "cell.json").read_text())["status"] == "ok"
    assert not (folder / "error.txt").exists()


def test_a_full_disk_stops_with_one_line_and_the_run_goes_on_later(tmp_path: Path) -> None:
    full = FakeEngine(RunSpec(), fail={"bob": OSError(errno.ENOSPC, "No space left on device")})
    with pytest.raises(RunError, match=r"no space left on the disk of .*letters3: free some") as caught:
        go(tmp_path, full)
    assert "\n" not in str(caught.value)
    events = go(tmp_path)
    assert events[-1] == Ended(tmp_path / "letters3", 2, 0)
    go(tmp_path / "other")
    assert tables(tmp_path / "letters3") == tables(tmp_path / "other" / "letters3")


@pytest.mark.parametrize("writes", [0, 1, 2, 5, 9, 20, 33, 47])
def test_whenever_the_disk_is_full_no_half_file_is_left(
    tmp_path: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [writes]
    replace_ = Path.replace

    def full(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return replace_(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(RunError, match="no space left"):
            go(tmp_path)
    assert not list(tmp_path.glob("**/.*.part"))
    assert go(tmp_path)[-1] == Ended(tmp_path / "letters3", 2, 0)


@pytest.mark.parametrize("name", ["a/b", "", ".hidden"])
def test_names_that_are_no_folder_are_refused(tmp_path: Path, name: str) -> None:
    spec = resolve(SPEC)
    if name:
        with pytest.raises(RunError, match="cannot be a run's name"):
            list(runner.run(spec, tmp_path / "runs", name, FakeEngine(spec)))
    assert not (tmp_path / "runs").exists()


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(RunError, match="is in the way"):
        go(tmp_path / "runs")


def test_the_second_process_says_so_and_stops(tmp_path: Path) -> None:
    (tmp_path / "letters3").mkdir()
    with locked(tmp_path / "letters3"), pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        go(tmp_path)
    assert isinstance(go(tmp_path)[-1], Ended)


def test_a_run_of_which_no_file_tells_is_never_taken_for_finished(tmp_path: Path) -> None:
    class Untold(FakeEngine):
        def files(self, spec: RunSpec) -> None:  # type: ignore[override]
            return None

    go(tmp_path, Untold(RunSpec()))
    assert "made" in origins(go(tmp_path, Untold(RunSpec(), fingerprint="another")))


def test_two_that_begin_the_same_at_once_do_not_share_the_folder(tmp_path: Path) -> None:
    class Late(FakeEngine):
        """While it looks up its models, another process begins the same run."""

        def identity(self, spec: RunSpec) -> Identity:
            (tmp_path / "letters3").mkdir()
            self.other = os.open(tmp_path / "letters3" / ".lock", os.O_RDWR | os.O_CREAT)
            fcntl.flock(self.other, fcntl.LOCK_EX)
            return super().identity(spec)

    engine = Late(RunSpec())
    with pytest.raises(RunError, match="is in use by"):
        go(tmp_path, engine)
    os.close(engine.other)
    assert [path.name for path in (tmp_path / "letters3").iterdir()] == [".lock"]


def test_an_incomplete_stage_of_other_settings_is_not_gone_on_from(tmp_path: Path) -> None:
    go(tmp_path)
    (tmp_path / "letters3/lora/order0-seed0/01-ada/images.parquet").unlink()
    events = go(tmp_path, overrides={"lora": {"lr": 0.5}})
    said = [event.text for event in events if isinstance(event, Message)]
    assert "lora/order0-seed0: 3 stages set aside or updated: other settings made the model; they are redone" in said
    assert origins(events)[:3] == ["made"] * 3


def test_what_failed_under_another_protocol_leaves_the_folder(tmp_path: Path) -> None:
    spec = resolve({**SPEC, "methods": ["cat"]})
    go(tmp_path, FakeEngine(spec, fail={"ada": RuntimeError("no luck")}), methods=("cat",))
    assert (tmp_path / "letters3/cat/order0-seed0/cell.json").is_file()
    go(tmp_path, methods=("lora",))
    assert (tmp_path / "letters3/cat/order0-seed0/cell.json").is_file()  # the same protocol: it is known to fail
    go(tmp_path, methods=("lora",), images_per_prompt=3)
    assert not (tmp_path / "letters3/cat").exists()


def test_what_another_choice_of_methods_had_begun_stays(tmp_path: Path) -> None:
    running = runner.run(resolve(SPEC), tmp_path, None, FakeEngine(resolve(SPEC)))
    for event in running:
        if isinstance(event, Learning):
            break
    running.close()
    cell = tmp_path / "letters3" / "lora" / "order0-seed0"
    begun = {path.name for path in cell.iterdir()}
    assert begun
    go(tmp_path, methods=("cat",))
    assert {path.name for path in cell.iterdir()} >= begun


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_is_one_line(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match="has no file locks"):
        go(tmp_path)


def test_where_links_are_unknown_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "link", refuse)
    go(tmp_path)
    assert origins(go(tmp_path, name="again"))[:3] == ["shared"] * 3


def test_an_interrupted_cell_is_recorded_and_keeps_what_is_finished(tmp_path: Path) -> None:
    spec = resolve(SPEC)
    running = runner.run(spec, tmp_path, None, FakeEngine(spec))
    for event in running:
        if isinstance(event, StageEnded) and event.number == 2:
            break
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt())
    cell = tmp_path / "letters3/lora/order0-seed0"
    assert json.loads((cell / "cell.json").read_text())["status"] == "interrupted"
    assert origins(go(tmp_path))[:2] == ["ready", "ready"]


def test_what_a_killed_process_left_half_written_is_not_taken_up(tmp_path: Path) -> None:
    work = Workplace(tmp_path / "01-ada", Keys("a", "b", "c", "d"))
    work.open()
    half = work.folder / ".scores.parquet.7.part"
    half.write_bytes(b"PAR1")
    (work.folder / "adapter.safetensors").write_bytes(b"whole")
    work.open()
    assert not half.exists() and work.has("adapter.safetensors")


def in_a_child(runs: Path, pause: float) -> int:
    child = os.fork()
    if child == 0:
        try:
            go(runs, replace(FakeEngine(RunSpec()), pause=pause))
        finally:
            os._exit(0)
    return child


def test_killed_at_random_moments_and_repeated_equals_uninterrupted(tmp_path: Path) -> None:
    go(tmp_path / "whole")
    wanted = tables(tmp_path / "whole")
    dice = random.Random(0)
    rounds = int(os.environ.get("CAT_BENCH_KILLS", "5"))
    for number in range(rounds):
        runs = tmp_path / f"killed{number}"
        for _ in range(4):
            child = in_a_child(runs, pause=0.002)
            time.sleep(dice.uniform(0.005, 0.25))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        before = {path: path.stat().st_ino for path in runs.glob("letters3/*/*/[0-9]*/adapter.safetensors")}
        events = go(runs)
        assert events[-1] == Ended(runs / "letters3", 2, 0)
        assert {path: path.stat().st_ino for path in before} == before  # nothing finished was redone
        assert tables(runs) == wanted
        assert not list(runs.glob("**/.*.part*"))


def test_a_run_that_goes_on_with_other_methods_still_says_what_the_earlier_ones_are(tmp_path: Path) -> None:
    go(tmp_path, methods=("lora", "joint"))
    go(tmp_path, methods=("lora", "cat"))
    info = json.loads((tmp_path / "letters3" / "run.json").read_text())
    assert set(info["methods"]) == {"lora", "cat"} and info["earlier_methods"]["joint"]["reference"]
    go(tmp_path, methods=("joint", "cat"))
    info = json.loads((tmp_path / "letters3" / "run.json").read_text())
    assert set(info["methods"]) == {"joint", "cat"} and set(info["earlier_methods"]) == {"lora"}


def test_triggers_of_many_tokens_are_said_unless_every_method_learns_its_token(tmp_path: Path) -> None:
    assert not [event for event in go(tmp_path) if isinstance(event, Message)]  # three and four letters

    class Letters(FakeEngine):
        def tokens(self, text: str) -> int:
            return len(text) + 2 * text.startswith("bob")

    said = [event.text for event in go(tmp_path / "b", Letters(SPEC)) if isinstance(event, Message)]
    assert said == ["triggers are learned best as one to 4 rare tokens; this backbone reads bobo (6 tokens)"]
    assert not [e for e in go(tmp_path / "c", Letters(SPEC), methods=("clora",)) if isinstance(e, Message)]


def test_what_a_method_foresees_is_said_once_before_its_first_step(tmp_path: Path) -> None:
    events = list(go(tmp_path, methods=("ortho",), overrides={"ortho": {"rank": 16}}, seeds=(0, 1)))
    said = [event.text for event in events if isinstance(event, Message)]
    assert said == [
        "ortho: 3 concepts of rank 16 need 48 input directions and the narrowest layer has 40: from concept 3 on, rows "
        "of A overlap earlier ones"
    ]
    assert events.index(Message(said[0])) < next(i for i, e in enumerate(events) if isinstance(e, Learning))


def test_a_method_that_cannot_say_what_it_foresees_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: object, inputs: object, concepts: int) -> str:
        raise KeyError("to_q")

    monkeypatch.setattr(methods.get("lora"), "foresee", staticmethod(broken))
    events = go(tmp_path, methods=("lora",))
    assert [event.text for event in events if isinstance(event, Message)] == [
        "lora: foresee() failed: KeyError: 'to_q'"
    ]
    assert events[-1] == Ended(tmp_path / "letters3", 1, 0)
