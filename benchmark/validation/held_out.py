"""Pictures in place of generated ones: a stage whose pictures are there already is embedded and scored as any is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.items import Item
from cat_bench.benchmark.planning.keys import SCORES
from cat_bench.benchmark.planning.plan import Plan, StagePlan, make_plan
from cat_bench.benchmark.store.files import png, write_bytes
from cat_bench.benchmark.store.images import loose
from cat_bench.benchmark.text_to_image.references import REFERENCES, prepare_references
from cat_bench.benchmark.validation.damages import Pixels
from cat_bench.benchmark.validation.setup import Setup
from cat_bench.results.records.long_table import read_scores
from cat_bench.tasks.avatars.concept import AvatarConcept
from cat_bench.tasks.avatars.drawing import Picture
from cat_bench.tasks.concept import Concept
from cat_bench.tasks.photos.concept import PhotoConcept


@dataclass(frozen=True)
class _Part(AvatarConcept):
    """An inhabitant of which only some references are there."""

    kept: slice

    @cached_property
    def reference_pictures(self) -> tuple[Picture, ...]:
        return super().reference_pictures[self.kept]


def held_out(concept: Concept, prompts: tuple[str, ...], references: slice) -> Concept:
    """The concept asked for by these prompts, and judged by some of its references.

    Raises SpecError for a concept that is neither of the avatar world nor made of photos.
    """
    if isinstance(concept, AvatarConcept):
        return _Part(concept.id, concept.trigger, concept.look, prompts, references)
    if isinstance(concept, PhotoConcept):
        return replace(concept, prompts=prompts, references=concept.references[references])
    raise SpecError(f"concept {concept.id} cannot be validated with: it is neither drawn nor made of photos")


def captions(concept: Concept, count: int) -> tuple[str, ...]:
    """What `count` references show, as templates: of the world what varies, of photos nothing but the concept."""
    return concept.reference_captions if isinstance(concept, AvatarConcept) else ("a {}",) * count


@dataclass(frozen=True)
class Bench:
    """Where pictures are put to be judged. plan: of the sequence with its concepts as they are held out here."""

    setup: Setup
    plan: Plan

    @classmethod
    def prepared(cls, setup: Setup, name: str, concepts: Sequence[Concept]) -> Bench:
        """For these concepts in place of the setup's own; the base model's pictures are the setup's."""
        whole = setup.plan
        sequence = replace(whole.sequence, concepts=tuple(concepts))
        spec = whole.spec.model_copy(update={"images_per_prompt": 1})
        own = make_plan(spec, whole.folder / name, sequence, whole.identity)
        prepare_references(own, setup.engine, own.folder / REFERENCES)
        return cls(setup, replace(own, base=replace(own.base, place=whole.base.place)))

    def score(self, name: str, pictures: Mapping[str, Sequence[Pixels]], kept: Mapping[Item, Pixels]) -> pd.DataFrame:
        """Rows of the long table of pictures by concept, one for each of its prompts.

        kept: pictures in place of those that the base model drew for everything but concepts.
        """
        there = [concept for concept in self.plan.sequence.concepts if concept.id in pictures]
        items = [
            Item(f"concept/{concept.id}", number, 0, concept.fill(prompt, "trigger"), number)
            for concept in there
            for number, prompt in enumerate(concept.prompts)
        ]
        shown = {item: pictures[item.group.partition("/")[2]][item.prompt] for item in items} | dict(kept)
        base, cell, place = self.plan.base, self.setup.cell.cell, self.plan.folder / name
        stage = StagePlan(place, len(there), base.keys, tuple(shown), cell, there[-1], tuple(there[:-1]))
        for item, pixels in shown.items():
            (place / loose(item)).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(place / loose(item), png(pixels), durable=False)
        for _ in self.setup.rows(self.plan, stage, None, name):
            pass
        return read_scores(place / SCORES)
