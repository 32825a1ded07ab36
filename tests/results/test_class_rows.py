"""Pictures without a trigger, by hand: who is seen that was not asked for, and how many different ones there are."""

import numpy as np
import pandas as pd
import pytest

from cat_bench.results.scoring import formulas, scores
from cat_bench.results.scoring.recognition import NOBODY, leaked
from cat_bench.results.scoring.scores import Known, Noise, Untriggered

REFERENCES = {"a": np.array([[1.0, 0.1], [1.0, -0.1]]), "b": np.array([[0.0, 2.0]])}  # centroids (1, 0) and (0, 1)
STRANGERS = np.array([[3.0, 4.0], [-1.0, 0.0]])
NONE = np.array([-1, -1, -1])
CELL = {"sequence": "s", "backbone": "b", "protocol": "p", "method": "lora", "order": 0, "seed": 0}
KNOWN = Known(REFERENCES, REFERENCES, dict.fromkeys(REFERENCES, STRANGERS))


def test_leaks_by_hand() -> None:
    pictures = [[4.0, 1.0], [0.0, 1.0], [3.0, 4.0]]  # near a, b itself, the first stranger itself
    both = leaked(pictures, REFERENCES, STRANGERS, NONE, {"a", "b"})
    assert both.correct.tolist() == [1.0, 1.0, 0.0] and both.seen.tolist() == ["a", "b", NOBODY]
    # (4, 1) / √17 to a less to the first stranger; b itself less to that stranger; 0.8 to b less 1
    np.testing.assert_allclose(both.margin, [4 / 17**0.5 - 16 / 5 / 17**0.5, 1 - 0.8, 0.8 - 1.0], atol=1e-12)
    first = leaked(pictures, REFERENCES, STRANGERS, NONE, {"a"})
    assert first.correct.tolist() == [1.0, 0.0, 0.0]  # b is seen, and was not learned yet: that is no leak
    assert first.seen.tolist() == ["a", "b", NOBODY]
    assert leaked(pictures, REFERENCES, STRANGERS, NONE, set()).correct.tolist() == [0.0, 0.0, 0.0]


def test_a_picture_is_not_compared_with_itself() -> None:
    picture = STRANGERS[:1]
    alone = leaked(picture, REFERENCES, STRANGERS, np.array([-1]), {"a", "b"})
    left_out = leaked(picture, REFERENCES, STRANGERS, np.array([0]), {"a", "b"})
    assert alone.seen.tolist() == [NOBODY] and left_out.seen.tolist() == ["b"]
    np.testing.assert_allclose(left_out.margin, 0.8 + 0.6)  # to b, and to the other stranger
    only = leaked(picture, REFERENCES, STRANGERS[:1], np.array([0]), {"a", "b"})
    assert np.isnan(only.correct).all() and only.seen.tolist() == [None]  # nobody has no picture left


def test_ties_and_what_is_not_finite() -> None:
    strangers = np.array([[1.0, -1.0]])
    found = leaked([[1.0, 0.0], [np.nan, 0.0]], {"a": strangers, "b": [[1.0, 1.0]]}, strangers, NONE[:2], {"a"})
    assert found.correct.tolist()[0] == 0.0 and np.isnan(found.correct[1]) and found.seen.tolist()[1] is None
    nobody = leaked([[1.0, 0.0]], REFERENCES, np.empty((0, 1)), NONE[:1], {"a"})
    assert np.isnan(nobody.correct).all()


def test_vendi_by_hand() -> None:
    assert formulas.vendi([[1.0, 2.0]] * 5) == pytest.approx(1.0)
    assert formulas.vendi(np.eye(4) * 7) == pytest.approx(4.0)
    assert formulas.vendi([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]) == pytest.approx(2.0)
    assert formulas.vendi([[1.0, 0.0], [-1.0, 0.0]]) == pytest.approx(1.0)  # opposite is not different in this kernel
    c = 0.6  # two pictures of cosine c: eigenvalues (1 ± c) / 2
    p = np.array([1 + c, 1 - c]) / 2
    assert formulas.vendi([[1.0, 0.0], [0.6, 0.8]]) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert np.isnan(formulas.vendi(np.empty((0, 3)))) and np.isnan(formulas.vendi([[np.nan, 1.0]]))


