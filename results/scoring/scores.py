"""From the embeddings of one stage to its rows of the long table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cat_bench.results.records.long_table import BASE, OTHER_NOISE, REAL, frame
from cat_bench.results.scoring.concept_rows import Embeddings, Known, SecondOpinion, ceiling_blocks, concept_blocks
from cat_bench.results.scoring.preservation_rows import ALL, preservation_blocks, unchanged_blocks, unrelated_blocks

__all__ = ["ALL", "Known", "Noise", "SecondOpinion", "score_base", "score_other_noise", "score_real", "score_stage"]


@dataclass(frozen=True)
class Noise:
    """Seeds of the images' noise, in the order of their embeddings: by concept, and by preservation stratum."""

    concepts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    preservation: Mapping[str, Sequence[int]] = field(default_factory=dict)


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
) -> pd.DataFrame:
    """All rows of one stage of one cell.

    cell: `method`, `order`, `seed`, and `sequence`, `backbone`, `protocol`; other keys are ignored. concepts: per
    concept the embeddings of its generated images (prompts x images, d), all images of the first prompt first. known:
    what they are compared with; it has EVERY concept of the sequence. texts: (prompts, d) per concept. preservation and
    base_preservation: (n, d) per stratum, the same prompts and noise row by row, with `preservation_images` images a
    prompt. extractor: id of the model that made all these. noise: what the images were drawn from; null without it.

    Raises ResultError where shapes do not fit. What cannot be computed is a row with a null value and a reason.
    """
    key = _key(cell, cell["method"], extractor) | {"order": cell["order"], "seed": cell["seed"], "stage": stage}
    blocks = [b for c, x in concepts.items() for b in concept_blocks(c, x, texts, known, noise.concepts.get(c))]
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
) -> pd.DataFrame:
    """The floor: the same scores for the untouched backbone (method "base", stage 0), every concept.

    Its preservation scores compare base images of DIFFERENT prompts of a stratum (and, for "all", of any two prompts):
    what a model scores that has nothing left in common with the base but the kind of picture. run: `sequence`,
    `backbone`, `protocol`; other keys are ignored. Further arguments as in `score_stage`.
    """
    key = _key(run, BASE, extractor)
    blocks = [b for c, x in concepts.items() for b in concept_blocks(c, x, texts, known, noise.concepts.get(c))]
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
) -> pd.DataFrame:
    """The ceiling: the references scored against each other, each left out of what it is compared with (method "real").

    strata: names of the preservation strata, whose ceiling is 1 by definition (the base model against itself).
    reference_texts: captions (m, d) of the references; without them clip_t has no ceiling and is null.
    Further arguments as in `score_base`.
    """
    key = _key(run, REAL, extractor)
    blocks = [b for concept in known.references for b in ceiling_blocks(concept, reference_texts or {}, known)]
    return frame([key | b for b in [*blocks, *unchanged_blocks(strata)]])


def _key(run: Mapping[str, Any], method: str, extractor: str) -> dict[str, Any]:
    """The columns that all rows of a table share; what does not learn has neither order nor seed."""
    shared = {k: run[k] for k in ("sequence", "backbone", "protocol")}
    return shared | {"method": method, "order": None, "seed": None, "stage": 0, "extractor": extractor}
