"""From a specification to every stage that must exist: where it lies, what goes into it, under which keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.items import Drawings, Drawn, Item, reference_texts, sampled
from cat_bench.benchmark.planning.keys import Keys
from cat_bench.benchmark.planning.method_code import code_digest
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import Cell, RunSpec, Stages, cells
from cat_bench.benchmark.planning.variant import configured

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.identity import Identity
    from cat_bench.methods.base import Method
    from cat_bench.tasks.concept import Concept
    from cat_bench.tasks.sequence import Sequence as TaskSequence

BASE = "base"
ORDER_ROOT = 0  # of the `order` stream: one for all runs, so that an order's number means the same to everybody


@dataclass(frozen=True)
class StagePlan:
    """The state of a cell after its `number`-th concept; number 0 is the untouched backbone, which has no cell."""

    place: Path
    number: int
    keys: Keys
    items: tuple[Item, ...]
    cell: Cell | None = None
    concept: Concept | None = None
    earlier: tuple[Concept, ...] = ()
    previous: Path | None = None  # adapter file of the stage it goes on from; None: the untouched backbone
    kept: bool = True  # whether what the model should keep is drawn: preservation prompts and pictures of the classes
    others: Mapping[str, int] = field(default_factory=dict)  # see `_Layout._others`

    @property
    def drawn(self) -> tuple[Concept, ...]:
        """The concepts that it draws, in the order of learning; of the untouched backbone none is known here."""
        groups = {item.group for item in self.items}
        learned = (*self.earlier, *([self.concept] if self.concept else []))
        return tuple(concept for concept in learned if f"concept/{concept.id}" in groups)

    @property
    def labels(self) -> dict[str, Any]:
        """What its rows are called in the long table."""
        if self.cell is None:
            return {"method": BASE, "order": None, "seed": None}
        return {"method": self.cell.method, "order": self.cell.order, "seed": self.cell.seed}


@dataclass(frozen=True)
class CellPlan:
    """A cell and its stages, in order."""

    cell: Cell
    folder: Path
    method: type[Method]
    config: Method.Config
    stages: tuple[StagePlan, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a run needs. `protocol` is equal for cells that may stand in one table."""

    spec: RunSpec
    folder: Path
    sequence: TaskSequence
    identity: Identity
    protocol: str
    references_key: str
    base: StagePlan
    cells: tuple[CellPlan, ...]

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """All of them: the untouched backbone's, then cell by cell."""
        return (self.base, *(stage for cell in self.cells for stage in cell.stages))


def make_plan(spec: RunSpec, folder: Path, sequence: TaskSequence, identity: Identity) -> Plan:
    """Lay out all cells and stages. Raises MethodError, TaskError or SpecError; writes nothing, loads nothing."""
    fingerprints = [[concept.id, concept.fingerprint] for concept in sequence.concepts]
    texts = {concept.id: reference_texts(concept) for concept in sequence.concepts}
    clip, *others = identity.judge_fingerprints
    references_key = keys.digest("references 4", clip, identity.resolution, fingerprints, texts, *others)
    protocol = keys.protocol_key(
        backbone=identity.backbone.fingerprint,
        references=references_key,
        sampler=spec.sampler.model_dump(),
        how=identity.how,
        sequence=(sequence.id, sequence.fingerprint),
        images=(spec.images_per_prompt, spec.preservation_images, spec.diversity_images),
    )
    layout = _Layout(spec, sequence, identity, references_key, protocol, Drawings(spec, sequence))
    base = layout.base(folder / BASE)
    plans = tuple(layout.cell(cell, folder / cell.path, base) for cell in cells(spec))
    return Plan(spec, folder, sequence, identity, protocol, references_key, base, plans)


