"""Rows of the long table about what is left of the base model: pairs of its images and others', by stratum."""

from collections.abc import Mapping, Sequence

import numpy as np

from cat_bench.results.errors import ResultError
from cat_bench.results.scoring import formulas
from cat_bench.results.scoring.concept_rows import Embeddings, numbered
from cat_bench.results.scoring.reading_rows import Block

ALL = "all"  # stratum of the scores over all strata together


def preservation_blocks(
    adapted: Embeddings, base: Embeddings, each: int, noise: Mapping[str, Sequence[int]]
) -> list[Block]:
    """KPS of the pairs of one prompt, per stratum and for all together; `each` images a prompt.

    noise: by stratum the seeds of the adapted images'.
    """
    blocks: list[Block] = []
    cosines = []
    for stratum, x in adapted.items():
        if stratum not in base:
            raise ResultError(f"preservation stratum {stratum!r} has no images of the base model to compare with")
        cosine = formulas.kps_cosine(base[stratum], x)
        cosines.append(cosine)
        where = numbered(stratum, len(cosine), each, noise.get(stratum))
        blocks.append({**where, "metric": "kps_cos", "value": cosine, "reason": "the image's embedding is not finite"})
        blocks.append(_kps_block(stratum, cosine))
    if cosines:
        together = np.concatenate(cosines)
        blocks.append({"concept": ALL, "metric": "kps_cos", "value": float(together.mean()), "n": together.size})
        blocks.append(_kps_block(ALL, together))
    return [b for b in blocks if np.size(b["value"])]


def unrelated_blocks(base: Embeddings, each: int) -> list[Block]:
    """KPS of all pairs of base images whose prompts differ, per stratum and for all together."""
    if not base:
        return []
    units = {stratum: formulas.unit(x) for stratum, x in base.items()}
    prompt = {stratum: np.arange(len(x)) // each for stratum, x in units.items()}
    # prompts of different strata are different prompts, also when they have the same number
    offsets = np.cumsum([0, *(int(p.max(initial=-1)) + 1 for p in prompt.values())])
    together = np.concatenate([p + o for p, o in zip(prompt.values(), offsets[:-1], strict=True)])
    groups = [(s, units[s], prompt[s]) for s in units] + [(ALL, np.concatenate(list(units.values())), together)]
    blocks: list[Block] = []
    for stratum, rows, number in groups:
        first, second = np.triu_indices(len(rows), k=1)
        unrelated = number[first] != number[second]
        cosine = (rows @ rows.T)[first, second][unrelated]
        mean = float(cosine.mean()) if cosine.size else float("nan")
        few = None if cosine.size else "needs two prompts or more"
        blocks.append({"concept": stratum, "metric": "kps_cos", "value": mean, "n": cosine.size, "reason": few})
        blocks.append(_kps_block(stratum, cosine) | {"reason": few})
    return blocks


def unchanged_blocks(strata: tuple[str, ...]) -> list[Block]:
    """The ceiling, 1 by definition: the base model against itself."""
    names = (*strata, ALL) if strata else ()
    return [{"concept": name, "metric": metric, "value": 1.0} for name in names for metric in ("kps_cos", "kps")]


def _kps_block(stratum: str, cosine: formulas.Array) -> Block:
    value = formulas.kps(cosine)
    reason = "no pairs" if cosine.size == 0 else "an image's embedding is not finite"
    return {"concept": stratum, "metric": "kps", "value": value, "n": cosine.size, "reason": reason}
