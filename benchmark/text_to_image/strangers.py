"""Nobody in particular: the base model's own pictures of a concept's class, drawn without any trigger."""

from __future__ import annotations

import re

import numpy as np

from cat_bench.benchmark.planning.plan import Plan
from cat_bench.benchmark.text_to_image.references import Arrays

STRATUM = "class"


def strangers(plan: Plan, preservation: Arrays) -> Arrays:
    """By concept the embeddings (m, d) of the base model's pictures for those prompts that name its class.

    preservation: (n, d) of stage 0 by stratum. A sequence without such a prompt leaves (0, d) of it.
    """
    prompts, rows = plan.sequence.preservation.get(STRATUM, ()), preservation.get(STRATUM, np.empty((0, 1)))
    each = plan.spec.preservation_images
    # The longest first: "a voxel robot" names a voxel robot, and no robot.
    nouns = sorted({concept.noun.lower() for concept in plan.sequence.concepts}, key=len, reverse=True)
    any_noun = re.compile(rf"\b(?:{'|'.join(map(re.escape, nouns))})\b")
    naming = [set(any_noun.findall(text.lower())) for text in prompts]
    found: Arrays = {}
    for concept in plan.sequence.concepts:
        named = [number for number, nouns_named in enumerate(naming) if concept.noun.lower() in nouns_named]
        found[concept.id] = rows[[number * each + image for number in named for image in range(each)]]
    return found
