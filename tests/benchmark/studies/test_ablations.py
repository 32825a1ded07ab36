"""Ablations: variants that differ in one thing, intervals as scipy has them, answers by rule, the whole command."""

from __future__ import annotations

import math
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cat_bench.benchmark.errors import CatBenchError
from cat_bench.benchmark.planning.variant import Variant as Label
from cat_bench.benchmark.studies.ablations import make
from cat_bench.benchmark.studies.ablations.answers import Difference, answer
from cat_bench.benchmark.studies.ablations.asked import PAIRS, SHARED, TWINS, Pair, Variant, labels
from cat_bench.methods.registry import methods

PRESETS = "avatars64.v2"


def config(label: str) -> dict[str, object]:
    variant = Label.parse(label)
    cls = methods.get(variant.name)
    return cls.configure(backbone=PRESETS, overrides=variant.differences(cls.Config)).model_dump()


def test_a_variant_is_called_by_what_differs_from_its_preset_and_equal_ones_alike() -> None:
    assert Variant("ortho", {"variant": "paper"}).label(PRESETS) == Variant("ortho").label(PRESETS) == "ortho"
    assert Variant("cat", {"weight": 0.0}).label(PRESETS) == "cat[weight=0]"
    like = config(Variant("lora", like="cat").label(PRESETS))
    assert {key: like[key] for key in SHARED} == {key: config("cat")[key] for key in SHARED}
    longer = config(Variant("lora", like="cat", longer=2).label(PRESETS))
    assert longer == {**like, "steps": 2 * config("cat")["steps"]}  # type: ignore[operator]
    assert config(Variant("merge", like="clora").label(PRESETS))["targets"] == ("attn2.to_k", "attn2.to_v")


def test_the_declared_pairs_hold_on_the_embedded_backbone() -> None:
    asked = [pair.on(PRESETS) for pair in PAIRS]
    assert {pair.about for pair in asked} == {"C-LoRA", "CAT", "Orthogonal init"}
    assert all(pair.one != pair.other for pair in asked)
    every = labels(asked)
    assert len(every) == len(set(every)) and {"clora", "clora[weight=0]", "token", "cat", "lora", "ortho"} < set(every)
    assert [variant.label(PRESETS) for variant in TWINS][1] in every  # the first is run beside it, once
    for label in every:
        assert config(label)


def test_the_interval_is_students_over_the_replicates_that_both_have() -> None:
    d = np.random.default_rng(0).normal(0.1, 0.05, 5)
    one = {(r, r): 0.5 + value for r, value in enumerate(d)} | {(7, 7): 0.9}
    other = {(r, r): 0.5 for r in range(5)} | {(8, 8): 0.1, (9, 9): math.nan}
    found = Difference.of(one, other)
    expected = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(d.mean()) and found.n == 5
    assert (found.sign == 0) == (stats.ttest_1samp(d, 0).pvalue > 0.05)
    assert Difference.of({(0, 0): 0.6}, {(0, 0): 0.5}).sign == 0
    last_bits = Difference.of({(r, r): 0.1 + 0.2 for r in range(5)}, {(r, r): 0.3 for r in range(5)})
    assert (last_bits.mean, last_bits.sign) == (0.0, 0)
    assert math.isnan(Difference.of({}, {}).mean)


def test_the_answer_follows_from_the_intervals_alone() -> None:
    found = {
        "part_accuracy_average": Difference(0.05, 0.01, 0.09, 5),
        "clip_i_average": Difference(0.05, -0.01, 0.11, 5),
        "clip_i_bwt": Difference(0.2, 0.1, 0.3, 5),
        "kps_class": Difference(-0.04, -0.05, -0.03, 5),
        "kps_other": Difference(0.0, -0.05, 0.05, 5),
    }
    assert answer("The term", found) == (
        "The term adds part accuracy (0.050, 0.010 to 0.090) and backward transfer of CLIP-I (0.200, 0.100 to 0.300) "
        "and costs KPS of the class (0.040, 0.030 to 0.050); no difference can be told in CLIP-I and KPS of "
        "what is none of it."
    )
    worse = {"clip_i_bwt": Difference(-0.2, -0.3, -0.1, 5)}
    assert answer("It", worse) == "It costs backward transfer of CLIP-I (0.200, 0.100 to 0.300)."
    undecided = {"kps_class": Difference(0.0, -0.1, 0.1, 5), "clip_i_bwt": Difference(0.0, -0.1, 0.1, 5)}
    assert answer("It", undecided) == "It: no difference can be told in any figure."
    assert (
        answer("It", {"kps_class": Difference(0.1, math.nan, math.nan, 1)})
        == "It: fewer than two replicates say nothing."
    )


@pytest.fixture
def small(
    tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """Settings of the command with a tiny model and few steps."""
    model = tmp_path / "models" / "tiny"
    shutil.copytree(tiny_backbone_folder, model)
    shutil.copytree(tiny_metric_folder, model.with_name("tiny-clip"))
    quick = {"steps": 2, "rank": 2, "batch_size": 2}
    lora, free, same = Variant("lora", quick), Variant("cat", {**quick, "weight": 0.0}), Variant("lora", dict(quick))
    full = Variant("cat", {**quick, "weight": 5.0})
    pairs = (Pair("CAT", "Its term?", "CAT's term", full, lora), Pair("CAT", "The same?", "Nothing", same, lora))
    monkeypatch.setattr(make, "PAIRS", pairs)
    monkeypatch.setattr(make, "TWINS", (free, lora))
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", lambda number, handler: before)
    return {"sequence": "smoke2", "backbone": str(model), "workers": 1, "runs": tmp_path / "runs", "stages": "last"}


def run(small: dict[str, object], out: Path, replicates: int) -> str:
    make.main(name="ablations", out=out, replicates=replicates, **small)  # type: ignore[arg-type]
    return out.read_text()


def test_the_whole_command_writes_the_page_and_again_computes_nothing(
    small: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = run(small, tmp_path / "docs" / "ablations.md", 2)
    assert "--replicates 2`: `smoke2.v2` on `tiny" in page and "## CAT\n" in page and "### Its term?" in page
    assert "Both are `lora[batch_size=2,rank=2,steps=2]` on this backbone" in page
    assert "| CLIP-I | " in page and " to " in page and "| 2 |" in page
    assert "`cat[batch_size=2,rank=2,steps=2,weight=0]` and `lora[batch_size=2,rank=2,steps=2]` are the same" in page
    assert "they are equal to the last digit" in page or "apart by at most" in page
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("stage.json")}
    assert "(1 of 8)" in capsys.readouterr().err
    assert run(small, tmp_path / "docs" / "ablations.md", 2) == page
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("stage.json")} == made
    assert "8 stages, 8 of them ready" in capsys.readouterr().err


def test_a_cell_without_a_result_ends_it_before_the_page(
    small: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Variant("ortho", {"rank": 1, "variant": "released", "steps": 2})  # needs a rank of 2
    monkeypatch.setattr(make, "PAIRS", (Pair("Ortho", "?", "It", broken, Variant("lora", {"steps": 2})),))
    with pytest.raises(CatBenchError, match="1 of 2 cells have no result"):
        run(small, tmp_path / "page.md", 1)
    assert not (tmp_path / "page.md").exists()
