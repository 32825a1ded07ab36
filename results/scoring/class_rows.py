"""Rows of the long table about pictures of the concepts' classes that were drawn without any trigger."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cat_bench.results.scoring import formulas
from cat_bench.results.scoring.concept_rows import Embeddings, numbered
from cat_bench.results.scoring.reading_rows import Block
from cat_bench.results.scoring.recognition import leaked

STRATUM = "class"
NO_STRANGER = "there is no other picture of the class without a trigger, so nobody has no picture"
NONE_ASKED_FOR = "no images of the class were asked for (diversity_images)"


@dataclass(frozen=True)
class Untriggered:
    """Pictures without a trigger, and what they are compared with.

    judged: (n, d) pictures in which no concept should be seen, of the preservation stratum `class` and by class noun.
    strangers: (m, d) pictures of the classes, each of which is nobody. twins: under a name of `judged` the number (n,)
    of the stranger that a picture must not be compared with, -1: none; no name: there are none. varied: by class noun
    (n, d) pictures of one prompt, "a NOUN"; base: the base model's from the same noise.
    """

    judged: Embeddings = field(default_factory=dict)
    strangers: npt.ArrayLike = field(default_factory=lambda: np.empty((0, 1)))
    twins: Mapping[str, Sequence[int]] = field(default_factory=dict)
    varied: Embeddings = field(default_factory=dict)
    base: Embeddings = field(default_factory=dict)


def leak_blocks(
    given: Untriggered, references: Embeddings, learned: Set[str], each: int, noise: Mapping[str, Sequence[int]]
) -> list[Block]:
    """In which of the pictures one of the `learned` concepts is seen: one row an image, by stratum `class` and noun.

    references: of every concept of the sequence. each: images a prompt of the stratum; a noun has one prompt. noise:
    seeds, by stratum and noun.
    """
    blocks: list[Block] = []
    for name, x in given.judged.items():
        finite = formulas.finite_rows(x)
        size = len(finite)
        if not size:
            continue
        where = numbered(name, size, each if name == STRATUM else size, noise.get(name)) | {"metric": "class_leak"}
        twins = np.asarray(given.twins.get(name, [-1] * size), dtype=np.int64)
        found = leaked(x, references, given.strangers, twins, learned)
        why = np.where(finite, NO_STRANGER, "the image's embedding is not finite").astype(object)
        blocks.append({**where, "value": found.correct, "seen": found.seen, "margin": found.margin, "reason": why})
    return blocks or [_missing("class_leak", "no picture of a class was drawn without a trigger")]


def diversity_blocks(given: Untriggered, reason: str = NONE_ASKED_FOR) -> list[Block]:
    """By class noun, how many different pictures its prompt gives, relative to as many of the base model's."""
    blocks: list[Block] = []
    for noun, x in given.varied.items():
        base = np.asarray(given.base.get(noun, ()))
        rows = np.asarray(x)[: len(base)]
        why = None
        if len(base) < 2 or len(rows) < len(base):
            why, value = "needs two images or more, and as many of the base model", float("nan")
        else:
            value = formulas.vendi(rows) / formulas.vendi(base)
        blocks.append({"concept": noun, "metric": "class_diversity", "value": value, "n": len(rows), "reason": why})
    return blocks or [_missing("class_diversity", reason)]


def _missing(metric: str, reason: str) -> dict[str, Any]:
    return {"concept": STRATUM, "metric": metric, "value": None, "n": 0, "reason": reason}
