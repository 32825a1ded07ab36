"""The concepts' classes: their nouns, pictures of them, and nobody in particular, the base model's own pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from cat_bench.benchmark.planning.items import class_prompts
from cat_bench.benchmark.planning.plan import Plan
from cat_bench.benchmark.store.files import Arrays
from cat_bench.results.scoring.class_rows import STRATUM
from cat_bench.results.scoring.scores import Nouns, Untriggered
from cat_bench.tasks.avatars.concept import AvatarConcept
from cat_bench.tasks.avatars.drawing import with_articles
from cat_bench.tasks.avatars.vocabulary import vocabulary
from cat_bench.tasks.photos.captions import fill
from cat_bench.tasks.sequence import Sequence

# What a photo could show instead of a concept of the sequence.
COMMON = ("person", "cat", "dog", "bird", "car", "house", "tree", "flower", "chair", "bottle", "book", "mountain")


@dataclass(frozen=True)
class Choice:
    """Class nouns to choose from, for a look at the class without a part reader, and the texts that stand for them."""

    name: str
    nouns: tuple[str, ...]
    texts: tuple[str, ...]


def choices(sequence: Sequence) -> dict[str, Choice]:
    """By concept: of inhabitants of the avatar world all its kinds, of photos the sequence's nouns and common ones."""
    kinds = tuple(kind.noun for kind in vocabulary().kinds.values())
    avatars = Choice("avatars", kinds, tuple(with_articles(f"a {noun}") for noun in kinds))
    shown = [concept.noun for concept in sequence.concepts if not isinstance(concept, AvatarConcept)]
    different = {noun.casefold(): noun for noun in reversed([*shown, *COMMON])}  # the sequence's own spelling
    nouns = tuple(sorted(different.values()))
    photos = Choice("photos", nouns, tuple(fill("a photo of a {}", noun) for noun in nouns))
    return {c.id: avatars if isinstance(c, AvatarConcept) else photos for c in sequence.concepts}


def nouns_of(sequence: Sequence, known: Arrays) -> dict[str, Nouns]:
    """By concept, its class among others. known: with the embedded texts `nouns/<choice>` (k, d)."""
    found = choices(sequence)
    own = {c.id: next(n for n in found[c.id].nouns if n.casefold() == c.noun.casefold()) for c in sequence.concepts}
    return {id: Nouns(choice.nouns, known[f"nouns/{choice.name}"], own[id]) for id, choice in found.items()}


def strangers(plan: Plan, preservation: Arrays) -> Arrays:
    """By concept the embeddings (m, d) of the base model's pictures for those prompts that name its class.

    preservation: (n, d) of stage 0 by stratum. A sequence without such a prompt leaves (0, d) of it.
    """
    rows, each = preservation.get(STRATUM, np.empty((0, 1))), plan.spec.preservation_images
    found: Arrays = {}
    for concept in plan.sequence.concepts:
        named = [number for number, nouns in enumerate(_named(plan)) if concept.noun.lower() in nouns]
        found[concept.id] = rows[[number * each + image for number in named for image in range(each)]]
    return found


def _named(plan: Plan) -> list[set[str]]:
    """The concepts' nouns that each prompt of the stratum `class` names."""
    # The longest first: "a voxel robot" names a voxel robot, and no robot.
    nouns = sorted({concept.noun.lower() for concept in plan.sequence.concepts}, key=len, reverse=True)
    any_noun = re.compile(rf"\b(?:{'|'.join(map(re.escape, nouns))})\b")
    return [set(any_noun.findall(text.lower())) for text in plan.sequence.preservation.get(STRATUM, ())]


def untriggered(plan: Plan, stage: Arrays, base: Arrays) -> Untriggered:
    """A stage's pictures that were drawn without a trigger beside the base model's. stage, base: all their embeddings.

    Strangers are all pictures of the base model whose prompt names a class; each is the twin of the stage's of the same
    number, since both have one prompt and one noise.
    """
    each, rows = plan.spec.preservation_images, f"preservation/{STRATUM}"
    there = [number * each + image for number, nouns in enumerate(_named(plan)) if nouns for image in range(each)]
    nothing, varied = np.empty((0, 1)), _varied(plan, stage)
    pictures = stage.get(rows, nothing)
    twins = np.full(len(pictures), -1)
    twins[there] = np.arange(len(there))
    nobody = base.get(rows, nothing)[there]
    return Untriggered({STRATUM: pictures, **varied}, nobody, {STRATUM: twins.tolist()}, varied, _varied(plan, base))


def world(plan: Plan, known: Arrays, base: Arrays) -> Untriggered:
    """The like of `untriggered` of the world's own pictures of the classes, as far as it draws any.

    Here nobody is the world's other pictures: beside the base model's, any clean drawing would be somebody.
    """
    nouns = class_prompts(plan.sequence)
    drawn = {noun: known[f"class/{noun}"] for noun in nouns if f"class/{noun}" in known}
    ends = np.cumsum([len(rows) for rows in drawn.values()]).tolist()
    twins = {noun: range(end - len(rows), end) for (noun, rows), end in zip(drawn.items(), ends, strict=True)}
    strangers = np.concatenate(list(drawn.values())) if drawn else np.empty((0, 1))
    return Untriggered(drawn, strangers, twins, drawn, _varied(plan, base))


def class_pictures(plan: Plan, known: Arrays, base: Arrays) -> Arrays:
    """By concept (m, d) pictures of its class: the world's, or for photos all of the base model's own."""
    strata = {STRATUM: base.get(f"preservation/{STRATUM}", np.empty((0, 1)))}
    nobody, varied = strangers(plan, strata), _varied(plan, base)
    found: Arrays = {}
    for concept in plan.sequence.concepts:
        own = [rows for rows in (nobody[concept.id], varied.get(concept.noun)) if rows is not None and len(rows)]
        name = f"class/{concept.noun}"
        if isinstance(concept, AvatarConcept):
            found[concept.id] = known[name]
        elif own:
            found[concept.id] = np.concatenate(own)
    return found


def _varied(plan: Plan, embeddings: Arrays) -> Arrays:
    """(n, d) by class noun of its one prompt."""
    groups = {noun: f"diversity/{noun}" for noun in class_prompts(plan.sequence)}
    return {noun: embeddings[group] for noun, group in groups.items() if group in embeddings}
