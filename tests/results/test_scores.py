"""Rows of the long table: what is in them, nulls with reasons, reading back what was written."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.metrics import METRICS, metric
from cat_bench.results.records.long_table import COLUMNS, frame, read_scores, validate, write_scores
from cat_bench.results.scoring import formulas, scores
from cat_bench.results.scoring.recognition import NOBODY, recognise
from cat_bench.results.scoring.scores import Known, Noise, SecondOpinion

score_stage, score_base, score_real = (
    partial(function, extractor="eye") for function in (scores.score_stage, scores.score_base, scores.score_real)
)
RUN = {"sequence": "s", "backbone": "b", "protocol": "p"}
CELL = {**RUN, "method": "lora", "order": 1, "seed": 2}
draw = np.random.default_rng(5)
REFERENCES = {c: draw.normal(size=(4, 8)) for c in "ab"}
TEXTS = {c: draw.normal(size=(3, 8)) for c in "ab"}
GENERATED = {"a": draw.normal(size=(6, 8))}
BASE = {"class": draw.normal(size=(4, 8)), "other": draw.normal(size=(4, 8))}
SECOND = SecondOpinion(
    "owner/dino",
    {c: draw.normal(size=(4, 5)) for c in "ab"},
    {c: draw.normal(size=(len(x), 5)) for c, x in GENERATED.items()},
)
STRANGERS = {c: draw.normal(size=(2, 8)) for c in "ab"}
TRAINING = {c: draw.normal(size=(3, 8)) for c in "ab"}
KNOWN = Known(REFERENCES, TRAINING, STRANGERS)
KEPT = {name: x + 0.2 * draw.normal(size=x.shape) for name, x in BASE.items()}


def select(table: pd.DataFrame, name: str, concept: str) -> pd.DataFrame:
    return table[(table["metric"] == name) & (table["concept"] == concept)]


def test_a_stage_has_every_metric_with_prompt_and_image() -> None:
    table = score_stage(CELL, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE, preservation_images=2)
    assert tuple(table.columns) == COLUMNS
    assert set(table["metric"]) == {m.id for m in METRICS.values() if not m.optional}
    assert set(table["extractor"]) == {"eye"}
    assert table[["method", "order", "seed", "stage"]].drop_duplicates().to_numpy().tolist() == [["lora", 1, 2, 1]]
    rows = select(table, "clip_t", "a")
    assert rows["prompt"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["image"].tolist() == [0, 1, 0, 1, 0, 1]
    each = formulas.clip_t(GENERATED["a"], np.repeat(TEXTS["a"], 2, axis=0))
    np.testing.assert_array_equal(rows["value"], each)
    assert select(table, "kps_cos", "class")["prompt"].tolist() == [0, 0, 1, 1]
    both = np.concatenate([(1 + formulas.kps_cosine(BASE[s], KEPT[s])) / 2 for s in BASE])
    row = select(table, "kps", "all").iloc[0]
    assert row["value"] == pytest.approx(formulas.harmonic_mean(both))
    assert row["n"] == 8
    assert row["prompt"] == -1


def test_rows_of_accuracy_keep_who_was_seen_and_by_what_margin() -> None:
    table = score_stage(CELL, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE)
    rows, found = select(table, "concept_accuracy", "a"), recognise(GENERATED["a"], REFERENCES, "a", STRANGERS)
    assert rows["seen"].tolist() == found.seen.tolist() and NOBODY in set(rows["seen"])
    np.testing.assert_array_equal(rows["margin"], found.margin)
    others = table[~table["metric"].isin(["concept_accuracy", "class_leak", "class_accuracy"])]
    assert others["seen"].isna().all() and others["margin"].isna().all()


def test_where_no_prompt_names_the_class_nobody_is_unknown_and_accuracy_null() -> None:
    unnamed = replace(KNOWN, strangers={"a": np.empty((0, 8)), "b": STRANGERS["b"]})
    for table in (score_stage(CELL, 1, GENERATED, unnamed, TEXTS, {}, {}), score_real(RUN, unnamed)):
        rows = select(table, "concept_accuracy", "a")
        assert rows["value"].isna().all() and rows["reason"].str.contains("nobody has no picture").all()


def test_rows_keep_what_statistics_need(tmp_path: Path) -> None:
    """The noise pairs images; a seed of 63 bits comes back to the last of them. What learns nothing has no seed."""
    large = 2**62 + 1  # a float would round it
    noise = Noise({"a": range(large, large + 6)}, {"class": range(10, 14), "other": range(20, 24)})
    stage = score_stage(CELL, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE, noise=noise)
    floor = score_base(RUN, GENERATED, KNOWN, TEXTS, BASE, noise=noise)
    write_scores(pd.concat([stage, floor, score_real(RUN, KNOWN)]), tmp_path / "t.parquet")
    table = read_scores(tmp_path / "t.parquet")
    assert set(table["label"]) == {"lora", "base", "real"}  # the method's name, unless the cell has another
    variant = score_stage({**CELL, "label": "lora, rank 4"}, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE)
    assert set(variant["label"]) == {"lora, rank 4"} and set(variant["method"]) == {"lora"}
    assert set(table["backbone"]) == {"b"} and set(table["protocol"]) == {"p"}
    learned = table["method"] == "lora"
    assert set(table.loc[learned, "order"]) == {1} and set(table.loc[learned, "seed"]) == {2}
    assert table.loc[~learned, ["order", "seed"]].isna().all(axis=None)
    assert select(table[learned], "clip_i", "a")["noise"].tolist() == list(range(large, large + 6))
    assert select(table[table["method"] == "base"], "copying", "a")["noise"].tolist() == list(range(large, large + 6))
    assert select(table, "kps_cos", "other")["noise"].dropna().tolist() == [20, 21, 22, 23]
    assert table.loc[(table["prompt"] == -1) | (table["method"] == "real"), "noise"].isna().all()
    with pytest.raises(ResultError, match="6 images and 2 seeds of noise"):
        score_stage(CELL, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE, noise=Noise({"a": [1, 2]}))


def test_floor_compares_different_prompts_only() -> None:
    table = score_base(RUN, GENERATED, KNOWN, TEXTS, BASE, preservation_images=2)
    x = formulas.unit(BASE["class"])
    pairs = [(1 + x[i] @ x[j]) / 2 for i in (0, 1) for j in (2, 3)]
    row = select(table, "kps", "class").iloc[0]
    assert row["value"] == pytest.approx(formulas.harmonic_mean(pairs))
    assert row["n"] == 4
    assert select(table, "kps", "all").iloc[0]["n"] == 28 - 4  # all pairs of 8 images less those of one prompt
    assert set(table["method"]) == {"base"}


def test_other_noise_is_scored_like_a_stage_against_the_same_base_images() -> None:
    table = scores.score_other_noise(RUN, BASE, KEPT, extractor="eye", preservation_images=2)
    assert set(table["method"]) == {"other_noise"} and set(table["stage"]) == {0}
    stage = score_stage(CELL, 1, {}, KNOWN, {}, KEPT, BASE, preservation_images=2)
    stage = stage[stage["metric"].isin(["kps", "kps_cos"])]  # of the rest only the base model's own noise is scored
    assert table["value"].tolist() == stage["value"].tolist() and table["concept"].tolist() == stage["concept"].tolist()


def test_ceiling_leaves_each_image_out_and_says_what_it_cannot_know() -> None:
    table = score_real(RUN, KNOWN, ("class",))
    np.testing.assert_allclose(select(table, "clip_i", "a")["value"], formulas.clip_i_left_out(REFERENCES["a"]))
    text = select(table, "clip_t", "a").iloc[0]
    assert pd.isna(text["value"])
    assert "evaluation prompts" in text["reason"]
    assert select(table, "kps", "all").iloc[0]["value"] == 1.0
    captioned = score_real(RUN, KNOWN, reference_texts={c: x + 1 for c, x in REFERENCES.items()})
    assert select(captioned, "clip_t", "a")["value"].notna().all()


def test_nulls_have_reasons() -> None:
    broken = GENERATED["a"].copy()
    broken[0] = np.nan
    table = score_stage(CELL, 1, {"a": broken, "b": np.empty((0, 8))}, KNOWN, TEXTS, {}, {})
    nulls = table[table["value"].isna()]
    assert nulls["reason"].notna().all()
    assert table[table["value"].notna()]["reason"].isna().all()
    assert set(select(table, "clip_i", "b")["reason"]) == {"no images"}
    assert select(table, "clip_i", "a")["value"].isna().sum() == 1


def test_one_reference_is_enough_for_all_but_sets() -> None:
    few = replace(KNOWN, references={**REFERENCES, "a": REFERENCES["a"][:1]})
    table = score_stage(CELL, 1, GENERATED, few, TEXTS, KEPT, BASE)
    assert select(table, "clip_i", "a")["value"].notna().all()
    (row,) = select(table, "mmd", "a").to_dict("records")
    assert pd.isna(row["value"]) and row["reason"] == "needs two images and two references or more"
    alone = score_real(RUN, few)
    assert set(select(alone, "clip_i", "a")["reason"]) == {"needs two references or more"}


def test_a_second_opinion_adds_its_own_rows_and_changes_no_other() -> None:
    def halves(score: Callable[..., pd.DataFrame], *arguments: object) -> pd.DataFrame:
        with_it = score(*(replace(a, second=SECOND) if a is KNOWN else a for a in arguments))
        rest = with_it[with_it["metric"] != "dino_i"].reset_index(drop=True)
        pd.testing.assert_frame_equal(rest, score(*arguments))
        rows = with_it[with_it["metric"] == "dino_i"]
        assert set(rows["extractor"]) == {"owner/dino"}
        return rows

    stage = halves(score_stage, CELL, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE)
    pairs = formulas.unit(SECOND.concepts["a"]) @ formulas.unit(SECOND.references["a"]).T
    np.testing.assert_allclose(stage["value"], pairs.mean(axis=1))
    assert stage["prompt"].tolist() == [0, 0, 1, 1, 2, 2] and stage["image"].tolist() == [0, 1, 0, 1, 0, 1]
    floor = halves(score_base, RUN, GENERATED, KNOWN, TEXTS, BASE)
    assert floor["value"].tolist() == stage["value"].tolist()
    ceiling = halves(score_real, RUN, KNOWN)
    own = formulas.unit(SECOND.references["b"]) @ formulas.unit(SECOND.references["b"]).T
    expected = (own.sum(axis=1) - 1) / 3  # each reference is compared with the three others
    np.testing.assert_allclose(select(ceiling, "dino_i", "b")["value"], expected)


def test_a_second_opinion_has_its_nulls_too() -> None:
    empty = SecondOpinion("owner/dino", SECOND.references, {"a": np.empty((0, 5))})
    blind = replace(KNOWN, second=empty)
    none = score_stage(CELL, 1, {"a": np.empty((0, 8))}, blind, TEXTS, {}, {})
    assert select(none, "dino_i", "a")[["reason", "extractor"]].to_numpy().tolist() == [["no images", "owner/dino"]]
    with pytest.raises(ResultError, match="6 images, of which owner/dino saw 0"):
        score_stage(CELL, 1, GENERATED, blind, TEXTS, {}, {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"concepts": {"c": GENERATED["a"]}}, "no references"),
        ({"known": replace(KNOWN, training={})}, "no training images"),
        ({"concepts": {"a": GENERATED["a"][:5]}}, "5 images for 3 prompts"),
        ({"base_preservation": {}}, "base model"),
        ({"base_preservation": {s: x[:2] for s, x in BASE.items()}}, "pair by pair"),
    ],
)
def test_misfits_are_said(changes: dict[str, object], says: str) -> None:
    arguments = {"concepts": GENERATED, "known": KNOWN, "texts": TEXTS, "preservation": KEPT}
    with pytest.raises(ResultError, match=says):
        score_stage(CELL, 1, **{**arguments, "base_preservation": BASE, **changes})


def test_written_tables_come_back_and_repeat_themselves(tmp_path: Path) -> None:
    table = pd.concat([score_stage(CELL, 1, GENERATED, KNOWN, TEXTS, KEPT, BASE), score_real(RUN, KNOWN)])
    write_scores(table, tmp_path / "a.parquet")
    write_scores(table, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    pd.testing.assert_frame_equal(read_scores(tmp_path / "a.parquet"), validate(table).reset_index(drop=True))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.parquet", "b.parquet"]


def test_damaged_and_foreign_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(ResultError, match=r"bad\.parquet cannot be read"):
        read_scores(tmp_path / "bad.parquet")
    table = score_real(RUN, KNOWN)
    with pytest.raises(ResultError, match="newer version"):
        validate(table.assign(schema_version=99))
    with pytest.raises(ResultError, match=r"earlier version of cat-bench .* give the same `cat-bench run` again"):
        validate(table.drop(columns=["seen", "margin"]).assign(schema_version=1))
    for column in ("value", "extractor"):
        with pytest.raises(ResultError, match=f"lacks the columns {column}: score the stage again"):
            validate(table.drop(columns=column))
    with pytest.raises(ResultError, match="without a reason"):
        validate(table.assign(reason=None))


def test_no_blocks_make_an_empty_table() -> None:
    assert tuple(frame([]).columns) == COLUMNS


def test_unknown_metric_says_what_was_meant() -> None:
    assert metric("clip_i").arrow == "↑"
    with pytest.raises(ResultError, match="did you mean 'clip_i'"):
        metric("clip-i")