def test_vendi_against_the_matrix_itself() -> None:
    x = np.random.default_rng(0).normal(size=(16, 5))
    rows = formulas.unit(x)
    eigenvalues = np.linalg.eigvalsh(rows @ rows.T / 16)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    assert formulas.vendi(x) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))


def untriggered(pictures: np.ndarray, varied: np.ndarray, base: np.ndarray) -> Untriggered:
    judged = {"class": pictures, "person": varied}
    return Untriggered(judged, STRANGERS, {"class": [0, 1]}, {"person": varied}, {"person": base})


def classes(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["metric"].isin(["class_leak", "class_diversity"])]


def test_an_unchanged_model_is_at_the_floor_exactly() -> None:
    given = untriggered(STRANGERS, np.array([[4.0, 1.0], [-1.0, 0.2]]), np.array([[4.0, 1.0], [-1.0, 0.2]]))
    concepts = {c: x[:1] for c, x in REFERENCES.items()}
    shared = {"extractor": "eye", "untriggered": given}
    texts = {c: np.ones((1, 2)) for c in REFERENCES}
    floor = classes(scores.score_base(CELL, concepts, KNOWN, texts, {}, **shared))
    end = classes(scores.score_stage(CELL, 2, concepts, KNOWN, texts, {}, {}, **shared))
    columns = ["concept", "prompt", "image", "metric", "value", "seen", "margin"]
    pd.testing.assert_frame_equal(floor[columns], end[columns])
    leaks = floor[floor["metric"] == "class_leak"]
    assert leaks["concept"].tolist() == ["class", "class", "person", "person"]
    assert leaks["prompt"].tolist() == [0, 1, 0, 0] and leaks["image"].tolist() == [0, 0, 0, 1]
    # The first stranger without itself is nearest to b, the second behind a to nobody in particular: b at cosine 0.
    assert leaks["seen"].tolist() == ["b", "b", "a", NOBODY]
    assert floor.loc[floor["metric"] == "class_diversity", "value"].tolist() == [1.0]


def test_a_stage_counts_only_what_it_has_learned() -> None:
    given = untriggered(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0]] * 2), np.eye(2))
    texts = {"a": np.ones((1, 2))}
    noise = Noise({}, {"class": [5, 6]}, {"person": [7, 8]})
    table = scores.score_stage(
        CELL, 1, {"a": REFERENCES["a"][:1]}, KNOWN, texts, {}, {}, extractor="eye", untriggered=given, noise=noise
    )
    leaks = table[table["metric"] == "class_leak"]
    assert leaks["value"].tolist() == [1.0, 0.0, 1.0, 1.0] and leaks["noise"].tolist() == [5, 6, 7, 8]
    row = table[table["metric"] == "class_diversity"].iloc[0]
    assert row["concept"] == "person" and row["n"] == 2 and row["value"] == pytest.approx(1 / 2)


def test_what_is_missing_is_said() -> None:
    table = classes(scores.score_stage(CELL, 1, {}, KNOWN, {}, {}, {}, extractor="eye"))
    assert table["value"].isna().all()
    assert table["reason"].tolist() == [
        "no picture of a class was drawn without a trigger",
        "no images of the class were asked for (diversity_images)",
    ]
    real = classes(scores.score_real(CELL, KNOWN, extractor="eye"))
    assert real["reason"].tolist()[1] == "there are no pictures of the class but the base model's own"
    few = Untriggered({}, STRANGERS, {}, {"person": np.eye(2)[:1]}, {"person": np.eye(2)})
    short = classes(scores.score_real(CELL, KNOWN, extractor="eye", untriggered=few))
    assert "as many of the base model" in short["reason"].tolist()[1]
