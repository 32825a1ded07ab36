"""The rules by which a metric passes or fails a test of the instrument, by hand, and the marks of those that fail."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.measures import marks
from cat_bench.results.measures.metrics import METRICS, metric
from cat_bench.results.records.long_table import frame
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import group_tables, headline, latex, markdown
from cat_bench.results.tables.summary import summarise
from cat_bench.results.validation.page import as_data, write_page
from cat_bench.results.validation.rule import Verdict, expected, follows, margin, noise_floor, sees_copies
from cat_bench.results.validation.series import Change, Measured, Series, change, position, values
from cat_bench.results.validation.verdicts import Judgement

CLIP_I, MMD, KPS = metric("clip_i"), metric("mmd"), metric("kps")
KEY = {"method": "lora", "sequence": "s", "backbone": "b", "protocol": "p", "stage": 1, "extractor": "eye"}


def table(found: dict[str, list[float]], method: str = "lora", name: str = "clip_i") -> pd.DataFrame:
    """Rows of one metric, an image each, by concept."""
    blocks: list[dict[str, Any]] = [
        {**KEY, "method": method, "concept": c, "prompt": 0, "image": np.arange(len(v)), "metric": name, "value": v}
        for c, v in found.items()
    ]
    return frame(blocks)


def series(*tables: pd.DataFrame, id: str = "blur") -> Series:
    of: Any = "adapter" if id in ("blend", "weights") else "pictures"
    return Series(id, "Title", "unit", of, tuple(float(i) for i in range(len(tables))), tables)


def measured(*found: Series, floor: float = 0.0) -> Measured:
    reference = pd.concat([table({"a": [floor] * 3}, "base"), table({"a": [1.0, 1.0, 1.0]}, "real")])
    return Measured(found, (), {}, reference)


def verdict(steps: list[list[float]], id: str = "blur", noise: float = math.nan, floor: float = 0.0) -> Verdict:
    one = series(*(table({"a": step}) for step in steps), id=id)
    return follows(one, CLIP_I, measured(one, floor=floor), noise)


def test_a_change_is_that_of_pairs_with_the_error_of_their_mean() -> None:
    before, after = values(table({"a": [1.0, 2.0, 3.0]}), CLIP_I), values(table({"a": [0.5, 1.5, 2.2]}), CLIP_I)
    # differences −0.5, −0.5, −0.8: mean −0.6, variance (0.01 + 0.01 + 0.04) / 2 = 0.03, error √(0.03 / 3) = 0.1
    found = change(before, after)
    assert (found.mean, found.error, found.n) == (pytest.approx(-0.6), pytest.approx(0.1), 3)
    one = values(table({"a": [1.0]}), CLIP_I)
    assert change(one, one + 0.5, 0.1) == Change(0.5, pytest.approx(math.sqrt(2) * 0.1), 1)
    assert math.isnan(change(one, one).error)
    assert change(one.iloc[:0], one).n == 0


def test_units_are_images_and_strata_but_not_all_strata_together() -> None:
    rows = table({"class": [0.5], "other": [0.7], "all": [0.9]}, name="kps")
    assert sorted(values(rows, KPS)) == [0.5, 0.7]
    assert list(values(table({"all": [0.9]}, name="kps"), KPS)) == [0.9]
    assert len(values(table({"a": [0.5, math.nan]}), CLIP_I)) == 1


def test_a_series_that_falls_passes() -> None:
    assert verdict([[0.9, 0.8, 0.7], [0.7, 0.6, 0.6], [0.3, 0.3, 0.2]]).passed is True


def test_a_step_the_wrong_way_fails_unless_it_is_within_two_standard_errors() -> None:
    # from the second to the third +0.2, +0.2, +0.1: mean 0.167, error 0.033
    wrong = verdict([[0.9, 0.8, 0.7], [0.3, 0.3, 0.3], [0.5, 0.5, 0.4], [0.1, 0.1, 0.1]])
    assert wrong.passed is False and wrong.reason.startswith("from 1 to 2 it goes the wrong way by +0.167 (2 standard")
    # +0.3, 0, −0.1: mean 0.067, error 0.120: no difference
    assert verdict([[0.9, 0.8, 0.7], [0.3, 0.3, 0.3], [0.6, 0.3, 0.2], [0.1, 0.1, 0.1]]).passed is True
    # +0.03 each is certain, but less than a twentieth of the 0.7 that the whole series moves it
    assert verdict([[0.9, 0.8, 0.7], [0.3, 0.3, 0.3], [0.33, 0.33, 0.33], [0.1, 0.1, 0.1]]).passed is True


def test_a_metric_that_stands_still_or_hardly_moves_fails() -> None:
    still = verdict([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]])
    assert still.passed is False and still.reason.startswith("all of the series moves it by only +0.000")
    # 0.05 of the 0.8 between undamaged and the base model: certain, but 6 %
    little = verdict([[0.9, 0.8, 0.7], [0.85, 0.75, 0.65]])
    assert little.passed is False and little.reason == "the strongest damage costs 6 % of the way to the base model"
    assert verdict([[0.9, 0.8, 0.7], [0.85, 0.75, 0.65]], floor=0.6).passed is True
    assert verdict([[0.9, 0.8, 0.7], [0.85, 0.75, 0.65]], id="weights").passed is True  # no share is asked of adapters


def test_what_cannot_be_said_is_neither() -> None:
    assert verdict([[0.9], [0.5]]).passed is None
    assert verdict([[0.9], [0.5]], noise=0.1).passed is True
    assert verdict([[0.9], [0.5]], noise=0.2).passed is False
    assert verdict([[0.9, 0.8], [0.5, 0.4]], id="copies").reason == "nothing is expected"
    assert verdict([[math.nan], [math.nan]]).reason == "no scores"


def test_directions_are_those_declared() -> None:
    damage, blend = series(id="blur"), series(id="blend")
    assert [expected(damage, m) for m in (CLIP_I, MMD, KPS)] == [-1, 1, -1]
    assert [expected(blend, m) for m in (CLIP_I, MMD, KPS)] == [1, -1, -1]
    known = {"blur", "mosaic", "grain", "face", "parts", "blend", "weights", "copies"}
    assert known >= {test for m in METRICS.values() for test in m.answers}
    assert known | {"margin"} == set(marks.TITLES)


def test_position_is_between_the_base_model_and_the_best() -> None:
    assert position(0.6, 0.4, 0.8, CLIP_I) == pytest.approx(0.5)
    assert position(4.0, 8.0, 0.0, MMD) == pytest.approx(0.5)
    assert position(0.6, 0.8, 0.4, CLIP_I) is None
    assert position(0.6, 0.8, 0.8, CLIP_I) is None


def test_noise_floor_is_the_spread_of_means_and_a_margin_must_be_two_of_it() -> None:
    # means 0.5, 0.6, 0.7: standard deviation 0.1
    repeats = [table({"a": [m - 0.1, m + 0.1]}) for m in (0.5, 0.6, 0.7)]
    assert noise_floor(repeats, CLIP_I) == pytest.approx(0.1)
    assert math.isnan(noise_floor(repeats[:1], CLIP_I))
    assert CLIP_I.least == 0.02
    assert margin(CLIP_I, 0.01) == Verdict("clip_i", "margin", True, "declared 0.02, two noise floors are 0.0200")
    assert margin(CLIP_I, 0.011).passed is False
    assert margin(MMD, 0.1).passed is None


def test_copies_must_score_worse_where_a_metric_is_to_see_them() -> None:
    copying = metric("copying")
    copies, real = table({"a": [0.3, 0.4, 0.5]}, name="copying"), table({"a": [0.0, 0.1, 0.2]}, "real", "copying")
    # 0.3 more, errors of 0.058 each: two of both together are 0.163
    assert sees_copies(copying, copies, real, "verbatim").passed is True
    assert sees_copies(copying, real, copies, "verbatim").passed is False
    assert sees_copies(CLIP_I, copies, real, "verbatim").passed is None


def judgement() -> Judgement:
    """CLIP-I that does not see blur; MMD of one concept; both for five adapters."""

    def both(clip_i: list[float], mmd: float) -> pd.DataFrame:
        return pd.concat([table({"a": clip_i}), table({"a": [mmd]}, name="mmd")], ignore_index=True)

    blur = series(both([0.9, 0.8, 0.7], 0.0), both([0.9, 0.8, 0.7], 4.0))
    blend = series(*(both([w, w + 0.1, w - 0.1], 9 - 8 * w) for w in (0.1, 0.3, 0.5, 0.9)), id="blend")
    weights = series(blend.tables[-1], both([0.6, 0.6, 0.6], 5.0), id="weights")
    reference = pd.concat([table({"a": [0.1, 0.1]}, "base"), table({"a": [0.9, 0.9]}, "real")])
    repeats = (blend.tables[-1], both([0.91, 1.01, 0.81], 1.9))
    return Judgement(
        Measured((blur, blend, weights), repeats, {"verbatim": blur.tables[0]}, reference, {"judges": "eye"})
    )


def test_metrics_agree_over_all_adapters_each_counted_once() -> None:
    found = judgement()
    assert len(found.adapters) == 5
    # CLIP-I ranks the adapters 1 2 3 5 4; MMD, less is better, −8.2 −6.6 −5 −1.8 −5: ranks 1 2 3.5 5 3.5
    ranks = np.corrcoef([1, 2, 3, 5, 4], [1, 2, 3.5, 5, 3.5])[0, 1]
    assert found.agreement.loc["clip_i", "mmd"] == pytest.approx(ranks)
    assert found.agreement.loc["mmd", "mmd"] == pytest.approx(1)


def test_the_page_says_who_fails_and_has_its_pictures(tmp_path: Path) -> None:
    found = judgement()
    written = write_page(found, tmp_path / "page.md")
    assert {path.name for path in written} == {
        *("page.md", "page.json", "page-blur.png", "page-blend.png", "page-weights.png", "page-agreement.png")
    }
    text = written[0].read_text(encoding="utf-8")
    assert "- `clip_i` fails blur: all of the series moves it by only +0.000" in text
    assert all(f"]({path.name})" in text for path in written[2:])
    data = json.loads(written[1].read_bytes())
    assert data["metrics"]["clip_i"]["tests"]["blur"]["passed"] is False
    assert data["metrics"]["clip_i"]["series"]["blur"] == [pytest.approx(0.8), pytest.approx(0.8)]
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_page(judgement(), tmp_path / "page.md")] == before


def test_what_is_shipped_holds_for_its_model_only(tmp_path: Path) -> None:
    path = tmp_path / "validation.json"
    marks.ship(as_data(judgement()), path)
    assert marks.failures("clip_i", "eye", path) == ("blur",)
    assert marks.failures("clip_i", "ear", path) == marks.failures("mmd", "ear", path) == ()
    assert marks.footnote("clip_i", "eye", path) == "† clip_i by eye fails a test of the instrument: blur."
    assert marks.noise_floor("clip_i", "eye", path) == pytest.approx(judgement().noise["clip_i"], rel=1e-4)
    assert marks.noise_floor("clip_i", "ear", path) is None
    again = as_data(judgement())
    again["metrics"]["clip_i"]["extractor"] = again["metrics"]["mmd"]["extractor"] = "ear"
    marks.ship(again, path)
    assert marks.failures("clip_i", "eye", path) == marks.failures("clip_i", "ear", path) == ("blur",)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ResultError, match=r"broken\.json cannot be read"):
        marks.failures("clip_i", "eye", tmp_path / "broken.json")


def test_what_ships_now_can_be_read() -> None:
    assert "avatars64.v2-clip" in marks.tested()
    for model, metrics in marks.tested().items():
        assert model and set(metrics) <= set(METRICS)
        assert all((marks.noise_floor(metric, model) or 0) > 0 for metric in metrics)


def test_a_metric_that_fails_is_marked_in_every_table(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = summarise(Run.open(small_run))
    assert not any(marks.MARK in column for t in (headline(plain), *group_tables(plain)) for column in t.columns)
    monkeypatch.setattr("cat_bench.results.tables.summary.footnote", _clip_i_fails)
    summary = summarise(Run.open(small_run))
    tables = (headline(summary), *group_tables(summary))
    marked = {table.id: [column for column in table.columns if marks.MARK in column] for table in tables}
    assert len(marked["headline"]) == 3 and all("CLIP-I" in column for column in marked["headline"])
    assert len(marked["fidelity"]) == len(next(t for t in tables if t.id == "fidelity").columns) - 2
    assert marked["accuracy"] == marked["cost"] == []
    for t in tables:
        assert t.doubts == (("† clip_i by eye fails",) if marked[t.id] else ())
    assert "† clip_i by eye fails" in markdown(tables)
    assert r"$\dagger$ clip\_i by eye fails" in latex(tables)


def _clip_i_fails(name: str, model: str) -> str | None:
    return f"† {name} by {model} fails" if name == "clip_i" else None
