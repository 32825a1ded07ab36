"""One adapter for each concept, sampled with its own."""

import re
from collections.abc import Sequence

from cat_bench.methods.base import Concept
from cat_bench.methods.merge import Merge
from cat_bench.methods.registry import register
from cat_bench.methods.settings import COMMON


@register("isolated")
class Isolated(Merge):
    """Isolated adapters (a reference): each concept trains on W0 alone and is drawn with its own adapter alone.

    W = W0 + Σ_i [trigger i is in the prompt] · B_i A_i. A prompt without a known trigger is the untouched backbone's;
    one with several gets the sum of their adapters. Nothing is shared, so nothing can be forgotten.
    """

    title = "Isolated adapters"
    source = "reference: one adapter a concept (LoRA: Hu et al. 2021, arXiv 2106.09685)"
    carries = "all adapters"
    keeps_factors = True
    reference = True
    presets = {**COMMON, "avatars64.v2": {"steps": 80, "lr": 6e-3, "rank": 4}}

    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        return [float(names(prompt, concept)) for concept in concepts]


def names(prompt: str, concept: Concept) -> bool:
    """Whether a concept's trigger is in the prompt, as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(concept.trigger)}(?!\w)", prompt, re.IGNORECASE) is not None
