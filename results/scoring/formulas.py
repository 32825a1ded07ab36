"""The numbers themselves: pure functions of embeddings, without files, tables or models.

Every function takes arrays of shape (n, d), normalises rows itself, and computes in float64, because the interesting
differences (MMD of similar sets, cosines near one) vanish in float32.
"""

import numpy as np
import numpy.typing as npt

from cat_bench.results.errors import ResultError

Array = npt.NDArray[np.float64]
MMD_SIGMA = 10.0  # bandwidth and factor of CMMD (Jayasumana et al. 2024, arXiv 2401.09603)
MMD_SCALE = 1000.0


def finite_rows(x: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(n,) which rows of (n, d) have a direction."""
    return np.asarray(np.isfinite(unit(x)).all(axis=1), dtype=np.bool_)


def unit(x: npt.ArrayLike) -> Array:
    """Rows of (n, d) scaled to length one; all zeros or not finite becomes NaN, which the tables show as missing.

    Raises ResultError unless x has two dimensions.
    """
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2:
        raise ResultError(f"embeddings must have the shape (n, d), this array has {rows.shape}: pass one row per image")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float64)


def clip_i(generated: npt.ArrayLike, references: npt.ArrayLike) -> Array:
    """Mean raw cosine of each generated image (n, d) to all held-out references (m, d): (n,), in [-1, 1].

    Of DINO's features it is `dino_i`.
    """
    # the mean of cosines is the cosine product with the mean: no (n, m) table needed
    return np.asarray(unit(generated) @ unit(references).mean(axis=0), dtype=np.float64)


def clip_t(generated: npt.ArrayLike, texts: npt.ArrayLike) -> Array:
    """Raw cosine (n,) of each image (n, d) with its own prompt (n, d), in which the class noun replaces the trigger."""
    images, prompts = unit(generated), unit(texts)
    if images.shape != prompts.shape:
        raise ResultError(f"clip_t pairs images with prompts row by row, but got {images.shape} and {prompts.shape}")
    return np.asarray(np.einsum("nd,nd->n", images, prompts), dtype=np.float64)


def clip_i_left_out(references: npt.ArrayLike) -> Array:
    """The ceiling of `clip_i`: mean cosine of each reference (m, d) to the m - 1 others: (m,), NaN if m < 2."""
    rows = unit(references)
    if len(rows) < 2:
        return np.full(len(rows), np.nan)
    return np.asarray((rows @ rows.sum(axis=0) - np.einsum("md,md->m", rows, rows)) / (len(rows) - 1))


def copying(generated: npt.ArrayLike, training: npt.ArrayLike, references: npt.ArrayLike) -> Array:
    """Cosine (n,) of each image (n, d) to its nearest training image less that to its nearest held-out reference.

    About 0 where training images are no nearer than others of the concept, above where they are copied. The nearest of
    many is nearer than the nearest of few, so the first min(m, k) of the training images (m, d) and references (k, d)
    count. NaN if either is empty.
    """
    images, trained, held_out = unit(generated), unit(training), unit(references)
    count = min(len(trained), len(held_out))
    if not count:
        return np.full(len(images), np.nan)
    nearest = [(images @ rows[:count].T).max(axis=1) for rows in (trained, held_out)]
    return np.asarray(nearest[0] - nearest[1], dtype=np.float64)


def copying_left_out(training: npt.ArrayLike, references: npt.ArrayLike) -> Array:
    """The ceiling of `copying`, (m,): each reference (m, d), itself left out of the references; NaN if m < 2."""
    rows = unit(references)
    each = [copying(rows[i : i + 1], training, np.delete(rows, i, axis=0)) for i in range(len(rows))]
    return np.concatenate(each) if each else np.empty(0)


def mmd(x: npt.ArrayLike, y: npt.ArrayLike, sigma: float = MMD_SIGMA, scale: float = MMD_SCALE) -> float:
    """Unbiased squared maximum mean discrepancy of (n, d) and (m, d) under exp(-|a-b|^2 / 2 sigma^2), times scale.

    The diagonals are left out, so equal distributions average to zero and one draw may be negative. NaN if n or m < 2.
    """
    a, b = unit(x), unit(y)
    if len(a) < 2 or len(b) < 2:
        return float("nan")

    # expm1, not exp: kernel values lie within 2 % of one, the ones cancel in the sum, and what is left keeps its digits
    def kernel(u: Array, v: Array) -> Array:
        squared = np.maximum(2.0 - 2.0 * (u @ v.T), 0.0)
        return np.asarray(np.expm1(-squared / (2.0 * sigma**2)))

    def within(u: Array) -> float:
        k = kernel(u, u)
        return float((k.sum() - np.trace(k)) / (len(u) * (len(u) - 1)))

    return float(scale * (within(a) + within(b) - 2.0 * kernel(a, b).mean()))


def vendi(x: npt.ArrayLike) -> float:
    """Vendi score of (n, d): how many different rows there are in effect, from 1 (all alike) to n (all orthogonal).

    exp(-sum of p log p), p the eigenvalues of K / n and K the cosine kernel (Friedman and Dieng 2022). NaN if n is 0 or
    a row is not finite.
    """
    rows = unit(x)
    if not len(rows) or not np.isfinite(rows).all():
        return float("nan")
    p = np.square(np.linalg.svd(rows, compute_uv=False)) / len(rows)  # K = X X^T: its eigenvalues without making it
    p = p[p > 1e-15]
    return float(np.exp(-(p * np.log(p)).sum()))


def kps_cosine(base: npt.ArrayLike, adapted: npt.ArrayLike) -> Array:
    """Raw cosine of the base model's and the adapted model's image from the same prompt and noise, row by row: (n,).

    As 1 - |a - b|^2 / 2, which is exactly 1 where nothing changed.
    """
    before, after = unit(base), unit(adapted)
    if before.shape != after.shape:
        raise ResultError(f"kps compares images pair by pair, but got {before.shape} from the base and {after.shape}")
    return np.asarray(1.0 - np.square(before - after).sum(axis=1) / 2.0, dtype=np.float64)


def kps(cosine: npt.ArrayLike) -> float:
    """Knowledge preservation score of `kps_cosine`'s pairs (n,): harmonic mean of (1 + cos) / 2, in [0, 1]."""
    return harmonic_mean((1.0 + np.asarray(cosine, dtype=np.float64)) / 2.0)


def harmonic_mean(values: npt.ArrayLike) -> float:
    """n / sum(1 / v): few bad values weigh more than in the mean.

    Zero if any value is zero; NaN if empty or not finite. Raises ResultError for negative values, for which it has no
    meaning.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.size == 0 or not np.isfinite(v).all():
        return float("nan")
    if (v < -1e-9).any():
        raise ResultError("the harmonic mean is defined for values that are not negative")
    v = np.maximum(v, 0.0)
    return 0.0 if (v == 0.0).any() else float(v.size / (1.0 / v).sum())
