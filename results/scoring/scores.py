"""From the embeddings of one stage to its rows of the long table."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cat_bench.results.records.long_table import BASE, OTHER_NOISE, REAL, frame
from cat_bench.results.scoring.class_rows import NONE_ASKED_FOR, Untriggered, diversity_blocks, leak_blocks
from cat_bench.results.scoring.concept_rows import (
    UNREAD,
    Embeddings,
    Known,
    SecondOpinion,
    ceiling_blocks,
    concept_blocks,
)
from cat_bench.results.scoring.preservation_rows import ALL, preservation_blocks, unchanged_blocks, unrelated_blocks
from cat_bench.results.scoring.reading_rows import Block, Nouns, Reading, Readings

__all__ = [
    "ALL",
    "Known",
    "Noise",
    "Nouns",
    "Reading",
    "Readings",
    "SecondOpinion",
    "Untriggered",
    "score_base",
    "score_other_noise",
    "score_real",
    "score_stage",
]


NO_REAL = "there are no pictures of the class but the base model's own"


@dataclass(frozen=True)
class Noise:
    """Seeds of the images' noise, in the order of their embeddings: by concept, preservation stratum, class noun."""

    concepts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    preservation: Mapping[str, Sequence[int]] = field(default_factory=dict)
    varied: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def untriggered(self) -> dict[str, Sequence[int]]:
        """Of what is drawn without a trigger."""
        return {**self.preservation, **self.varied}


def score_stage(
    cell: Mapping[str, Any],
    stage: int,
    concepts: Embeddings,
    known: Known,
    texts: Embeddings,
    preservation: Embeddings,
    base_preservation: Embeddings,
    *,
    extractor: str,
    preservation_images: int = 1,
    noise: Noise = Noise(),
    readings: Readings | None = None,
    untriggered: Untriggered | None = Untriggered(),
) -> pd.DataFrame:
    """All rows of one stage of one cell.

    cell: `method`, `order`, `seed`, and `sequence`, `backbone`, `protocol`, and `label` if it is not the method's name;
    other keys are ignored. concepts: per concept the embeddings of its generated images (prompts x images, d), all
    images of the first prompt first. known: what they are compared with; it has EVERY concept of the sequence. texts:
    (prompts, d) per concept. preservation and base_preservation: (n, d) per stratum, the same prompts and noise row by
    row, with `preservation_images` images a prompt. extractor: id of the model that made all these. noise: what the
    images were drawn from; null without it.
    readings: what was read off the concepts' images. untriggered: pictures of the classes without a trigger; None: the
    stage was to draw none, and has no rows of them.

    Raises ResultError where shapes do not fit. What cannot be computed is a row with a null value and a reason.
    """
    key = _key(cell, cell["method"], extractor) | {"order": cell["order"], "seed": cell["seed"], "stage": stage}
    key["label"] = cell.get("label", cell["method"])
    blocks = _concepts(concepts, known, texts, noise, readings)
    if untriggered is not None:
        blocks += _classes(untriggered, known, concepts.keys(), preservation_images, noise)
    blocks += preservation_blocks(preservation, base_preservation, preservation_images, noise.preservation)
    return frame([key | b for b in blocks])


def score_base(
    run: Mapping[str, Any],
    concepts: Embeddings,
    known: Known,
    texts: Embeddings,
    preservation: Embeddings,
    *,
    extractor: str,
    preservation_images: int = 1,
    noise: Noise = Noise(),
    readings: Readings | None = None,
    untriggered: Untriggered = Untriggered(),
    method: str = BASE,
) -> pd.DataFrame:
    """The floor: the same scores for the untouched backbone (method "base", stage 0), every concept.

    Its preservation scores compare base images of DIFFERENT prompts of a stratum (and, for "all", of any two prompts):
    what a model scores that has nothing left in common with the base but the kind of picture. In its pictures without a
    trigger every concept of the sequence would be a leak. run: `sequence`, `backbone`, `protocol`; other keys are
    ignored. method: BASE_TOKEN where `concepts` were drawn without the class noun. Further arguments as in
    `score_stage`.
    """
    key = _key(run, method, extractor)
    blocks = _concepts(concepts, known, texts, noise, readings)
    blocks += _classes(untriggered, known, known.references.keys(), preservation_images, noise)
    blocks += unrelated_blocks(preservation, preservation_images)
    return frame([key | b for b in blocks])


def score_other_noise(
    run: Mapping[str, Any],
    preservation: Embeddings,
    other: Embeddings,
    *,
    extractor: str,
    preservation_images: int = 1,
    noise: Noise = Noise(),
) -> pd.DataFrame:
    """The preservation scores of the untouched backbone's images from OTHER noise (method "other_noise", stage 0).

    What a model scores that draws every prompt as the base model does, but other pictures: between the floor and 1.
    other: (n, d) per stratum, the same prompts as `preservation` row by row, drawn from `noise`. Further arguments as
    in `score_base`.
    """
    key = _key(run, OTHER_NOISE, extractor)
    return frame([key | b for b in preservation_blocks(other, preservation, preservation_images, noise.preservation)])


def score_real(
    run: Mapping[str, Any],
    known: Known,
    strata: tuple[str, ...] = (),
    reference_texts: Embeddings | None = None,
    *,
    extractor: str,
    readings: Readings | None = None,
    untriggered: Untriggered = Untriggered(),
) -> pd.DataFrame:
    """The ceiling: the references scored against each other, each left out of what it is compared with (method "real").

    strata: names of the preservation strata, whose ceiling is 1 by definition (the base model against itself).
    reference_texts: captions (m, d) of the references; without them clip_t has no ceiling and is null.
    readings: what was read off the references, each asked for what its caption says. untriggered: the world's own
    pictures of the classes, as far as there are any, each stranger to the others. Further arguments as in `score_base`.
    """
    key, texts = _key(run, REAL, extractor), reference_texts or {}
    blocks = [b for c in known.references for b in ceiling_blocks(c, texts, known, (readings or {}).get(c, UNREAD))]
    blocks += _classes(untriggered, known, known.references.keys(), 1, Noise(), NO_REAL)
    return frame([key | b for b in [*blocks, *unchanged_blocks(strata)]])


def _concepts(
    concepts: Embeddings, known: Known, texts: Embeddings, noise: Noise, readings: Readings | None
) -> list[Block]:
    blocks: list[Block] = []
    for concept, x in concepts.items():
        reading = (readings or {}).get(concept, UNREAD)
        blocks += concept_blocks(concept, x, texts, known, noise.concepts.get(concept), reading)
    return blocks


def _classes(
    untriggered: Untriggered, known: Known, learned: Set[str], each: int, noise: Noise, nothing: str = NONE_ASKED_FOR
) -> list[Block]:
    leaks = leak_blocks(untriggered, known.references, learned, each, noise.untriggered)
    return leaks + diversity_blocks(untriggered, nothing)


def _key(run: Mapping[str, Any], method: str, extractor: str) -> dict[str, Any]:
    """The columns that all rows of a table share; what does not learn has neither order nor seed."""
    shared = {k: run[k] for k in ("sequence", "backbone", "protocol")}
    return shared | {"method": method, "order": None, "seed": None, "stage": 0, "extractor": extractor}
