"""Whether a submission is what a run of this benchmark leaves: whole, consistent with itself, of a released sequence.

It shows damage, mistakes and clumsy forgery. Who invents scores and everything around them is not found here, only by
running the same cell again: its settings, seed, order and code digest are recorded for that.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cat_bench.results.leaderboard.folder import MANIFEST, Folder, RefusedError
from cat_bench.results.leaderboard.record import CellRecord, Keys, Manifest, RunRecord, StageRecord
from cat_bench.results.leaderboard.rows import (
    Expected,
    check_images,
    check_preservation,
    check_rows,
    images_of,
    read_rows,
)
from cat_bench.results.leaderboard.rules import Released, Rules
from cat_bench.results.records.long_table import BASE, BASE_TOKEN, OTHER_NOISE

MOST_CELLS = 5000
BASE_FILES = ("run.json", "references/references.json", "base/stage.json", "base/scores.parquet")


@dataclass(frozen=True)
class Planned:
    """A stage that a run must have, the concepts that are drawn after it, and whether what it should keep is."""

    place: str
    label: str
    order: int
    seed: int
    number: int
    concept: str
    sampled: tuple[str, ...]
    kept: bool


@dataclass(frozen=True)
class Checked:
    """A run that passed. images: by stage the concept, prompt and number of every image that has scores."""

    record: RunRecord
    stages: tuple[Planned, ...]
    images: Mapping[str, frozenset[tuple[str, int, int]]] = field(repr=False)


def check_record(folder: Folder, rules: Rules) -> tuple[RunRecord, tuple[Planned, ...]]:
    """What run.json says, and the stages that follow from it. Raises RefusedError."""
    info = folder.json("run.json")
    if not info.get("finished") or not info.get("complete"):
        raise RefusedError("run.json: the run is not finished: give the same `cat-bench run` again, which completes it")
    record = RunRecord.of(info, "run.json")
    spec, sequence = record.spec, record.sequence
    released = rules.sequences.get(sequence.name)
    if released is None:
        raise RefusedError(f"run.json: {sequence.name} is no released sequence (cat-bench list sequences)")
    if released.fingerprint not in (None, sequence.fingerprint) or sequence.concepts != released.concepts:
        raise RefusedError(f"run.json: the fingerprint or the concepts of {sequence.name} are not those it ships with")
    if spec.sequence != sequence.id or set(spec.methods) != set(record.methods):
        raise RefusedError("run.json: sequence and methods are not those of its spec")
    for model in (record.backbone, record.metric_model):
        if rules.models.get(model.id, model.fingerprint) != model.fingerprint:
            raise RefusedError(f"run.json: the fingerprint of {model.id} is not the one it ships with")
    derived = rules.derive(info)
    for name in ("protocol", "spec_hash"):
        if getattr(derived, name) != getattr(record, name):
            raise RefusedError(f"run.json: {name} is not the digest of what is recorded beside it")
    if len(spec.methods) * (spec.replicates or len(spec.orders) * len(spec.seeds)) > MOST_CELLS:
        raise RefusedError(f"run.json: more than {MOST_CELLS} cells")
    stages = tuple(_planned(record, released))
    if set(record.complete.stages) != {BASE, *(stage.place for stage in stages)}:
        raise RefusedError("run.json: the stages that it says are complete are not those of its spec")
    if record.complete.stages[BASE].key != derived.base_key:
        raise RefusedError("run.json: the key of the base model is not that of its fingerprint")
    for place, keys in record.complete.stages.items():
        if keys.embeddings_key != derived.embeddings[place]:
            raise RefusedError(f"run.json: the embeddings of {place} are not by the models that it names")
    return record, stages


def _planned(record: RunRecord, released: Released) -> Iterator[Planned]:
    for label in record.spec.methods:
        for order, seed in record.spec.pairs:
            concepts = released.order(order)
            for number, concept in enumerate(concepts, 1):
                learned = concepts[:number]
                last = number == len(concepts)
                sampled = learned if last or record.spec.stages == "all" else (concept,)
                sampled = () if record.spec.stages == "last" and not last else sampled
                kept = last or record.spec.stages == "all"
                place = f"{label}/order{order}-seed{seed}/{number:02d}-{concept}"
                yield Planned(place, label, order, seed, number, concept, sampled, kept)


def files_of(stages: tuple[Planned, ...]) -> tuple[str, ...]:
    """The files of a run that are handed in, pictures aside."""
    cells = dict.fromkeys(stage.place.rpartition("/")[0] for stage in stages)
    parts = [f"{stage.place}/{part}" for stage in stages for part in ("stage.json", "scores.parquet")]
    return (*BASE_FILES, *(f"{cell}/cell.json" for cell in cells), *parts)


def check_run(folder: Folder, rules: Rules) -> Checked:
    """Everything but the pictures. Raises RefusedError with the first thing that is wrong."""
    record, stages = check_record(folder, rules)
    if missing := [path for path in files_of(stages) if path not in folder.files]:
        raise RefusedError(f"{missing[0]} is missing" + (f", and {len(missing) - 1} more files" * (len(missing) > 1)))
    if folder.json("references/references.json").get("key") != record.complete.references:
        raise RefusedError("references/references.json: its key is not the one in run.json")
    stage = StageRecord.of(folder.json("base/stage.json"), "base/stage.json")
    same = {"backbone": record.backbone.id, "protocol": record.protocol, "sequence": record.sequence.id}
    _check_stage(stage, record, BASE, {"method": BASE, "order": None, "seed": None, "stage": 0, "concept": None})
    concepts = record.sequence.concepts
    base = read_rows(folder.read("base/scores.parquet"), "base/scores.parquet")
    expected = Expected({**same, "order": None, "seed": None, "stage": 0}, concepts)
    check_rows(base, expected, "base/scores.parquet")
    _check_extractors(base, record, "base/scores.parquet")
    floors = {name: base[base["method"] == name] for name in (BASE, BASE_TOKEN, OTHER_NOISE)}
    check_preservation(floors[OTHER_NOISE], "base/scores.parquet")
    images = {BASE: images_of(floors[BASE])}
    _check_count(images[BASE], record)
    for planned in stages:
        cell, path = planned.place.rpartition("/")[0], f"{planned.place}/scores.parquet"
        ended = CellRecord.of(folder.json(f"{cell}/cell.json"), f"{cell}/cell.json")
        if ended.protocol != record.protocol:
            raise RefusedError(f"{cell}/cell.json: its protocol is not the run's")
        names = {"method": planned.label, "order": planned.order, "seed": planned.seed, "stage": planned.number}
        stage = StageRecord.of(folder.json(f"{planned.place}/stage.json"), f"{planned.place}/stage.json")
        _check_stage(stage, record, planned.place, {**names, "concept": planned.concept})
        table = read_rows(folder.read(path), path)
        expected = Expected({**same, **names}, concepts, planned.sampled, planned.kept)
        check_rows(table, expected, path)
        _check_extractors(table, record, path)
        token = stage.config.get("noun") is False and not floors[BASE_TOKEN].empty
        check_images(table, expected, floors[BASE_TOKEN if token else BASE], floors[OTHER_NOISE], path)
        check_preservation(table, path)
        images[planned.place] = images_of(table)
    return Checked(record, stages, images)


def _check_stage(stage: StageRecord, record: RunRecord, place: str, names: Mapping[str, Any]) -> None:
    path = f"{place}/stage.json"
    wanted = {**names, "sequence": record.sequence.id, "protocol": record.protocol}
    for key, value in wanted.items():
        if getattr(stage, key) != value:
            raise RefusedError(f"{path}: {key} is {getattr(stage, key)}, where its folder or its run says {value}")
    if Keys.model_validate(stage.model_dump()) != record.complete.stages[place]:
        raise RefusedError(f"{path}: its keys are not those that run.json has for it")
    if place != BASE and stage.config != record.methods[names["method"]].config:
        raise RefusedError(f"{path}: its settings are not those that run.json has for {names['method']}")


def _check_extractors(table: pd.DataFrame, record: RunRecord, path: str) -> None:
    known = {model.id for model in (record.metric_model, record.dino) if model}
    if strange := set(table["extractor"]) - known:
        raise RefusedError(f"{path}: scores by {sorted(strange)[0]}, a model that run.json does not name")


def _check_count(images: frozenset[tuple[str, int, int]], record: RunRecord) -> None:
    """The base model was asked for every concept, each prompt as often as the protocol says."""
    prompts: dict[tuple[str, int], list[int]] = {}
    for concept, prompt, number in images:
        prompts.setdefault((concept, prompt), []).append(number)
    each = record.spec.images_per_prompt
    if {concept for concept, _ in prompts} != set(record.sequence.concepts):
        raise RefusedError("base/scores.parquet: a concept has no scores of the base model")
    if odd := [
        key
        for key, numbers in sorted(prompts.items())
        if sorted(numbers) != list(range(len(numbers))) or len(numbers) != each
    ]:
        raise RefusedError(f"base/scores.parquet: {odd[0][0]}, prompt {odd[0][1]}: not {each} images")


def check_sums(folder: Folder, others: Collection[str] = ()) -> Manifest:
    """Every file is in the manifest with the right sum, none is too many. Raises RefusedError.

    others: files that lie beside those that are read.
    """
    manifest = Manifest.of(folder.json(MANIFEST), MANIFEST)
    there = {*folder.files, *others} - {MANIFEST}
    if odd := there ^ set(manifest.files):
        raise RefusedError(f"{min(odd)} {'is not in the manifest' if min(odd) in there else 'is missing'}")
    for path, known in manifest.files.items():
        if hashlib.sha256(folder.read(path)).hexdigest() != known.sha256:
            raise RefusedError(f"{path} is not the file that was packed: its sha256 is not the one in {MANIFEST}")
    return manifest


def check_places(manifest: Manifest, checked: Checked) -> None:
    """What the manifest names belongs to the run. Raises RefusedError."""
    grids = {f"grids/{label}.png" for label in checked.record.methods}
    if odd := set(manifest.files) - grids - set(files_of(checked.stages)):
        raise RefusedError(f"{min(odd)} is no part of this run")
    if odd := set(manifest.images) - set(checked.images):
        raise RefusedError(f"{MANIFEST}: images of {min(odd)}, which is no stage of this run")
    for stage, images in manifest.images.items():
        if images.number < len(checked.images[stage]):
            raise RefusedError(f"{MANIFEST}: {stage} has {images.number} images, but scores of more")
