"""`--stages`: fewer stages are sampled, and all that is drawn and can be told is the same as if all were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from run_fakes import FakeConcept, FakeEngine, FakeSequence, picture, tables

from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import Planned, StageEnded
from cat_bench.benchmark.planning.items import Item
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.results.records.images import StageImages
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.report import write_report
from cat_bench.results.tables.formats import summary_table
from cat_bench.results.tables.summary import Value, summarise

SPEC = {"sequence": "letters5", "methods": ("lora", "clora"), "images_per_prompt": 2, "dino": "owner/dino"}
FIVE = FakeSequence("letters5", (*FakeSequence().concepts, FakeConcept("dan"), FakeConcept("eve")))
BLOCK = 6  # images of a concept: three prompts, two images
KEPT = 5 + 16  # preservation prompts, and images of the one class


class Companions(FakeEngine):
    """Its pictures show beside which others they were made."""

    def draw(self, model: str, item: Item, company: Sequence[Item]) -> NDArray[np.uint8]:
        return picture(model, item.text, item.seed, [other.path for other in company])


@pytest.fixture(autouse=True)
def sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FIVE)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # only a power failure would tell


def go(runs: Path, stages: str) -> tuple[Companions, Planned, list[str]]:
    spec = resolve(SPEC, {"stages": stages})
    engine = Companions(spec)
    events = list(runner.run(spec, runs, None, engine))
    planned = next(event for event in events if isinstance(event, Planned))
    return engine, planned, [e.origin for e in events if isinstance(e, StageEnded) and e.cell]


def values(runs: Path) -> dict[str, Value]:
    run = Run.open(runs / "letters5")
    return next(row for row in summarise(run).rows if row.name == "clora").values


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A finished run for each choice, without anything in common."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "load_sequence", lambda name, data: FIVE)
        found = {}
        for stages in ("all", "diagonal+last", "last"):
            found[stages] = tmp_path_factory.mktemp("runs")
            go(found[stages], stages)
    return found


def pictures(folder: Path) -> dict[str, bytes]:
    """All images below a folder, by the folder of their file and their path."""
    found = {}
    for path in folder.rglob("images.parquet"):
        file = StageImages(path)
        names = [f"{path.parent.relative_to(folder)}/{row.path}" for row in file.rows]
        found |= dict(zip(names, file.pngs(0, len(file)), strict=True))
    return found


@pytest.mark.parametrize(("stages", "blocks", "kept"), [("all", 15, 5), ("diagonal+last", 9, 1), ("last", 5, 1)])
def test_so_many_images_are_drawn(made: Mapping[str, Path], stages: str, blocks: int, kept: int) -> None:
    cell = made[stages] / "letters5/clora/order0-seed0"
    assert len(pictures(cell)) == blocks * BLOCK + kept * KEPT
    assert len(list(cell.glob("*/images.parquet"))) == (1 if stages == "last" else 5)


@pytest.mark.parametrize("stages", ["diagonal+last", "last"])
def test_what_is_drawn_is_the_same_to_the_last_bit(made: Mapping[str, Path], stages: str) -> None:
    every, fewer = pictures(made["all"] / "letters5"), pictures(made[stages] / "letters5")
    assert len(fewer) < len(every) and fewer.items() <= every.items()
    last = [f"{method}/order0-seed0/05-eve" for method in SPEC["methods"]]
    whole, other = (tables(made[which] / "letters5") for which in ("all", stages))
    for part in ("scores.parquet", "embeddings.safetensors"):
        assert all(whole[f"{place}/{part}"] == other[f"{place}/{part}"] for place in (*last, "base"))


@pytest.mark.parametrize(
    ("stages", "there", "gone"),
    [
        ("diagonal+last", ("average", "plasticity", "bwt", "forgetting_avalanche"), ("forgetting",)),
        ("last", ("average",), ("plasticity", "bwt", "forgetting", "retention")),
    ],
)
def test_figures_are_the_same_or_a_dash_with_the_reason(
    made: Mapping[str, Path], stages: str, there: tuple[str, ...], gone: tuple[str, ...]
) -> None:
    every, fewer = values(made["all"]), values(made[stages])
    for metric in ("clip_i", "concept_accuracy", "dino_i"):
        for kind in there:
            assert fewer[f"{metric}_{kind}"] == every[f"{metric}_{kind}"]
            assert fewer[f"{metric}_{kind}"].mean is not None
        for kind in gone:
            assert fewer[f"{metric}_{kind}"] == Value(None, None, 0, f"not sampled: --stages {stages}")
    for name in ("kps", "kps_class", "class_leak", "class_diversity", "a_mmd"):
        assert fewer[name] == every[name] and every[name].mean is not None
    assert fewer["part_accuracy_average"].reason == every["part_accuracy_average"].reason  # a photo has no parts


def test_the_report_says_what_was_sampled(made: Mapping[str, Path], tmp_path: Path) -> None:
    stages = "last"
    paths = write_report(made[stages] / "letters5", tmp_path)
    page, text = paths.html.read_text(encoding="utf-8"), paths.summary[1].read_text(encoding="utf-8")
    assert f"Sampled (--stages {stages}): after" in page and f"Sampled (--stages {stages}): after" in text
    assert f"clip_i_forgetting: not sampled: --stages {stages}" in text.replace("concept_accuracy_forgetting, ", "")
    assert "lora, class_leak: no picture" not in page and "nan" not in text.lower().split()
    names = {path.name for path in paths.plots}
    assert {"curves-clip_i.svg", "heatmap-clip_i.svg", "kps.svg", "confusion.svg"} <= names
    assert "plasticity-forgetting.svg" not in names
    table = summary_table(made["diagonal+last"] / "letters5")
    assert "(--stages diagonal+last): after each stage the concept just learned" in table.note
    assert "concept_accuracy_forgetting, clip_i_forgetting: not sampled: --stages diagonal+last" in " ".join(table.gaps)


def test_going_on_to_all_learns_nothing_and_draws_what_is_missing(made: Mapping[str, Path], tmp_path: Path) -> None:
    first, _, _ = go(tmp_path, "last")
    assert sum(call.startswith("sample") for call in first.calls) == 3  # the base model's, and each method's last
    second, planned, origins = go(tmp_path, "diagonal+last")
    assert not [call for call in second.calls if call.startswith("learn")]
    assert planned.images == 2 * 4 * BLOCK and origins == (["made"] * 4 + ["ready"]) * 2
    third, _, _ = go(tmp_path, "all")
    # Behind the concept that is there: the first stage has no others, but draws what should be kept.
    assert [call for call in third.calls if "clora" in call] == [
        f"sample clora/order0-seed0 {stage} from {BLOCK}" for stage in range(1, 5)
    ]
    assert tables(tmp_path / "letters5") == tables(made["all"] / "letters5")
    back, _, origins = go(tmp_path, "last")
    assert back.calls == [] and origins == (["shared"] * 4 + ["ready"]) * 2
    assert tables(tmp_path / "letters5") == tables(made["last"] / "letters5")


def test_fewer_of_what_another_run_drew_are_taken_from_it(made: Mapping[str, Path], tmp_path: Path) -> None:
    go(tmp_path, "all")
    engine, _, _ = go(tmp_path, "diagonal+last")
    assert engine.calls == []
    assert tables(tmp_path / "letters5") == tables(made["diagonal+last"] / "letters5")
