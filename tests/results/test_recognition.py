"""Who was seen, worked by hand and against loops; who took whose place."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.confusion import confusion
from cat_bench.results.records.totals import Totals
from cat_bench.results.scoring import formulas
from cat_bench.results.scoring.recognition import NOBODY, recognise, recognise_left_out

REFERENCES = {"a": np.array([[1.0, 0.1], [1.0, -0.1]]), "b": np.array([[0.0, 2.0]])}  # centroids (1, 0) and (0, 1)
IMAGES = np.array([[4.0, 3.0], [3.0, 4.0], [1.0, 1.0]])  # nearer to a, nearer to b, in the middle


def test_the_closed_question_by_hand() -> None:
    found = recognise(IMAGES, REFERENCES, "a")
    assert found.correct.tolist() == [1.0, 0.0, 0.0]  # a tie is wrong
    assert found.seen.tolist() == ["a", "b", "b"]
    np.testing.assert_allclose(found.margin, [0.8 - 0.6, 0.6 - 0.8, 0.0], atol=1e-12)
    assert recognise(IMAGES, REFERENCES, "b").correct.tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(ResultError, match="no references"):
        recognise(IMAGES, REFERENCES, "c")


def test_a_stranger_is_nobody_by_hand() -> None:
    """A stranger at (0.6, 0.8) takes the second picture from b and the third from a."""
    strangers = {"a": np.array([[3.0, 4.0]]), "b": np.empty((0, 2))}
    found = recognise([[1.0, 0.0], [3.0, 4.0], [4.0, 3.0]], REFERENCES, "a", strangers)
    assert found.seen.tolist() == ["a", NOBODY, NOBODY]
    np.testing.assert_allclose(found.margin, [1 - 0.6, 0.6 - 1.0, 0.8 - 0.96], atol=1e-12)
    assert found.correct.tolist() == [1.0, 0.0, 0.0]


def test_strangers_stand_each_for_itself() -> None:
    """Two to either side of a's centroid and one behind it: their mean would be a's own direction."""
    strangers = {"a": np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0]])}
    references = {"a": np.array([[1.0, 0.0]])}
    found = recognise([[4.0, 1.0], [1.0, 4.0], [1.0, -4.0]], references, "a", strangers)
    assert found.seen.tolist() == ["a", NOBODY, NOBODY]
    nearest = 5 / np.sqrt(34)  # cosine of each to (1, 1) or (1, -1)
    np.testing.assert_allclose(found.margin, np.array([4, 1, 1]) / np.sqrt(17) - nearest, atol=1e-12)


def test_strangers_of_every_class_count_and_what_is_not_finite_is_none() -> None:
    strangers = {"a": np.array([[1.0, 1.0], [np.nan, 0.0]]), "b": np.array([[-1.0, 0.0]])}
    found = recognise([[1.0, 1.0], [-1.0, 0.1], [np.nan, 1.0], [0.0, 0.0]], REFERENCES, "b", strangers)
    assert found.seen.tolist() == [NOBODY, NOBODY, None, None]
    assert found.correct[:2].tolist() == [0.0, 0.0] and np.isnan(found.correct[2:]).all()
    alone = recognise([[1.0, 0.0]], {"a": REFERENCES["a"]}, "a")
    assert alone.correct.tolist() == [1.0] and np.isnan(alone.margin).all()


def test_left_out_against_loops() -> None:
    draw = np.random.default_rng(1)
    references = {c: draw.normal(size=(6, 8)) + draw.normal(size=8) for c in "abc"}
    strangers = {c: draw.normal(size=(3, 8)) for c in "abc"}
    for name, rows in references.items():
        left = [{**references, name: np.delete(formulas.unit(rows), i, 0)} for i in range(6)]
        loops = [recognise(rows[i : i + 1], left[i], name, strangers) for i in range(6)]
        found = recognise_left_out(references, name, strangers)
        np.testing.assert_array_equal(found.correct, [loop.correct[0] for loop in loops])
        np.testing.assert_allclose(found.margin, [loop.margin[0] for loop in loops])
        assert found.seen.tolist() == [loop.seen[0] for loop in loops]
    assert np.isnan(recognise_left_out({"a": references["a"][:1]}, "a").correct).all()


def test_confusion_by_hand() -> None:
    seen = {"a": ["a", "a", "b", NOBODY], "b": ["b", None]}
    judged = [("concept_accuracy", concept, who) for concept, names in seen.items() for who in names]
    rows = pd.DataFrame([*judged, ("clip_i", "a", None)], columns=["metric", "concept", "seen"])
    totals = Totals.of(pa.Table.from_pandas(rows.assign(stage=1, value=1.0, extractor="eye", reason=None)))
    table = confusion([totals.seen], ["a", "b", "c"])
    assert list(table.columns) == ["a", "b", "c", NOBODY]
    expected = [[0.5, 0.25, 0.0, 0.25], [0.0, 1.0, 0.0, 0.0], [np.nan] * 4]
    np.testing.assert_array_equal(table.to_numpy(), expected)
