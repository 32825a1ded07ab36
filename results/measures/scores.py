"""From the embeddings of one stage to its rows of the long table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cat_bench.results.measures.concept_rows import Embeddings, Known, SecondOpinion, ceiling_blocks, concept_blocks
from cat_bench.results.measures.preservation_rows import ALL, preservation_blocks, unchanged_blocks, unrelated_blocks
from cat_bench.results.records.long_table import BASE, OTHER_NOISE, REAL, frame

__all__ = ["ALL", "Known", "SecondOpinion", "score_base", "score_other_noise", "score_real", "score_stage"]


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
) -> pd.DataFrame:
    """All rows of one stage of one cell.

    cell: `method`, `sequence`, `order`, `seed`; other keys are ignored. concepts: per concept the embeddings of its
    generated images (prompts x images, d), all images of the first prompt first. known: what they are compared with; it
    has EVERY concept of the sequence. texts: (prompts, d) per concept. preservation and base_preservation: (n, d) per
    stratum, the same prompts and noise row by row, with `preservation_images` images a prompt. extractor: id of the
    model that made all these.

    Raises ResultError where shapes do not fit. What cannot be computed is a row with a null value and a reason.
    """
    key = {k: cell[k] for k in ("method", "sequence", "order", "seed")} | {"stage": stage, "extractor": extractor}
    blocks = [b for c, x in concepts.items() for b in concept_blocks(c, x, texts, known)]
    blocks += preservation_blocks(preservation, base_preservation, preservation_images)
    return frame([key | b for b in blocks])


def score_base(
    sequence: str,
    concepts: Embeddings,
    known: Known,
    texts: Embeddings,
    preservation: Embeddings,
    *,
    extractor: str,
    preservation_images: int = 1,
) -> pd.DataFrame:
    """The floor: the same scores for the untouched backbone (method "base", stage 0), every concept.

    Its preservation scores compare base images of DIFFERENT prompts of a stratum (and, for "all", of any two prompts):
    what a model scores that has nothing left in common with the base but the kind of picture. Arguments as in
    `score_stage`.
    """
    key = {"method": BASE, "sequence": sequence, "order": 0, "seed": 0, "stage": 0, "extractor": extractor}
    blocks = [b for c, x in concepts.items() for b in concept_blocks(c, x, texts, known)]
    blocks += unrelated_blocks(preservation, preservation_images)
    return frame([key | b for b in blocks])


def score_other_noise(
    sequence: str, preservation: Embeddings, other: Embeddings, *, extractor: str, preservation_images: int = 1
) -> pd.DataFrame:
    """The preservation scores of the untouched backbone's images from OTHER noise (method "other_noise", stage 0).

    What a model scores that draws every prompt as the base model does, but other pictures: between the floor and 1.
    other: (n, d) per stratum, the same prompts as `preservation` row by row. Further arguments as in `score_stage`.
    """
    key = {"method": OTHER_NOISE, "sequence": sequence, "order": 0, "seed": 0, "stage": 0, "extractor": extractor}
    return frame([key | b for b in preservation_blocks(other, preservation, preservation_images)])


def score_real(
    sequence: str,
    known: Known,
    strata: tuple[str, ...] = (),
    reference_texts: Embeddings | None = None,
    *,
    extractor: str,
) -> pd.DataFrame:
    """The ceiling: the references scored against each other, each left out of what it is compared with (method "real").

    strata: names of the preservation strata, whose ceiling is 1 by definition (the base model against itself).
    reference_texts: captions (m, d) of the references; without them clip_t has no ceiling and is null.
    known, extractor: as in `score_stage`.
    """
    key = {"method": REAL, "sequence": sequence, "order": 0, "seed": 0, "stage": 0, "extractor": extractor}
    blocks = [b for concept in known.references for b in ceiling_blocks(concept, reference_texts or {}, known)]
    return frame([key | b for b in [*blocks, *unchanged_blocks(strata)]])
