"""From pictures to rows: a stage is sampled and embedded, and scored from its embeddings alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cat_bench.benchmark.planning.engine import Engine, Reader
from cat_bench.benchmark.planning.identity import CLIP, DINO
from cat_bench.benchmark.planning.items import CONCEPT, TOKEN, Item, portions
from cat_bench.benchmark.planning.keys import EMBEDDINGS, SCORES
from cat_bench.benchmark.planning.plan import CellPlan, Plan, StagePlan
from cat_bench.benchmark.store.files import Arrays, png, read_arrays, write_arrays, write_bytes
from cat_bench.benchmark.store.images import Made, loose
from cat_bench.benchmark.text_to_image.classes import class_pictures, nouns_of, strangers, untriggered, world
from cat_bench.benchmark.text_to_image.readings import of_prompts, of_references, readings
from cat_bench.benchmark.text_to_image.references import named, prefix, read_references
from cat_bench.results.records.long_table import BASE_TOKEN, write_scores
from cat_bench.results.scoring.scores import (
    Known,
    Noise,
    SecondOpinion,
    score_base,
    score_other_noise,
    score_real,
    score_stage,
)
from cat_bench.tasks.concept import Concept

if TYPE_CHECKING:
    import pandas as pd


def sample_and_embed(
    engine: Engine,
    roles: Sequence[str],
    cell: CellPlan | None,
    stage: StagePlan,
    folder: Path,
    adapter: Path | None,
) -> Iterator[int]:
    """Make the stage's pictures and `embeddings.safetensors` in `folder`; yields how many pictures are there so far.

    Pictures that an earlier try left are read, not made again; work goes on at the first batch that is not whole.
    roles: of the models that judge. cell: None for the untouched backbone.
    """
    items, embedded = stage.items, _Embedded(engine, roles, stage.items)
    made, start = Made(folder, items), 0
    for part in portions([item.company for item in items], engine.batch):
        pictures = made.read(part)
        if pictures is None:
            break
        embedded.add(part.start, pictures)
        start = part.stop
        yield start
    if start < len(items) and made.packed:  # damaged; what is one file is made as one
        start, embedded = 0, _Embedded(engine, roles, items)
    if start < len(items):
        for place in {(folder / loose(item)).parent for item in items}:
            place.mkdir(parents=True, exist_ok=True)
        for first, fresh in engine.sample(cell, stage, adapter, start):
            for item, picture in zip(items[first : first + len(fresh)], fresh, strict=True):
                write_bytes(folder / loose(item), png(picture), durable=False)
            embedded.add(first, fresh)
            yield first + len(fresh)
    write_arrays(folder / EMBEDDINGS, embedded.arrays())


class _Embedded:
    """A stage's embeddings as they come, batch by batch, by every model that judges."""

    def __init__(self, engine: Engine, roles: Sequence[str], items: Sequence[Item]) -> None:
        self.engine, self.items = engine, items
        self.rows: dict[str, list[NDArray[np.float32]]] = {role: [] for role in roles}

    def add(self, first: int, pictures: NDArray[np.uint8]) -> None:
        """Pictures (n, H, W, 3) of the items from number `first` on."""
        for role, rows in self.rows.items():
            wanted = [n for n in range(len(pictures)) if self._sees(role, self.items[first + n])]
            if wanted:
                rows.append(self.engine.embed(role, pictures if len(wanted) == len(pictures) else pictures[wanted]))

    def arrays(self) -> Arrays:
        """(n, d) by the items' groups, and `<role>/concept/<id>` (or `token`) by each further model."""
        found: Arrays = {}
        for role, rows in self.rows.items():
            if not rows:
                continue
            table = np.concatenate(rows)
            places: defaultdict[str, list[int]] = defaultdict(list)
            for number, item in enumerate(item for item in self.items if self._sees(role, item)):
                places[item.group].append(number)
            found |= {f"{prefix(role)}{group}": table[numbers] for group, numbers in places.items()}
        return found

    @staticmethod
    def _sees(role: str, item: Item) -> bool:
        """The main model sees all; the others only what is compared with references."""
        return role == CLIP or item.of_concept


def score(reader: Reader | None, plan: Plan, stage: StagePlan, folder: Path) -> None:
    """Write the stage's `scores.parquet` from embeddings alone. For stage 0: the reference rows."""
    with threadpool_limits(1, "blas"):  # sums come out the same on any number of cores
        write_scores(_rows(reader, plan, stage, folder), folder / SCORES)


