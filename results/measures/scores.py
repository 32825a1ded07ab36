"""From the embeddings of one stage to its rows of the long table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cat_bench.results.errors import ResultError
from cat_bench.results.measures import formulas
from cat_bench.results.records.long_table import BASE, REAL, frame

Embeddings = Mapping[str, npt.ArrayLike]
ALL = "all"  # stratum of the preservation scores over all strata together


@dataclass(frozen=True)
class SecondOpinion:
    """DINO's embeddings of the same pictures, for `dino_i`: concepts and references as in `score_stage`.

    extractor: id of the model that made them. concepts: none for the ceiling, which needs the references alone.
    """

    extractor: str
    references: Embeddings
    concepts: Embeddings = field(default_factory=dict)


def score_stage(
    cell: Mapping[str, Any],
    stage: int,
    concepts: Embeddings,
    references: Embeddings,
    texts: Embeddings,
    preservation: Embeddings,
    base_preservation: Embeddings,
    *,
    extractor: str,
    preservation_images: int = 1,
    second: SecondOpinion | None = None,
) -> pd.DataFrame:
    """All rows of one stage of one cell.

    cell: `method`, `sequence`, `order`, `seed`; other keys are ignored. concepts: per concept the embeddings of its
    generated images (prompts x images, d), all images of the first prompt first. references: (m, d) of EVERY concept of
    the sequence. texts: (prompts, d) per concept. preservation and base_preservation: (n, d) per stratum, the same
    prompts and noise row by row, with `preservation_images` images a prompt. extractor: id of the model that made all
    these. second: another model's view of the same pictures; without it there are no rows of `dino_i`.

    Raises ResultError where shapes do not fit. What cannot be computed is a row with a null value and a reason.
    """
    key = {k: cell[k] for k in ("method", "sequence", "order", "seed")} | {"stage": stage, "extractor": extractor}
    blocks = [b for c, x in concepts.items() for b in _concept_blocks(c, x, references, texts, second)]
    blocks += _preservation_blocks(preservation, base_preservation, preservation_images)
    return frame([key | b for b in blocks])


def score_base(
    sequence: str,
    concepts: Embeddings,
    references: Embeddings,
    texts: Embeddings,
    preservation: Embeddings,
    *,
    extractor: str,
    preservation_images: int = 1,
    second: SecondOpinion | None = None,
) -> pd.DataFrame:
    """The floor: the same scores for the untouched backbone (method "base", stage 0), every concept.

    Its preservation scores compare base images of DIFFERENT prompts of a stratum (and, for "all", of any two prompts):
    what a model scores that has nothing left in common with the base but the kind of picture. Arguments as in
    `score_stage`.
    """
    key = {"method": BASE, "sequence": sequence, "order": 0, "seed": 0, "stage": 0, "extractor": extractor}
    blocks = [b for c, x in concepts.items() for b in _concept_blocks(c, x, references, texts, second)]
    blocks += _unrelated_blocks(preservation, preservation_images)
    return frame([key | b for b in blocks])


def score_real(
    sequence: str,
    references: Embeddings,
    strata: tuple[str, ...] = (),
    reference_texts: Embeddings | None = None,
    *,
    extractor: str,
    second: SecondOpinion | None = None,
) -> pd.DataFrame:
    """The ceiling: the references scored against each other, each left out of what it is compared with (method "real").

    strata: names of the preservation strata, whose ceiling is 1 by definition (the base model against itself).
    reference_texts: captions (m, d) of the references; without them clip_t has no ceiling and is null.
    extractor, second: as in `score_stage`.
    """
    key = {"method": REAL, "sequence": sequence, "order": 0, "seed": 0, "stage": 0, "extractor": extractor}
    blocks = [b for concept in references for b in _ceiling_blocks(concept, references, reference_texts or {}, second)]
    for stratum in (*strata, ALL) if strata else ():
        blocks += [{"concept": stratum, "metric": m, "value": 1.0} for m in ("kps_cos", "kps")]
    return frame([key | b for b in blocks])


def _by(second: SecondOpinion) -> dict[str, Any]:
    """The columns that tell the second model's rows from the first's."""
    return {"metric": "dino_i", "extractor": second.extractor}


def _concept_blocks(
    concept: str, x: npt.ArrayLike, references: Embeddings, texts: Embeddings, second: SecondOpinion | None
) -> list[dict[str, Any]]:
    """A concept's generated images x (prompts x images, d) against its references and the texts of its prompts."""
    if concept not in references or concept not in texts:
        raise ResultError(f"concept {concept!r} has images but no references or no prompt texts: embed them first")
    images, prompts = np.asarray(x, dtype=np.float64), np.asarray(texts[concept], dtype=np.float64)
    size = len(images)
    if size == 0:
        metrics = ("clip_i", "clip_t", "concept_accuracy", "mmd", "diversity")
        which = [{"metric": m} for m in metrics] + ([_by(second)] if second is not None else [])
        return [{"concept": concept, "value": None, "n": 0, "reason": "no images"} | w for w in which]
    if len(prompts) == 0 or size % len(prompts):
        raise ResultError(
            f"concept {concept!r} has {size} images for {len(prompts)} prompts: not the same for each prompt"
        )
    each = size // len(prompts)
    image = {"concept": concept, "prompt": np.arange(size) // each, "image": np.arange(size) % each}
    image["reason"] = "the image's embedding is not finite"
    scores = {
        "clip_i": formulas.clip_i(images, references[concept]),
        "clip_t": formulas.clip_t(images, np.repeat(prompts, each, axis=0)),
        "concept_accuracy": formulas.concept_accuracy(images, references, concept),
    }
    blocks: list[dict[str, Any]] = [{**image, "metric": metric, "value": value} for metric, value in scores.items()]
    if second is not None:
        seen = formulas.clip_i(second.concepts[concept], second.references[concept])
        if len(seen) != size:
            raise ResultError(f"concept {concept!r} has {size} images, of which {second.extractor} saw {len(seen)}")
        blocks.append({**image, **_by(second), "value": seen})
    distance = formulas.mmd(images, references[concept])
    few = "needs two images and two references or more" if min(size, len(np.asarray(references[concept]))) < 2 else None
    blocks.append({"concept": concept, "metric": "mmd", "value": distance, "n": size, "reason": few})
    blocks.append({"concept": concept, "metric": "diversity", "value": formulas.diversity(images), "n": size})
    return blocks


def _ceiling_blocks(
    concept: str, references: Embeddings, texts: Embeddings, second: SecondOpinion | None
) -> list[dict[str, Any]]:
    """A concept's references, each scored against those that are left when it is taken out."""
    rows = formulas.unit(references[concept])
    size, few = len(rows), "needs two references or more"
    image = {"concept": concept, "prompt": 0, "image": np.arange(size)}
    blocks: list[dict[str, Any]] = []
    blocks.append({**image, "metric": "clip_i", "value": formulas.clip_i_left_out(rows), "reason": few})
    if second is not None:
        seen = formulas.clip_i_left_out(second.references[concept])
        blocks.append({**image, **_by(second), "value": seen, "reason": few})
    accuracy = formulas.concept_accuracy_left_out(references, concept)
    blocks.append({**image, "metric": "concept_accuracy", "value": accuracy, "reason": few})
    if concept in texts:
        blocks.append({**image, "metric": "clip_t", "value": formulas.clip_t(rows, texts[concept])})
    else:
        reason = "the references were not drawn from the evaluation prompts"
        blocks.append({"concept": concept, "metric": "clip_t", "value": None, "n": size, "reason": reason})
    halves = formulas.mmd(rows[::2], rows[1::2])  # even against odd: the noise that is left when nothing differs
    reason = "needs four references or more"
    blocks.append({"concept": concept, "metric": "mmd", "value": halves, "n": size, "reason": reason})
    blocks.append({"concept": concept, "metric": "diversity", "value": formulas.diversity(rows), "n": size})
    return blocks


def _preservation_blocks(adapted: Embeddings, base: Embeddings, each: int) -> list[dict[str, Any]]:
    """KPS of the pairs of one prompt and noise, per stratum and for all together; `each` images a prompt."""
    blocks: list[dict[str, Any]] = []
    cosines = []
    for stratum, x in adapted.items():
        if stratum not in base:
            raise ResultError(f"preservation stratum {stratum!r} has no images of the base model to compare with")
        cosine = formulas.kps_cosine(base[stratum], x)
        cosines.append(cosine)
        index = np.arange(len(cosine))
        where = {"concept": stratum, "prompt": index // each, "image": index % each}
        blocks.append({**where, "metric": "kps_cos", "value": cosine, "reason": "the image's embedding is not finite"})
        blocks.append(_kps_block(stratum, cosine))
    if cosines:
        together = np.concatenate(cosines)
        blocks.append({"concept": ALL, "metric": "kps_cos", "value": float(together.mean()), "n": together.size})
        blocks.append(_kps_block(ALL, together))
    return [b for b in blocks if np.size(b["value"])]


def _unrelated_blocks(base: Embeddings, each: int) -> list[dict[str, Any]]:
    """KPS of all pairs of base images whose prompts differ, per stratum and for all together."""
    if not base:
        return []
    units = {stratum: formulas.unit(x) for stratum, x in base.items()}
    prompt = {stratum: np.arange(len(x)) // each for stratum, x in units.items()}
    # prompts of different strata are different prompts, also when they have the same number
    offsets = np.cumsum([0, *(int(p.max(initial=-1)) + 1 for p in prompt.values())])
    together = np.concatenate([p + o for p, o in zip(prompt.values(), offsets[:-1], strict=True)])
    groups = [(s, units[s], prompt[s]) for s in units] + [(ALL, np.concatenate(list(units.values())), together)]
    blocks: list[dict[str, Any]] = []
    for stratum, rows, number in groups:
        first, second = np.triu_indices(len(rows), k=1)
        unrelated = number[first] != number[second]
        cosine = (rows @ rows.T)[first, second][unrelated]
        mean = float(cosine.mean()) if cosine.size else float("nan")
        few = None if cosine.size else "needs two prompts or more"
        blocks.append({"concept": stratum, "metric": "kps_cos", "value": mean, "n": cosine.size, "reason": few})
        blocks.append(_kps_block(stratum, cosine) | {"reason": few})
    return blocks


def _kps_block(stratum: str, cosine: formulas.Array) -> dict[str, Any]:
    value = formulas.kps(cosine)
    reason = "no pairs" if cosine.size == 0 else "an image's embedding is not finite"
    return {"concept": stratum, "metric": "kps", "value": value, "n": cosine.size, "reason": reason}
