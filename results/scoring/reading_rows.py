"""Rows of the long table about what is to be seen on an image: answers read off it, held against what is true."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cat_bench.results.errors import ResultError
from cat_bench.results.scoring.formulas import Array, finite_rows, unit

NOT_READABLE = "not readable"
CLASS, EXPRESSION = "class", "expression"  # the question after the class; "CLASS/expression" is that after its face
READ = ("part_accuracy", "held_out_accuracy", "scene_accuracy", "readable")
Block = dict[str, Any]  # columns of the long table to a scalar or an array
Finite = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """What was read off a concept's n images, and what there is to be read.

    said: question → n answers, "not readable" among them. kind: the true answer to the question "class". identity:
    question → true answer. held_out: those of its questions whose answer the backbone was never trained on. asked: for
    each image, question → every answer that its prompt accepts; none: it asks for nothing.
    """

    said: Mapping[str, Sequence[str]]
    kind: str
    identity: Mapping[str, str]
    held_out: frozenset[str]
    asked: Sequence[Mapping[str, frozenset[str]]]


Readings = Mapping[str, Reading | str]  # by concept; a text says why nothing was read


@dataclass(frozen=True)
class Nouns:
    """For a look at the class without a reader: texts (k, d) of k different class nouns, `own` the concept's."""

    names: Sequence[str]
    texts: npt.ArrayLike
    own: str


def share_right(said: Mapping[str, Sequence[str]], true: Mapping[str, str], size: int) -> Array:
    """(n,) the share of questions of which image i is read as true; NaN where there is no question."""
    if not true:
        return np.full(size, np.nan)
    right = [[answer == wanted for answer in said[question]] for question, wanted in true.items()]
    return np.asarray(np.mean(right, axis=0), dtype=np.float64)


def share_obeyed(said: Mapping[str, Sequence[str]], asked: Sequence[Mapping[str, frozenset[str]]]) -> Array:
    """(n,) the share of what was asked of image i that it shows; NaN where nothing was asked."""
    found = [
        np.mean([said[q][i] in answers for q, answers in wanted.items()]) if wanted else np.nan
        for i, wanted in enumerate(asked)
    ]
    return np.asarray(found, dtype=np.float64)


def readable(said: Mapping[str, Sequence[str]]) -> Array:
    """(n,) 1 where a class is read and, if that class has a face, an expression on it; whichever they are."""
    found = []
    for i, kind in enumerate(said[CLASS]):
        face = said.get(f"{kind}/{EXPRESSION}")
        found.append(kind != NOT_READABLE and (face is None or face[i] != NOT_READABLE))
    return np.asarray(found, dtype=np.float64)


def zero_shot(images: npt.ArrayLike, nouns: Nouns) -> npt.NDArray[np.object_]:
    """(n,) the noun whose text has the largest cosine to each image (n, d)."""
    cosines = unit(images) @ unit(nouns.texts).T
    return np.array([nouns.names[best] for best in np.argmax(cosines, axis=1)], dtype=object)


def reading_blocks(image: Block, finite: Finite, reading: Reading | str) -> list[Block]:
    """What the reader says of a concept's images: their own parts, those held out, the scene, whether they are legible.

    image: the columns that say which images these are. finite: (n,) where the embedding is. Raises ResultError where
    answers and images are not equally many.
    """
    if isinstance(reading, str):
        where = {"concept": image["concept"], "value": None, "n": len(finite), "reason": reading}
        return [{**where, "metric": metric} for metric in READ]
    size, said = len(finite), reading.said
    if wrong := [len(answers) for answers in (*said.values(), reading.asked) if len(answers) != size]:
        raise ResultError(f"concept {image['concept']!r} has {size} images and a reading of {wrong[0]}: read them all")
    own = {q: answer for q, answer in reading.identity.items() if q in reading.held_out}
    found = {
        "part_accuracy": (share_right(said, reading.identity, size), "it has no part that can be read"),
        "held_out_accuracy": (share_right(said, own, size), "none of its parts was held out of pretraining"),
        "scene_accuracy": (share_obeyed(said, reading.asked), "the prompt asks for nothing"),
        "readable": (readable(said), None),
    }
    return [
        {**image, "metric": metric, "value": np.where(finite, value, np.nan), "reason": _why(finite, reason)}
        for metric, (value, reason) in found.items()
    ]


def class_block(image: Block, images: npt.ArrayLike, reading: Reading | str, nouns: Nouns | None) -> Block:
    """Whether a concept's images (n, d) are of its class: as the reader says, else by the nearest noun."""
    finite = finite_rows(images)
    if isinstance(reading, Reading):
        seen, own = np.array(reading.said[CLASS], dtype=object), reading.kind
    elif nouns is not None:
        seen, own = zero_shot(images, nouns), nouns.own
    else:
        reason = "there is neither a part reader nor a text of any class to compare with"
        where = {"concept": image["concept"], "value": None, "n": len(finite), "reason": reason}
        return {**where, "metric": "class_accuracy"}
    value = np.where(finite, (seen == own).astype(np.float64), np.nan)
    shown = np.array([answer if there else None for answer, there in zip(seen, finite, strict=True)], dtype=object)
    return {**image, "metric": "class_accuracy", "value": value, "seen": shown}


def _why(finite: Finite, otherwise: str | None) -> npt.NDArray[np.object_]:
    damaged = "the image's embedding is not finite"
    return np.array([otherwise if there else damaged for there in finite], dtype=object)
