"""What the part reader reads off the concepts' pictures, from stored vectors, beside what is true of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from cat_bench.benchmark.planning.engine import Reader
from cat_bench.benchmark.store.files import Arrays
from cat_bench.results.scoring.scores import Reading, Readings
from cat_bench.tasks.avatars.asked import Wanted
from cat_bench.tasks.avatars.concept import AvatarConcept
from cat_bench.tasks.concept import Concept

NO_PARTS = "a photo has no named parts that could be read"
NO_READER = "the metric model has no part reader"
Asked = Callable[[AvatarConcept], Sequence[Wanted]]  # of each picture of a concept


def of_prompts(each: int) -> Asked:
    """What the evaluation prompts ask of their pictures, `each` a prompt."""
    return lambda concept: [concept.asked(template) for template in concept.prompts for _ in range(each)]


def of_references(concept: AvatarConcept) -> Sequence[Wanted]:
    """What the references' captions say of them."""
    return [concept.asked(caption) for caption in concept.reference_captions]


def readings(reader: Reader | None, concepts: Iterable[Concept], vectors: Arrays, asked: Asked) -> Readings:
    """By concept. vectors: of its pictures (n, d)."""
    found: dict[str, Reading | str] = {}
    for concept in concepts:
        if not isinstance(concept, AvatarConcept):
            found[concept.id] = NO_PARTS
        elif reader is None:
            found[concept.id] = NO_READER
        else:
            found[concept.id] = _reading(concept, reader.read(vectors[concept.id]), asked(concept))
    return found


def _reading(concept: AvatarConcept, said: Mapping[str, Sequence[str]], asked: Sequence[Wanted]) -> Reading | str:
    needed = {"class", *concept.identity_answers, *(question for wanted in asked for question in wanted)}
    if unknown := sorted(needed - set(said)):
        return f"the metric model's part reader has no question {unknown[0]!r}: it was made for another edition"
    return Reading(said, concept.kind.id, concept.identity_answers, concept.held_out_questions, asked)