def _rows(reader: Reader | None, plan: Plan, stage: StagePlan, folder: Path) -> pd.DataFrame:
    compared = _Compared.of(plan, read_arrays(folder / EMBEDDINGS), stage)
    known, embeddings, base = compared.known, compared.stage, compared.base
    concepts = list(_drawn(plan, stage))
    strata = list(plan.sequence.preservation) if stage.kept else []
    drawn, kept = named(embeddings, "concept", [c.id for c in concepts]), named(embeddings, "preservation", strata)
    texts = named(compared.arrays, "text", [concept.id for concept in plan.sequence.concepts])
    extractor: dict[str, Any] = {"extractor": plan.identity.extractors[CLIP].id}
    shared: dict[str, Any] = {
        **extractor,
        "preservation_images": plan.spec.preservation_images,
        "readings": readings(reader, concepts, drawn, of_prompts(plan.spec.images_per_prompt)),
        "untriggered": untriggered(plan, embeddings, base) if stage.kept else None,
        "noise": _noise(stage),
    }
    run = {"sequence": plan.sequence.id, "backbone": plan.identity.backbone.id, "protocol": plan.protocol}
    if stage.cell is not None:
        before = named(base, "preservation", strata)
        labels = {**stage.labels, **run}
        return score_stage(labels, stage.number, drawn, known, texts, kept, before, **shared)
    import pandas as pd

    again, noise = named(embeddings, "other_noise", strata), _noise(stage, preservation="other_noise")
    images = plan.spec.preservation_images
    real: dict[str, Any] = {
        "readings": readings(reader, concepts, compared.arrays, of_references),
        "untriggered": world(plan, compared.arrays, base),
    }
    tables = (
        score_base(run, drawn, known, texts, kept, **shared),
        *_without_noun(reader, plan, stage, compared, shared, run),
        score_other_noise(run, kept, again, noise=noise, preservation_images=images, **extractor),
        score_real(run, known, tuple(strata), **real, **extractor),
    )
    return pd.concat(tables, ignore_index=True)


def _without_noun(
    reader: Reader | None,
    plan: Plan,
    stage: StagePlan,
    compared: _Compared,
    shared: dict[str, Any],
    run: dict[str, Any],
) -> Iterator[pd.DataFrame]:
    """The floor of methods whose prompts do without the class noun, if the untouched backbone was so prompted.

    What is drawn without a concept's name is the same for both floors.
    """
    if not any(item.kind == TOKEN for item in stage.items):
        return
    concepts = plan.sequence.concepts
    ids = [concept.id for concept in concepts]
    drawn, known = named(compared.stage, TOKEN, ids), compared.known
    if known.second:
        seen = named(compared.stage, f"{prefix(DINO)}{TOKEN}", ids)
        known = replace(known, second=replace(known.second, concepts=seen))
    texts = named(compared.arrays, "text", ids)
    kept = named(compared.stage, "preservation", list(plan.sequence.preservation))
    own = {
        "readings": readings(reader, concepts, drawn, of_prompts(plan.spec.images_per_prompt)),
        "noise": _noise(stage, concepts=TOKEN),
    }
    yield score_base(run, drawn, known, texts, kept, method=BASE_TOKEN, **{**shared, **own})


@dataclass(frozen=True)
class _Compared:
    """A stage's embeddings, the base model's, those that a run has once, and `known` of these."""

    stage: Arrays
    base: Arrays
    arrays: Arrays
    known: Known

    @classmethod
    def of(cls, plan: Plan, embeddings: Arrays, stage: StagePlan) -> _Compared:
        arrays = read_references(plan)
        base = embeddings if stage.cell is None else read_arrays(plan.base.place / EMBEDDINGS)
        ids, second = [concept.id for concept in plan.sequence.concepts], None
        if DINO in plan.identity.extractors:
            seen = named(embeddings, f"{prefix(DINO)}concept", [concept.id for concept in _drawn(plan, stage)])
            second = SecondOpinion(plan.identity.extractors[DINO].id, named(arrays, DINO, ids), seen)
        known = Known(
            references={id: arrays[id] for id in ids},
            training=named(arrays, "train", ids),
            strangers=strangers(plan, named(base, "preservation", list(plan.sequence.preservation))),
            second=second,
            class_pictures=class_pictures(plan, arrays, base),
            nouns=nouns_of(plan.sequence, arrays),
        )
        return cls(embeddings, base, arrays, known)


def _drawn(plan: Plan, stage: StagePlan) -> Sequence[Concept]:
    """The concepts that a stage draws: the untouched backbone all of the sequence."""
    return plan.sequence.concepts if stage.cell is None else stage.drawn


def _noise(stage: StagePlan, *, concepts: str = CONCEPT, preservation: str = "preservation") -> Noise:
    """Of the stage's images; concepts, preservation: the kinds of items that stand for them."""
    seeds: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for item in stage.items:
        seeds[item.kind][item.group.partition("/")[2]].append(item.seed)
    return Noise(seeds[concepts], seeds[preservation], seeds["diversity"])
