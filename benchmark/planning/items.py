"""The images that a stage draws: of which prompt, from which noise, and which are made and embedded together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import RunSpec, Stages

if TYPE_CHECKING:
    from cat_bench.tasks.concept import Concept
    from cat_bench.tasks.sequence import Sequence as TaskSequence

CONCEPT, TOKEN = "concept", "token"  # kinds of images that show a concept
NOISE_ROOT = 0  # of the `eval` stream: one for all runs, so that every method, stage and training seed is comparable


@dataclass(frozen=True)
class Item:
    """One image to sample. group: its kind, `concept`, `token`, `preservation`, `diversity` or `other_noise`, then `/`
    and the concept, the stratum or the class noun; prompt, image: its numbers in there.

    A stage's images of a concept are `concept/ID`, however its method's prompts name that. The untouched backbone draws
    these with the class noun, and those without it, if any method needs them, are `token/ID`.
    """

    group: str
    prompt: int
    image: int
    text: str
    seed: int

    @property
    def kind(self) -> str:
        """What it is drawn for."""
        return self.group.partition("/")[0]

    @property
    def company(self) -> str:
        """Images of two companies share no batch: a concept's are made among themselves, others with their kind.

        So an image is the same to the last bit whichever other concepts are drawn at the same stage.
        """
        return self.group if self.of_concept else self.kind

    @property
    def of_concept(self) -> bool:
        """Whether it shows a concept, and so is compared with references."""
        return self.kind in (CONCEPT, TOKEN)

    @property
    def path(self) -> str:
        """What the image is called among a stage's: as a file below a folder of images."""
        folder = "/".join(re.sub(r"[^\w .-]", "_", part) for part in self.group.split("/", 1))
        return f"{folder.removeprefix('concept/')}/{self.prompt:02d}-{self.image}.png"


def portions(companies: Sequence[str], size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` pictures that never hold two companies, in order.

    What a picture is made beside shows in its last bits. So those of a company share their portions with no other
    (`Item.company`): they are the same however many concepts are drawn before them.
    """
    start = 0
    for _, members in groupby(companies):
        end = start + len(list(members))
        yield from (slice(first, min(first + size, end)) for first in range(start, end, size))
        start = end


def reference_texts(concept: Concept) -> list[str]:
    """What images of the evaluation prompts should show, in words: the trigger replaced by the class noun."""
    return [concept.fill(template, "noun") for template in concept.prompts]


def sampled(stages: Stages, learned: Sequence[Concept], *, last: bool) -> tuple[tuple[Concept, ...], bool]:
    """Which of the concepts learned so far a stage draws, and whether it draws what the model should keep.

    The one just learned comes first: where fewer were drawn before, work goes on behind it.
    """
    if stages == "all" or last:
        return (*learned[-1:], *learned[:-1]), True
    return (tuple(learned[-1:]) if stages == "diagonal+last" else ()), False


@dataclass(frozen=True)
class Drawn:
    """Items in order, and a digest of each one's path, prompt and noise seed."""

    items: tuple[Item, ...]
    digest: str

    @classmethod
    def of(cls, items: Iterable[Item]) -> Drawn:
        """These items."""
        found = tuple(items)
        return cls(found, keys.digest(*((item.path, item.text, item.seed) for item in found)))

    @classmethod
    def joined(cls, parts: Iterable[Drawn]) -> Drawn:
        """The parts one after another."""
        found = tuple(parts)
        return cls(tuple(item for part in found for item in part.items), keys.digest(*(part.digest for part in found)))


class Drawings:
    """What the stages of a run draw. Each item is made once: of 200 cells with 50 concepts there would be millions."""

    def __init__(self, spec: RunSpec, sequence: TaskSequence) -> None:
        self.spec, self.sequence = spec, sequence
        self._concepts: dict[tuple[str, str], Drawn] = {}
        self._stages: dict[tuple[str, ...], Drawn] = {}
        self._kept = Drawn.of((*_preservation(spec, sequence, "preservation"), *_diversity(spec, sequence)))

    def of_stage(self, concepts: Sequence[Concept], form: str, *, kept: bool = True) -> Drawn:
        """What is drawn of these concepts (form: how they are named) and, if `kept`, of what a model should keep."""
        name = (form, str(kept), *(concept.id for concept in concepts))
        if name not in self._stages:
            parts = (self._of_concept(concept, form) for concept in concepts)
            self._stages[name] = Drawn.joined((*parts, self._kept) if kept else parts)
        return self._stages[name]

    def of_base(self, *, token: bool = False) -> Drawn:
        """What the untouched backbone draws: all that any stage does, and what is to be kept again from other noise.

        token: whether any method's prompts do without the class noun. What they ask for then comes last.
        """
        concepts = self.sequence.concepts
        again = Drawn.of(_preservation(self.spec, self.sequence, "other_noise", "other noise"))
        bare = (item for concept in concepts for item in _concept(self.spec, concept, "token", TOKEN))
        parts = (self.of_stage(concepts, "trigger"), again)
        return Drawn.joined((*parts, Drawn.of(bare)) if token else parts)

    def _of_concept(self, concept: Concept, form: str) -> Drawn:
        if (concept.id, form) not in self._concepts:
            self._concepts[concept.id, form] = Drawn.of(_concept(self.spec, concept, form))
        return self._concepts[concept.id, form]


def class_prompts(sequence: TaskSequence) -> dict[str, str]:
    """The prompt "a NOUN" of each different class noun of the sequence."""
    return {concept.noun: concept.fill("a {}", "noun") for concept in sequence.concepts}


def _concept(spec: RunSpec, concept: Concept, form: str, kind: str = CONCEPT) -> Iterator[Item]:
    for prompt, template in enumerate(concept.prompts):
        for image in range(spec.images_per_prompt):
            # The template, not the filled prompt: methods that name a concept differently get the same noise.
            seed = stream(NOISE_ROOT, "eval", concept.id, template, image)
            yield Item(f"{kind}/{concept.id}", prompt, image, concept.fill(template, form), seed)


def _diversity(spec: RunSpec, sequence: TaskSequence) -> Iterator[Item]:
    for noun, text in class_prompts(sequence).items():
        for image in range(spec.diversity_images):
            yield Item(f"diversity/{noun}", 0, image, text, stream(NOISE_ROOT, "eval", "diversity", text, image))


def _preservation(spec: RunSpec, sequence: TaskSequence, kind: str, *axes: str) -> Iterator[Item]:
    for stratum, prompts in sequence.preservation.items():
        for prompt, text in enumerate(prompts):
            for image in range(spec.preservation_images):
                seed = stream(NOISE_ROOT, "eval", *axes, stratum, text, image)
                yield Item(f"{kind}/{stratum}", prompt, image, text, seed)
