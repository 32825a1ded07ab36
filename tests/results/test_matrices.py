"""Continual-learning figures on matrices worked by hand, and against loops over their definitions."""

import numpy as np
import pandas as pd
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.measures import matrices as m
from cat_bench.results.records.long_table import frame

# concept 1 and 2 get BETTER with later stages: what the four definitions make of it differs
BACKWARD = np.array([[0.60, np.nan, np.nan], [0.70, 0.70, np.nan], [0.75, 0.75, 0.80]])


def test_four_definitions_of_forgetting_on_one_matrix() -> None:
    assert m.forgetting(BACKWARD) == pytest.approx(-0.05)
    assert m.forgetting_continual_lora(BACKWARD) == pytest.approx(0.0)
    assert m.forgetting_mammoth(BACKWARD) == pytest.approx(0.0)
    assert m.forgetting_avalanche(BACKWARD) == pytest.approx(-0.10)


def test_by_hand() -> None:
    R = np.array([[0.9, 0.2, 0.1], [0.5, 0.8, 0.3], [0.6, 0.4, 0.7]])
    base = np.array([0.0, 0.1, 0.2])
    assert m.average(R) == pytest.approx((0.6 + 0.4 + 0.7) / 3)
    assert m.plasticity(R) == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    assert m.forgetting(R) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.4)) / 2)
    assert m.bwt(R) == pytest.approx(((0.6 - 0.9) + (0.4 - 0.8)) / 2)
    assert m.fwt(R, base) == pytest.approx(((0.2 - 0.1) + (0.3 - 0.2)) / 2)
    assert m.forgetting_continual_lora(R) == pytest.approx((0.3 + 0.4 + 0.0) / 3)
    assert m.forgetting_mammoth(R) == pytest.approx((0.3 + 0.4) / 2)
    assert m.a_mmd(R) == m.average(R)
    assert m.f_mmd(R) == m.bwt(R)


def test_retention_by_hand() -> None:
    """0.3 of the rise of 0.9, and 0.3 of the rise of 0.7, are left; the last concept's own rise does not count."""
    R = np.array([[0.9, np.nan, np.nan], [0.5, 0.8, np.nan], [0.3, 0.4, 0.2]])
    base = np.array([0.0, 0.1, 0.2])
    assert m.retention(R, base, 0.1) == pytest.approx((0.3 / 0.9 + 0.3 / 0.7) / 2)
    assert m.never_learned(R, base, 0.1) == []
    assert m.never_learned(R, base, 0.7) == [1]
    assert np.isnan(m.retention(R, base, 0.7))
    assert m.retention(np.eye(2) + np.tri(2, k=-1), [0.0, 0.0], 0.1) == 1.0  # nothing was lost
    assert np.isnan(m.retention([[0.5]], [0.0], 0.1))
    with pytest.raises(ResultError, match="one base score a concept"):
        m.retention(R, [0.0], 0.1)


@pytest.mark.parametrize("T", [2, 5, 10])
def test_against_loops(T: int) -> None:
    R = np.random.default_rng(T).random((T, T))
    loops = [max(R[t, k] for t in range(k, T - 1)) - R[T - 1, k] for k in range(T - 1)]
    assert m.forgetting(R) == pytest.approx(sum(loops) / (T - 1))
    floored = [max(value, 0.0) for value in loops]
    assert m.forgetting_mammoth(R) == pytest.approx(sum(floored) / (T - 1))
    assert m.forgetting_continual_lora(R) == pytest.approx(sum(floored) / T)
    assert m.forgetting_avalanche(R) == pytest.approx(-m.bwt(R))


def test_unlearned_entries_do_not_matter_but_needed_ones_do() -> None:
    assert np.isfinite(m.forgetting(BACKWARD))
    assert np.isnan(m.fwt(BACKWARD, np.zeros(3)))  # needs images of concepts before they are learned
    broken = BACKWARD.copy()
    broken[2, 0] = np.nan
    assert np.isnan(m.forgetting(broken))
    assert np.isnan(m.average(broken))


def test_one_concept_cannot_be_forgotten() -> None:
    assert m.average([[0.5]]) == 0.5
    assert np.isnan(m.forgetting([[0.5]]))
    assert np.isnan(m.bwt([[0.5]]))
    with pytest.raises(ResultError, match="square"):
        m.average([[0.1, 0.2]])


def rows(method: str, stage: int, concept: str, values: list[float | None]) -> dict[str, object]:
    key = {
        "method": method,
        "sequence": "s",
        "backbone": "b",
        "protocol": "p",
        "order": 0,
        "seed": 0,
        "stage": stage,
        "concept": concept,
    }
    return {**key, "metric": "clip_i", "prompt": 0, "image": np.arange(len(values)), "value": values, "reason": "lost"}


def test_stage_matrix_takes_learning_order_and_skips_nulls() -> None:
    scores = frame(
        [
            rows("base", 0, "a", [0.1]),
            rows("base", 0, "b", [0.2]),
            rows("lora", 1, "b", [0.4, 0.6]),
            rows("lora", 2, "b", [0.3, None]),
            rows("lora", 2, "a", [0.9]),
        ]
    )
    means = m.means(scores)
    table = m.stage_matrix(means, "clip_i", ["b", "a"])
    expected = pd.DataFrame([[0.2, 0.1], [0.5, np.nan], [0.3, 0.9]], columns=["b", "a"])
    np.testing.assert_allclose(table.to_numpy(), expected.to_numpy())
    assert list(table.columns) == ["b", "a"]
    assert m.stage_matrix(means, "mmd", ["b", "a"]).isna().all(axis=None)
