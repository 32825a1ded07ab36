"""From a specification to every stage that must exist: where it lies, what goes into it, under which keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.benchmark.planning.spec import Cell, RunSpec, cells
from cat_bench.benchmark.store.stage import ADAPTER, IMAGES, Keys
from cat_bench.methods.base import Method
from cat_bench.methods.registry import methods

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.engine import Engine
    from cat_bench.tasks.concept import Concept
    from cat_bench.tasks.sequence import Sequence as TaskSequence

RESERVED = ("base", "references", "report", "real")
BASE = "base"
NOISE_ROOT = 0  # of the `eval` stream: one for all runs, so that every method, stage and training seed is comparable


@dataclass(frozen=True)
class Item:
    """One image to sample. group: `concept/<id>` or `preservation/<stratum>`; prompt, image: its numbers in there."""

    group: str
    prompt: int
    image: int
    text: str
    seed: int

    @property
    def of_concept(self) -> bool:
        """Whether it shows a concept, and so is compared with references."""
        return self.group.startswith("concept/")

    @property
    def path(self) -> str:
        """Where the image lies in a stage's folder."""
        return f"{IMAGES}/{self.group.removeprefix('concept/')}/{self.prompt:02d}-{self.image}.png"


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
            return {"method": BASE, "order": 0, "seed": 0}
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
    """Everything a run needs. `protocol` is equal for cells that may stand in one table.

    extractor, dino: ids of the models behind the scores; dino None: `dino_i` is not wanted.
    """

    folder: Path
    sequence: TaskSequence
    protocol: str
    references_key: str
    extractor: str
    dino: str | None
    base: StagePlan
    cells: tuple[CellPlan, ...] = field(default=())


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


def make_plan(spec: RunSpec, folder: Path, sequence: TaskSequence, engine: Engine) -> Plan:
    """Lay out all cells and stages. Raises MethodError, TaskError or SpecError; writes nothing."""
    how = dict(engine.how)
    sampler = spec.sampler.model_dump()
    fingerprints = [[concept.id, concept.fingerprint] for concept in sequence.concepts]
    texts = {concept.id: reference_texts(concept) for concept in sequence.concepts}
    references_key = keys.digest(
        *("references", engine.metric_fingerprint, engine.resolution, fingerprints, texts),
        *([engine.dino_fingerprint] if engine.dino_id else []),
    )
    protocol = keys.digest(
        *(engine.fingerprint, references_key, sampler, how, sequence.id, sequence.fingerprint),
        *(spec.images_per_prompt, spec.preservation_images),
    )

    def stage_keys(learning: str, items: Sequence[Item], labels: Mapping[str, Any], base: str) -> Keys:
        images = keys.images_key(learning, sampler, [(item.path, item.text, item.seed) for item in items], how)
        embeddings = keys.embeddings_key(images, engine.metric_fingerprint, engine.dino_fingerprint)
        named = (engine.metric_id, engine.dino_id)
        context = keys.digest(references_key, base, spec.preservation_images, named)
        return Keys(learning, images, embeddings, keys.scores_key(embeddings, labels, context))

    base_items = tuple(_items(spec, sequence, sequence.concepts, "trigger"))
    base_key = keys.base_key(engine.fingerprint)
    labels = {"method": BASE, "sequence": sequence.id}
    base = StagePlan(folder / BASE, 0, stage_keys(base_key, base_items, labels, ""), base_items)
    plans = []
    for cell in cells(spec):
        method, config = configure(spec, cell.method, engine.presets)
        place = folder / cell.path
        form = "trigger" if method.uses_noun else "token"
        key, previous = base_key, None
        stages: list[StagePlan] = []
        concepts = sequence.ordered(cell.order)
        for number, concept in enumerate(concepts, 1):
            key = keys.learning_key(
                *(key, concept.fingerprint, cell.method, method.version, keys.code_digest(method)),
                *(config.model_dump(mode="json"), cell.seed, how),
            )
            items = tuple(_items(spec, sequence, concepts[:number], form))
            named = {"method": cell.method, "sequence": sequence.id, "order": cell.order, "seed": cell.seed}
            wanted = stage_keys(key, items, {**named, "stage": number}, base.keys.embeddings_key)
            here = place / f"{number:02d}-{concept.id}"
            stages.append(StagePlan(here, number, wanted, items, cell, concept, concepts[: number - 1], previous))
            previous = here / ADAPTER
        plans.append(CellPlan(cell, place, method, config, tuple(stages)))
    models = engine.metric_id, engine.dino_id
    return Plan(folder, sequence, protocol, references_key, *models, base, tuple(plans))


def reference_texts(concept: Concept) -> list[str]:
    """What images of the evaluation prompts should show, in words: the trigger replaced by the class noun."""
    return [concept.fill(template, "noun") for template in concept.prompts]


def _items(spec: RunSpec, sequence: TaskSequence, concepts: Sequence[Concept], form: Any) -> Iterator[Item]:
    for concept in concepts:
        for prompt, template in enumerate(concept.prompts):
            for image in range(spec.images_per_prompt):
                # The template, not the filled prompt: methods that name a concept differently get the same noise.
                seed = stream(NOISE_ROOT, "eval", concept.id, template, image)
                yield Item(f"concept/{concept.id}", prompt, image, concept.fill(template, form), seed)
    for stratum, prompts in sequence.preservation.items():
        for prompt, text in enumerate(prompts):
            for image in range(spec.preservation_images):
                seed = stream(NOISE_ROOT, "eval", stratum, text, image)
                yield Item(f"preservation/{stratum}", prompt, image, text, seed)
