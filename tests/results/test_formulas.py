"""The formulas against hand-worked numbers, brute-force loops and scipy."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import hmean

from cat_bench.results.errors import ResultError
from cat_bench.results.scoring import formulas


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    return draw.normal(size=(7, 16)) + 1.0, draw.normal(size=(5, 16)) + 0.5


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_clip_i_is_the_mean_over_all_pairs(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, r = sets
    loops = [np.mean([cosine(a, b) for b in r]) for a in x]
    np.testing.assert_allclose(formulas.clip_i(x, r), loops, rtol=1e-12)


def test_clip_i_left_out_never_compares_an_image_with_itself(sets: tuple[np.ndarray, np.ndarray]) -> None:
    r = sets[1]
    loops = [np.mean([cosine(a, b) for j, b in enumerate(r) if j != i]) for i, a in enumerate(r)]
    np.testing.assert_allclose(formulas.clip_i_left_out(r), loops, rtol=1e-12)


def test_clip_t_pairs_rows(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, t = sets[0], sets[0][::-1]
    np.testing.assert_allclose(formulas.clip_t(x, t), [cosine(a, b) for a, b in zip(x, t, strict=True)], rtol=1e-12)
    with pytest.raises(ResultError, match="row by row"):
        formulas.clip_t(x, t[:3])


def test_copying_by_hand() -> None:
    """Training images (1, 0) and (0, 1), references (0.6, 0.8) and (0.8, 0.6)."""
    training, references = [[2.0, 0.0], [0.0, 3.0]], [[3.0, 4.0], [4.0, 3.0]]
    images = [[1.0, 0.0], [3.0, 4.0], [1.0, 1.0]]  # a copy, a new picture, in the middle
    np.testing.assert_allclose(
        formulas.copying(images, training, references), [1 - 0.8, 0.8 - 1, (1 - 1.4) / np.sqrt(2)], atol=1e-12
    )
    few = formulas.copying(images, training[:1], references)  # the nearest of one against the nearest of one
    np.testing.assert_allclose(few, [1 - 0.6, 0.6 - 1, (1 - 1.4) / np.sqrt(2)], atol=1e-12)
    left = formulas.copying_left_out(training, references)  # of one reference against one training image
    np.testing.assert_allclose(left, [0.6 - 0.96, 0.8 - 0.96], atol=1e-12)
    assert np.isnan(formulas.copying(images, np.empty((0, 2)), references)).all()
    assert np.isnan(formulas.copying_left_out(training, references[:1])).all()


def test_mmd_against_scipy_distances(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in sets)
    kernel = [np.exp(-(d**2) / 200.0).mean() for d in (pdist(x), pdist(y), cdist(x, y))]
    assert formulas.mmd(*sets) == pytest.approx(1000 * (kernel[0] + kernel[1] - 2 * kernel[2]), rel=1e-6)


def test_mmd_is_unbiased() -> None:
    """The mean over all splits of one set into halves is exactly zero; the biased estimator's is not."""
    from itertools import combinations

    x = np.random.default_rng(0).normal(size=(6, 4))
    splits = [(list(s), [i for i in range(6) if i not in s]) for s in combinations(range(6), 3)]
    assert np.mean([formulas.mmd(x[a], x[b]) for a, b in splits]) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(formulas.mmd(x[:1], x))


def test_kps_against_scipy(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = sets[0], sets[0] + 0.3 * sets[0][::-1]
    cosines = [cosine(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(formulas.kps_cosine(x, y), cosines, rtol=1e-12)
    assert formulas.kps(cosines) == pytest.approx(hmean([(1 + c) / 2 for c in cosines]))
    assert formulas.kps(formulas.kps_cosine(x, x)) == 1.0  # exactly: nothing changed
    assert formulas.kps(formulas.kps_cosine(x, -x)) == 0.0  # opposite images: one zero makes the harmonic mean zero
    assert formulas.harmonic_mean([1.0, 0.5]) == pytest.approx(2 / 3)


def test_what_cannot_be_embedded_is_nan_not_an_error() -> None:
    x = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 0.0]])
    assert np.isnan(formulas.clip_i(x, [[1.0, 0.0]])).tolist() == [False, True, True]
    with pytest.raises(ResultError, match="shape"):
        formulas.unit(np.ones(3))