@dataclass(frozen=True)
class _Layout:
    """What the stages of a run have in common, and how each is laid out from it."""

    spec: RunSpec
    sequence: TaskSequence
    identity: Identity
    references_key: str
    protocol: str
    drawings: Drawings

    @cached_property
    def configured(self) -> Mapping[str, tuple[type[Method], Method.Config]]:
        """By label the class and its settings."""
        return configured(self.spec.methods, self.spec.overrides, self.identity.presets)

    @cached_property
    def codes(self) -> Mapping[str, str]:
        """By label the digest of its method's code."""
        return {label: code_digest(method) for label, (method, _) in self.configured.items()}

    @cached_property
    def forms(self) -> Mapping[str, str]:
        """By label how prompts name a concept (`Concept.fill`)."""
        return {label: method(config).form for label, (method, config) in self.configured.items()}

    @cached_property
    def kept(self) -> str:
        """Key of the untouched backbone's embeddings that stages compare with: whatever else it draws for a floor."""
        images = self._images_key(keys.base_key(self.identity.backbone.fingerprint), self.drawings.of_base())
        return keys.embeddings_key(images, self.identity.judge_fingerprints)

    def base(self, place: Path) -> StagePlan:
        """Stage 0, the untouched backbone."""
        learning, token = keys.base_key(self.identity.backbone.fingerprint), "token" in self.forms.values()
        drawn, other = self.drawings.of_base(token=token), self.drawings.of_base(token=not token)
        labels = {"method": BASE, "sequence": self.sequence.id}
        others = {self._images_key(learning, other): len(other.items)}
        return StagePlan(place, 0, self._keys(learning, drawn, labels, base=""), drawn.items, others=others)

    def cell(self, cell: Cell, place: Path, base: StagePlan) -> CellPlan:
        """A cell's stages, each learned on top of the one before."""
        method, config = self.configured[cell.method]
        form = self.forms[cell.method]
        key, previous = base.keys.key, None
        stages: list[StagePlan] = []
        concepts = self.sequence.ordered(cell.order, stream(ORDER_ROOT, "order", self.sequence.id))
        for number, concept in enumerate(concepts, 1):
            learned, last = concepts[:number], number == len(concepts)
            key = keys.learning_key(
                previous=key,
                concept=concept.learning_fingerprint,
                method=method.name,
                version=method.version,
                code=self.codes[cell.method],
                config=config.model_dump(mode="json"),
                seed=cell.seed,
                how=self.identity.how,
            )
            drawn, kept = self._drawn(self.spec.stages, learned, form, last)
            others = self._others(key, learned, form, last)
            labels = {"method": cell.method, "sequence": self.sequence.id, "order": cell.order, "seed": cell.seed}
            wanted = self._keys(key, drawn, {**labels, "stage": number}, self.kept)
            here = place / f"{number:02d}-{concept.id}"
            stages.append(
                StagePlan(here, number, wanted, drawn.items, cell, concept, learned[:-1], previous, kept, others)
            )
            previous = here / keys.ADAPTER
        return CellPlan(cell, place, method, config, tuple(stages))

    def _drawn(self, stages: Stages, learned: Sequence[Concept], form: str, last: bool) -> tuple[Drawn, bool]:
        concepts, kept = sampled(stages, learned, last=last)
        return self.drawings.of_stage(concepts, form, kept=kept), kept

    def _others(self, learning: str, learned: Sequence[Concept], form: str, last: bool) -> dict[str, int]:
        """The keys of this stage's images under another choice of `stages`, with how many these are.

        What they have in common with the ones wanted is the same to the last bit.
        """
        found = {}
        for stages in get_args(Stages):
            drawn, _ = self._drawn(stages, learned, form, last)
            if stages != self.spec.stages and drawn.items and not last:
                found[self._images_key(learning, drawn)] = len(drawn.items)
        return found

    def _images_key(self, learning: str, drawn: Drawn) -> str:
        return keys.images_key(learning, self.spec.sampler.model_dump(), drawn.digest, self.identity.how)

    def _keys(self, learning: str, drawn: Drawn, labels: Mapping[str, Any], base: str) -> Keys:
        """base: the key of the embeddings that preservation compares with."""
        images = self._images_key(learning, drawn)
        embeddings = keys.embeddings_key(images, self.identity.judge_fingerprints)
        named = (self.identity.judges, self.identity.backbone.id)
        context = keys.digest(self.references_key, base, self.spec.preservation_images, self.protocol, *named)
        return Keys(learning, images, embeddings, keys.scores_key(embeddings, labels, context))
