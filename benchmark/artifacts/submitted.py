"""What results of others are held against: the sequences and models that ship, and what follows from a record."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from cat_bench.benchmark.backbones.folders import BACKBONE_MARK, WEIGHTS
from cat_bench.benchmark.backbones.folders import fingerprint as backbone_fingerprint
from cat_bench.benchmark.extractors.folders import METRIC_MARK
from cat_bench.benchmark.extractors.folders import fingerprint as metric_fingerprint
from cat_bench.benchmark.planning import keys
from cat_bench.benchmark.planning.identity import CLIP
from cat_bench.benchmark.planning.plan import ORDER_ROOT
from cat_bench.benchmark.planning.seeds import stream
from cat_bench.results.leaderboard.folder import RefusedError
from cat_bench.results.leaderboard.rules import Derived, Released, Rules
from cat_bench.tasks.entries import SHIPPED, concept_ids, read_entry, sequence_names
from cat_bench.tasks.orders import balanced_orders


def rules() -> Rules:
    """Of this version. Draws no picture and loads no model; files of those that ship are read for their sha256."""
    fingerprints = tomllib.loads(SHIPPED.joinpath("fingerprints.toml").read_text("utf-8"))
    sequences = {}
    for name in sequence_names():
        entry = read_entry(name)[0]
        version = f"{entry.id}.v{entry.version}"
        sequences[version] = _released(entry.id, fingerprints.get(version), concept_ids(name))
    return Rules(sequences, dict(_models()), derived)


def derived(info: Mapping[str, Any]) -> Derived:
    """What follows from the rest of a run's record. Raises RefusedError if that is incomplete."""
    try:
        spec, sequence, backbone = info["spec"], info["sequence"], info["backbone"]["fingerprint"]
        judges = [info[role]["fingerprint"] for role in ("metric_model", "dino") if info.get(role)]
        stages = info["complete"]["stages"]
        return Derived(
            spec_hash=keys.digest(spec),
            protocol=keys.protocol_key(
                backbone=backbone,
                references=info["complete"]["references"],
                sampler=spec["sampler"],
                how=info["computed"],
                sequence=(sequence["id"], sequence["fingerprint"]),
                images=(spec["images_per_prompt"], spec["preservation_images"], spec["diversity_images"]),
            ),
            base_key=keys.base_key(backbone),
            embeddings={place: keys.embeddings_key(stage["samples_key"], judges) for place, stage in stages.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RefusedError(f"run.json: its protocol cannot be computed from it ({error!r})") from None


def _models() -> Iterator[tuple[str, str]]:
    """The name and fingerprint of every model that ships."""
    for folder in sorted(path for path in WEIGHTS.iterdir() if path.is_dir()):
        if (folder / BACKBONE_MARK).is_file():
            yield folder.name, backbone_fingerprint(folder)
        elif (folder / METRIC_MARK).is_file():
            yield folder.name, metric_fingerprint(CLIP, folder)


def _released(id: str, fingerprint: str | None, concepts: tuple[str, ...]) -> Released:
    orders = balanced_orders(len(concepts), stream(ORDER_ROOT, "order", id))
    known: list[tuple[int, ...]] = []  # each is made once, whatever numbers are asked for

    def order(number: int) -> tuple[str, ...]:
        known.extend(islice(orders, max(0, number + 1 - len(known))))
        if number >= len(known):
            raise RefusedError(f"run.json: {id} has no order {number}")
        return tuple(concepts[place] for place in known[number])

    return Released(fingerprint, concepts, order)
