"""What all tests of one validation share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cat_bench.benchmark.planning.engine import Engine, Reader
from cat_bench.benchmark.planning.items import Item
from cat_bench.benchmark.planning.plan import CellPlan, Plan, StagePlan
from cat_bench.benchmark.store.files import read_picture
from cat_bench.benchmark.store.images import loose
from cat_bench.benchmark.text_to_image.scoring import sample_and_embed, score
from cat_bench.benchmark.validation.damages import Pixels
from cat_bench.tasks.concept import Concept


@dataclass(frozen=True)
class Work:
    """So many steps of training or pictures were just done, and for what."""

    units: int
    what: str


@dataclass(frozen=True)
class Setup:
    """A plan whose only cell is naive LoRA's, and what carries it out. Only its first concept is learned."""

    plan: Plan
    engine: Engine
    reader: Reader | None

    @property
    def cell(self) -> CellPlan:
        """Naive LoRA."""
        return self.plan.cells[0]

    @property
    def stage(self) -> StagePlan:
        """After the first concept."""
        return self.cell.stages[0]

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """All of the sequence."""
        return self.plan.sequence.concepts

    @cached_property
    def references(self) -> Mapping[str, int]:
        """How many references each concept has."""
        return {c.id: len(c.reference_images(self.plan.identity.resolution)) for c in self.concepts}

    @cached_property
    def kept_items(self) -> tuple[Item, ...]:
        """What a stage draws besides its concepts."""
        return tuple(item for item in self.stage.items if not item.of_concept)

    @cached_property
    def kept(self) -> Mapping[Item, Pixels]:
        """What the base model drew for these."""
        found = {item: read_picture(self.plan.base.place / loose(item)) for item in self.kept_items}
        return {item: pixels for item, pixels in found.items() if pixels is not None}

    def embed(self, stage: StagePlan, adapter: Path | None, what: str) -> Iterator[Work]:
        """Draw what is not there yet of a stage, and embed all. adapter: None for the untouched backbone."""
        stage.place.mkdir(parents=True, exist_ok=True)
        cell = self.cell if stage.cell else None
        yield from counted(
            sample_and_embed(self.engine, tuple(self.plan.identity.extractors), cell, stage, stage.place, adapter), what
        )

    def rows(self, plan: Plan, stage: StagePlan, adapter: Path | None, what: str) -> Iterator[Work]:
        """The same, and score it by a plan."""
        yield from self.embed(stage, adapter, what)
        score(self.reader, plan, stage, stage.place)


def counted(so_far: Iterator[int], what: str) -> Iterator[Work]:
    """From how much is there so far to what was done since."""
    before = 0
    for there in so_far:
        yield Work(there - before, what)
        before = there
