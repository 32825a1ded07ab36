"""Who is on a picture: one of the sequence's concepts, or nobody. Pure functions of embeddings, as in `formulas`."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cat_bench.results.errors import ResultError
from cat_bench.results.scoring.formulas import Array, unit

NOBODY = "nobody"
Strangers = Mapping[str, npt.ArrayLike]  # by concept: (m, d) the base model's own pictures of its class


@dataclass(frozen=True)
class Recognition:
    """What was seen on n pictures of which one concept was asked for.

    correct: (n,) 1.0 where it was seen, else 0.0; NaN for an embedding that is not finite. seen: (n,) the concept with
    the nearest centroid, or "nobody" where a stranger is nearer; None where `correct` is NaN. margin: (n,) cosine to
    the centroid asked for less that to the nearest of the others; NaN where there is no other.
    """

    correct: Array
    seen: npt.NDArray[np.object_]
    margin: Array


def centroid(references: npt.ArrayLike) -> Array:
    """Direction of the mean of L2-normalised references (m, d): (d,), length one."""
    return np.asarray(unit(unit(references).mean(axis=0, keepdims=True))[0], dtype=np.float64)


def recognise(
    generated: npt.ArrayLike, references: Mapping[str, npt.ArrayLike], concept: str, strangers: Strangers | None = None
) -> Recognition:
    """Nearest among the centroids of all concepts' references (m, d) and, as "nobody", every stranger.

    Strangers differ as much from each other as from the concepts, so their mean would be like none of them: each stands
    for itself. generated: (n, d) of pictures of `concept`. Without strangers the question is closed: everybody is
    somebody. A tie is not `correct`, so that images that say nothing score nothing. Raises ResultError if `concept` has
    no references.
    """
    if concept not in references:
        raise ResultError(f"concept {concept!r} has no references; there are: {', '.join(references)}")
    images = unit(generated)
    return _judged(images, images @ centroid(references[concept]), references, concept, strangers or {})


def recognise_left_out(
    references: Mapping[str, npt.ArrayLike], concept: str, strangers: Strangers | None = None
) -> Recognition:
    """The ceiling: each reference (m, d) of `concept` judged by a centroid without it; all NaN if m < 2."""
    rows = unit(references[concept])
    own = np.einsum("md,md->m", rows, unit(rows.sum(axis=0, keepdims=True) - rows)) if len(rows) > 1 else np.nan
    return _judged(rows, np.full(len(rows), own), references, concept, strangers or {})


def leaked(
    pictures: npt.ArrayLike,
    references: Mapping[str, npt.ArrayLike],
    strangers: npt.ArrayLike,
    twins: npt.NDArray[np.int64],
    learned: Set[str],
) -> Recognition:
    """Who is seen on pictures (n, d) of nobody in particular; `correct` is 1.0 where it is a `learned` concept.

    Nearest as in `recognise`: among the centroids of all concepts and every stranger (m, d), but for the stranger that
    is the base model's picture of the same prompt and noise, whose row is in twins (n,), -1: there is none. Without
    this a picture of the base model would be its own nearest. margin: cosine to the nearest learned concept less that
    to the nearest of all others. A tie is no leak. NaN where no stranger is left to be nobody.
    """
    images, nobody = unit(pictures), unit(strangers)
    size = len(images)
    centroids = {name: centroid(rows) for name, rows in references.items()}
    centroids = {name: direction for name, direction in centroids.items() if np.isfinite(direction).all()}
    if not len(nobody):
        return Recognition(np.full(size, np.nan), np.full(size, None, dtype=object), np.full(size, np.nan))
    to_nobody = images @ nobody.T  # (n, m)
    own = np.flatnonzero(twins >= 0)
    to_nobody[own, twins[own]] = -np.inf
    names = np.array([*centroids, NOBODY], dtype=object)
    each = [*(images @ direction for direction in centroids.values()), to_nobody.max(axis=1)]
    cosines = np.stack(each, axis=1)  # (n, answers)
    leak = np.array([name in learned for name in names], dtype=bool)
    inside, outside = (np.where(mine, cosines, -np.inf) for mine in (leak, ~leak))
    margin = inside.max(axis=1) - outside.max(axis=1)
    seen = np.where(margin > 0, names[inside.argmax(axis=1)], names[outside.argmax(axis=1)])
    finite = np.isfinite(to_nobody.max(axis=1))
    correct = np.where(finite, (margin > 0).astype(np.float64), np.nan)
    return Recognition(correct, _where(finite, seen), np.where(finite & np.isfinite(margin), margin, np.nan))


def _judged(
    images: Array, own: Array, references: Mapping[str, npt.ArrayLike], concept: str, strangers: Strangers
) -> Recognition:
    """own: (n,) cosine to the centroid of the concept asked for."""
    others = [(name, centroid(rows)) for name, rows in references.items() if name != concept]
    others += [(NOBODY, picture) for rows in strangers.values() for picture in unit(rows)]
    others = [(name, direction) for name, direction in others if np.isfinite(direction).all()]
    finite = np.isfinite(own)
    if not others:
        return Recognition(np.where(finite, 1.0, np.nan), _where(finite, concept), np.full(len(own), np.nan))
    cosines = images @ np.stack([direction for _, direction in others], axis=1)  # (n, answers)
    margin = own - cosines.max(axis=1)
    names = np.array([name for name, _ in others], dtype=object)[np.argmax(cosines, axis=1)]
    correct = np.where(finite, (margin > 0).astype(np.float64), np.nan)
    return Recognition(correct, _where(finite, np.where(margin > 0, _object(concept), names)), margin)


def _where(finite: npt.NDArray[np.bool_], names: str | npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    return np.where(finite, _object(names), _object(None))


def _object(thing: Any) -> npt.NDArray[np.object_]:
    return np.array(thing, dtype=object)
