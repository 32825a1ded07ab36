"""The images that a stage draws: of which prompt, from which noise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import RunSpec

if TYPE_CHECKING:
    from cat_bench.tasks.concept import Concept
    from cat_bench.tasks.sequence import Sequence as TaskSequence

NOISE_ROOT = 0  # of the `eval` stream: one for all runs, so that every method, stage and training seed is comparable


@dataclass(frozen=True)
class Item:
    """One image to sample. group: its kind, `concept`, `preservation`, `diversity` or `other_noise`, then `/` and the
    concept, the stratum or the class noun; prompt, image: its numbers in there.
    """

    group: str
    prompt: int
    image: int
    text: str
    seed: int

    @property
    def kind(self) -> str:
        """What it is drawn for; images of two kinds share no batch."""
        return self.group.partition("/")[0]

    @property
    def of_concept(self) -> bool:
        """Whether it shows a concept, and so is compared with references."""
        return self.kind == "concept"

    @property
    def path(self) -> str:
        """Where the image lies in a stage's folder."""
        folder = "/".join(re.sub(r"[^\w .-]", "_", part) for part in self.group.split("/", 1))
        return f"{keys.IMAGES}/{folder.removeprefix('concept/')}/{self.prompt:02d}-{self.image}.png"


def reference_texts(concept: Concept) -> list[str]:
    """What images of the evaluation prompts should show, in words: the trigger replaced by the class noun."""
    return [concept.fill(template, "noun") for template in concept.prompts]


def stage_items(spec: RunSpec, sequence: TaskSequence, concepts: Sequence[Concept], form: str) -> Iterator[Item]:
    """What a stage draws of the concepts it has learned (form: how they are named), and of what it should keep."""
    for concept in concepts:
        for prompt, template in enumerate(concept.prompts):
            for image in range(spec.images_per_prompt):
                # The template, not the filled prompt: methods that name a concept differently get the same noise.
                seed = stream(NOISE_ROOT, "eval", concept.id, template, image)
                yield Item(f"concept/{concept.id}", prompt, image, concept.fill(template, form), seed)
    yield from _preservation(spec, sequence, "preservation")
    for noun, text in class_prompts(sequence).items():
        for image in range(spec.diversity_images):
            yield Item(f"diversity/{noun}", 0, image, text, stream(NOISE_ROOT, "eval", "diversity", text, image))


def class_prompts(sequence: TaskSequence) -> dict[str, str]:
    """The prompt "a NOUN" of each different class noun of the sequence."""
    return {concept.noun: concept.fill("a {}", "noun") for concept in sequence.concepts}


def other_noise_items(spec: RunSpec, sequence: TaskSequence) -> Iterator[Item]:
    """The preservation prompts once more, from noise that no method's images are drawn from."""
    yield from _preservation(spec, sequence, "other_noise", "other noise")


def _preservation(spec: RunSpec, sequence: TaskSequence, kind: str, *axes: str) -> Iterator[Item]:
    for stratum, prompts in sequence.preservation.items():
        for prompt, text in enumerate(prompts):
            for image in range(spec.preservation_images):
                seed = stream(NOISE_ROOT, "eval", *axes, stratum, text, image)
                yield Item(f"{kind}/{stratum}", prompt, image, text, seed)
