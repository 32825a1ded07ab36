"""From a specification to every stage that must exist: where it lies, what goes into it, under which keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.items import Drawings, Drawn, Item, reference_texts
from cat_bench.benchmark.planning.keys import Keys
from cat_bench.benchmark.planning.method_code import code_digest
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import Cell, RunSpec, cells
from cat_bench.methods.registry import methods

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.identity import Identity
    from cat_bench.methods.base import Method
    from cat_bench.tasks.concept import Concept
    from cat_bench.tasks.sequence import Sequence as TaskSequence

RESERVED = ("base", "references", "report", "real", "other_noise")
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


def configure(spec: RunSpec, name: str, backbone: str | None) -> tuple[type[Method], Method.Config]:
    """A method's class and its settings, resolved for a registered backbone (None: for no one in particular).

    Raises MethodError, or SpecError for a name a run needs itself.
    """
    if name in RESERVED:
        raise SpecError(f"method {name!r}: this name is taken by a folder of every run; rename the method")
    cls = methods.get(name)
    overrides = dict(spec.overrides.get(name, {}))
    preset = overrides.pop("preset", None)
    return cls, cls.configure(preset=preset, backbone=backbone, overrides=overrides)


def make_plan(spec: RunSpec, folder: Path, sequence: TaskSequence, identity: Identity) -> Plan:
    """Lay out all cells and stages. Raises MethodError, TaskError or SpecError; writes nothing, loads nothing."""
    fingerprints = [[concept.id, concept.fingerprint] for concept in sequence.concepts]
    texts = {concept.id: reference_texts(concept) for concept in sequence.concepts}
    clip, *others = identity.judge_fingerprints
    references_key = keys.digest("references 4", clip, identity.resolution, fingerprints, texts, *others)
    protocol = keys.digest(
        *(identity.backbone.fingerprint, references_key, spec.sampler.model_dump(), dict(identity.how)),
        *(sequence.id, sequence.fingerprint, spec.images_per_prompt, spec.preservation_images, spec.diversity_images),
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
    def codes(self) -> Mapping[str, str]:
        """By method the digest of its code."""
        return {name: code_digest(methods.get(name)) for name in self.spec.methods}

    def base(self, place: Path) -> StagePlan:
        """Stage 0, the untouched backbone."""
        drawn = self.drawings.of_base()
        labels = {"method": BASE, "sequence": self.sequence.id}
        wanted = self._keys(keys.base_key(self.identity.backbone.fingerprint), drawn, labels, base="")
        return StagePlan(place, 0, wanted, drawn.items)

    def cell(self, cell: Cell, place: Path, base: StagePlan) -> CellPlan:
        """A cell's stages, each learned on top of the one before."""
        method, config = configure(self.spec, cell.method, self.identity.presets)
        form = "trigger" if method.uses_noun else "token"
        key, previous = base.keys.key, None
        stages: list[StagePlan] = []
        concepts = self.sequence.ordered(cell.order, stream(ORDER_ROOT, "order", self.sequence.id))
        for number, concept in enumerate(concepts, 1):
            key = keys.learning_key(
                previous=key,
                concept=concept.learning_fingerprint,
                method=cell.method,
                version=method.version,
                code=self.codes[cell.method],
                config=config.model_dump(mode="json"),
                seed=cell.seed,
                how=self.identity.how,
            )
            drawn = self.drawings.of_stage(concepts[:number], form)
            labels = {"method": cell.method, "sequence": self.sequence.id, "order": cell.order, "seed": cell.seed}
            wanted = self._keys(key, drawn, {**labels, "stage": number}, base.keys.embeddings_key)
            here = place / f"{number:02d}-{concept.id}"
            stages.append(StagePlan(here, number, wanted, drawn.items, cell, concept, concepts[: number - 1], previous))
            previous = here / keys.ADAPTER
        return CellPlan(cell, place, method, config, tuple(stages))

    def _keys(self, learning: str, drawn: Drawn, labels: Mapping[str, Any], base: str) -> Keys:
        """base: the key of the embeddings that preservation compares with."""
        images = keys.images_key(learning, self.spec.sampler.model_dump(), drawn.digest, self.identity.how)
        embeddings = keys.embeddings_key(images, self.identity.judge_fingerprints)
        named = (self.identity.judges, self.identity.backbone.id)
        context = keys.digest(self.references_key, base, self.spec.preservation_images, self.protocol, *named)
        return Keys(learning, images, embeddings, keys.scores_key(embeddings, labels, context))
