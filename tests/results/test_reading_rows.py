"""What is read off an image against what is true of it, worked by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.scoring import formulas, scores
from cat_bench.results.scoring.reading_rows import NOT_READABLE, readable, share_obeyed, share_right, zero_shot
from cat_bench.results.scoring.scores import Known, Nouns, Reading

# Four images, two prompts: "a {}" and "a {}, sad, on a mint background".
SAID = {
    "class": ["person", "person", "robot", NOT_READABLE],
    "person/top": ["hat", "bun", NOT_READABLE, NOT_READABLE],
    "person/beard": ["none", "none", NOT_READABLE, NOT_READABLE],
    "person/expression": ["sad", NOT_READABLE, NOT_READABLE, NOT_READABLE],
    "robot/expression": [NOT_READABLE, NOT_READABLE, "happy", NOT_READABLE],
    "background": ["mint", "mint", "mint", NOT_READABLE],
}
SAD = {"person/expression": frozenset({"sad", "gloomy"}), "background": frozenset({"mint"})}
READING = Reading(
    SAID, "person", {"person/top": "hat", "person/beard": "none"}, frozenset({"person/top"}), [{}, {}, SAD, SAD]
)
draw = np.random.default_rng(3)
IMAGES = draw.normal(size=(4, 6))
KNOWN = Known({"a": draw.normal(size=(3, 6))}, {"a": draw.normal(size=(3, 6))}, {"a": draw.normal(size=(2, 6))})
CELL = {"sequence": "s", "backbone": "b", "protocol": "p", "method": "lora", "order": 0, "seed": 0}


def stage(known: Known = KNOWN, reading: Reading | str = READING, images: np.ndarray = IMAGES) -> pd.DataFrame:
    texts = {"a": np.ones((2, 6))}
    return scores.score_stage(CELL, 1, {"a": images}, known, texts, {}, {}, extractor="eye", readings={"a": reading})


def values(table: pd.DataFrame, metric: str) -> list[float]:
    return table.loc[table["metric"] == metric, "value"].tolist()


def test_shares_by_hand() -> None:
    assert share_right(SAID, READING.identity, 4).tolist() == [1.0, 0.5, 0.0, 0.0]
    assert np.isnan(share_right(SAID, {}, 4)).all()
    assert share_obeyed(SAID, [SAD] * 4).tolist() == [1.0, 0.5, 0.5, 0.0]
    assert np.isnan(share_obeyed(SAID, [{}] * 4)).all()


def test_what_can_be_read_is_readable_whichever_class_it_is() -> None:
    """The second has no face that can be read; the robot's can; a class that is asked for no face needs none."""
    assert readable(SAID).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert readable({"class": ["planet", NOT_READABLE]}).tolist() == [1.0, 0.0]


def test_rows_of_a_stage() -> None:
    table = stage()
    assert values(table, "part_accuracy") == [1.0, 0.5, 0.0, 0.0]
    assert values(table, "held_out_accuracy") == [1.0, 0.0, 0.0, 0.0]
    assert values(table, "class_accuracy") == [1.0, 1.0, 0.0, 0.0]
    assert values(table, "readable") == [1.0, 0.0, 1.0, 0.0]
    assert table.loc[table["metric"] == "class_accuracy", "seen"].tolist() == SAID["class"]
    scene = table[table["metric"] == "scene_accuracy"]
    assert scene["value"].tolist()[2:] == [0.5, 0.0] and scene["value"][:2].isna().all()
    assert scene["reason"].tolist() == ["the prompt asks for nothing"] * 2 + [None] * 2
    assert scene["prompt"].tolist() == [0, 0, 1, 1] and scene["image"].tolist() == [0, 1, 0, 1]


def test_a_concept_without_held_out_parts_says_so_and_an_embedding_that_is_none_is_not_read() -> None:
    broken = IMAGES.copy()
    broken[0] = np.nan
    table = stage(reading=replace(READING, held_out=frozenset()), images=broken)
    held_out = table[table["metric"] == "held_out_accuracy"]
    assert held_out["value"].isna().all()
    assert set(held_out["reason"][1:]) == {"none of its parts was held out of pretraining"}
    for metric in ("part_accuracy", "readable", "class_accuracy"):
        rows = table[table["metric"] == metric]
        assert rows["value"].isna().tolist() == [True, False, False, False]
        assert rows["reason"].iloc[0] == "the image's embedding is not finite"


def test_where_nothing_is_read_the_reason_is_one_row_a_metric() -> None:
    table = stage(reading="no reader here")
    for metric in ("part_accuracy", "held_out_accuracy", "scene_accuracy", "readable"):
        row = table[table["metric"] == metric]
        assert row[["reason", "n", "prompt"]].to_numpy().tolist() == [["no reader here", 4, -1]]
    assert "neither a part reader nor a text" in table.loc[table["metric"] == "class_accuracy", "reason"].iloc[0]


def test_without_a_reader_the_nearest_noun_is_the_class() -> None:
    nouns = Nouns(("dog", "cat"), [[2.0, 0.0], [0.0, 1.0]], "dog")
    seen = zero_shot([[1.0, 0.9], [0.9, 1.0], [3.0, -1.0]], nouns)
    assert seen.tolist() == ["dog", "cat", "dog"]
    towards = Nouns(("dog", "cat"), [IMAGES[0] + IMAGES[1], IMAGES[2] + IMAGES[3]], "dog")
    table = stage(replace(KNOWN, nouns={"a": towards}), "no reader here")
    rows, text = table[table["metric"] == "class_accuracy"], formulas.unit(towards.texts)
    expected = formulas.unit(IMAGES) @ text.T
    assert rows["value"].tolist() == (expected[:, 0] > expected[:, 1]).astype(float).tolist()
    assert stage(replace(KNOWN, nouns={"a": towards})).equals(stage())  # a reader goes first


def test_the_references_are_read_for_the_ceiling() -> None:
    said = {q: answers[:3] for q, answers in SAID.items()}
    reading = replace(READING, said=said, asked=[SAD] * 3)
    table = scores.score_real(CELL, KNOWN, extractor="eye", readings={"a": reading})
    assert values(table, "part_accuracy") == [1.0, 0.5, 0.0] and values(table, "scene_accuracy") == [1.0, 0.5, 0.5]


def test_distance_to_pictures_of_the_class() -> None:
    pictures = draw.normal(size=(5, 6))
    table = stage(replace(KNOWN, class_pictures={"a": pictures}))
    assert values(table, "class_mmd") == [formulas.mmd(IMAGES, pictures)]
    row = stage().set_index("metric").loc["class_mmd"]
    assert np.isnan(row["value"]) and row["reason"] == "there are no pictures of its class to compare with"


def test_a_reading_of_other_images_is_refused() -> None:
    with pytest.raises(ResultError, match="4 images and a reading of 3"):
        stage(reading=replace(READING, asked=[{}] * 3))
