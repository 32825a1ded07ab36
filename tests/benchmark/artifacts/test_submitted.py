"""What a run leaves passes as a submission, and `submit` and `leaderboard` as they are typed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from run_fakes import FakeConcept, FakeEngine, FakeSequence

from cat_bench.benchmark.artifacts import submitted
from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.execution import until_decided
from cat_bench.benchmark.planning.identity import DINO, Identity, Model
from cat_bench.benchmark.planning.plan import ORDER_ROOT
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.results.leaderboard.pack import take
from cat_bench.results.leaderboard.rules import Released, Rules
from cat_bench.results.leaderboard.site import write_board
from cat_bench.results.records.images import StageImages
from cat_bench.tasks.sequence import load_sequence

CLASSES = ("person", "person", "robot", "person", "robot")
FIVE = FakeSequence("letters5", tuple(map(FakeConcept, ("ada", "bob", "cy", "dan", "eve"), CLASSES)))
SPEC = {"sequence": "letters5", "methods": ("lora", "clora"), "images_per_prompt": 2, "dino": "owner/dino"}


class Fingerprinted(FakeEngine):
    """Its models have the sha256 that real ones have."""

    def identity(self, spec: RunSpec) -> Identity:
        known = super().identity(spec)
        judges = {
            role: Model(model.id, ("d" if role == DINO else "e") * 64) for role, model in known.extractors.items()
        }
        return Identity(Model("fake", "b" * 64), judges, None, known.resolution, known.how)


def order(number: int) -> tuple[str, ...]:
    return tuple(concept.id for concept in FIVE.ordered(number))


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> Rules:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FIVE)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # only a power failure would tell
    released = Released(FIVE.fingerprint, tuple(concept.id for concept in FIVE.concepts), order)
    found = Rules({"letters5.v1": released}, {}, submitted.derived)
    monkeypatch.setattr(submitted, "rules", lambda: found)
    return found


def made(runs: Path, **changes: Any) -> Path:
    spec = resolve(SPEC, changes)
    list(runner.run(spec, runs, None, Fingerprinted(spec)))
    return runs / "letters5"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stages": "diagonal+last"},
        {"stages": "last"},
        {"replicates": 2, "dino": None},
        {"methods": ("cat", "cat[weight=0]"), "diversity_images": 0},
        {"methods": ("token",), "seeds": (3, 5), "orders": (1,)},
    ],
    ids=str,
)
def test_what_a_run_leaves_is_taken(changes: dict[str, Any], rules: Rules, tmp_path: Path) -> None:
    run = made(tmp_path / "runs", **changes)
    taken = take(run, rules, tmp_path / "work")
    assert set(taken.grids) == set(resolve(SPEC, changes).methods)
    files = [path for path in run.rglob("images.parquet") if path.parent.name != "references"]
    assert taken.images == sum(len(StageImages(path)) for path in files)


def test_a_run_until_all_is_decided_is_taken_and_said_to_be_one(
    rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until_decided, "load_sequence", lambda name, data: FIVE)
    spec = resolve(SPEC, {"until_decided": 5, "dino": None})
    list(until_decided.run_until_decided(spec, tmp_path / "runs", None, Fingerprinted(spec)))
    board = write_board([tmp_path / "runs" / "letters5"], tmp_path / "site", rules)
    assert not board.refused and board.groups[0].submissions[0].record.spec.pairs == tuple((r, r) for r in range(5))
    page = (tmp_path / "site" / f"{board.groups[0].slug}.html").read_text(encoding="utf-8")
    assert "Stopped by what it showed: letters5. So intervals of differences are always-valid ones." in page
    assert "5, until decided, 5 at most; order/seed 0/0, 1/1, 2/2, 3/3, 4/4" in page and "always-valid 95 %" in page


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_submit_and_leaderboard_as_they_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "submit", "--out", "alice") == 0
    assert "alice: 2 methods, " in capsys.readouterr().out
    assert call(monkeypatch, "leaderboard", "alice") == 0
    assert "1 of 1 folders taken, 2 entries: leaderboard-site/index.html" in capsys.readouterr().out
    shutil.copytree("alice", "mallory")
    Path("mallory/lora/order0-seed0/cell.json").write_text("{}", encoding="utf-8")
    assert call(monkeypatch, "leaderboard", "alice", "mallory") == 1
    said = capsys.readouterr()
    assert said.err.startswith("refused: mallory: lora/order0-seed0/cell.json is not the file that was packed")
    assert "1 of 2 folders taken" in said.out and len(said.err.splitlines()) == 1
    page = Path("leaderboard-site/index.html").read_text(encoding="utf-8")
    assert "<strong>mallory</strong>: lora/order0-seed0/cell.json is not the file" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("leaderboard", "nowhere"), "there is no folder"),
        (("leaderboard", "alice", "two/alice"), "have one name: rename one"),
        (("leaderboard", "alice", "--out", "alice/site"), "is inside of"),
        (("leaderboard", "alice", "--out", "file"), "is a file: choose a folder"),
        (("submit", "--out", "bob"), "there is no run in runs"),
        (("submit", "--out", "bob", "alice"), "there is no run 'alice'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("alice", "two/alice"):
        Path(folder).mkdir(parents=True)
    Path("file").touch()
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice", "file", "two"]


@pytest.mark.parametrize("name", ["faces5", "mixed6"])
def test_the_rules_are_those_of_what_ships(name: str) -> None:
    sequence = load_sequence(name)
    released = submitted._released(sequence.id, None, tuple(concept.id for concept in sequence.concepts))
    numbers = [3, 0, 11, 7]  # in any order
    wanted = [sequence.ordered(number, stream(ORDER_ROOT, "order", sequence.id)) for number in numbers]
    assert [released.order(number) for number in numbers] == [tuple(c.id for c in concepts) for concepts in wanted]
