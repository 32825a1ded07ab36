"""Synthetic runs made whole, as `cat-bench run` leaves them, and ways to change what was packed of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cat_bench.benchmark.artifacts.submitted import derived
from cat_bench.benchmark.planning import keys as hub
from cat_bench.results.leaderboard.folder import MANIFEST
from cat_bench.results.leaderboard.rules import Released, Rules
from cat_bench.results.records.images import CONCEPT, FILE, REFERENCE, Row, write_images

CONCEPTS = ("marivi", "tolbek")
FINGERPRINT = "5" * 64
SHIPPED = {"avatars64.v2": "b" * 64}
RULES = Rules({"faces5.v2": Released(FINGERPRINT, CONCEPTS, lambda number: CONCEPTS)}, SHIPPED, derived)
REFERENCES = ("joint",)


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def picture(*axes: object) -> bytes:
    buffer = io.BytesIO()
    red, green, blue = hashlib.sha256(repr(axes).encode()).digest()[:3]
    Image.new("RGB", (16, 16), (red, green, blue)).save(buffer, "PNG")
    return buffer.getvalue()


def change_rows(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = change(pq.ParquetFile(path).read())
    pq.write_table(table, path, compression="zstd")


def constant(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """A change of a table: one value in the whole column."""

    def change(table: pa.Table) -> pa.Table:
        field = table.schema.field(name)
        return table.set_column(table.schema.get_field_index(name), field, pa.array([value] * len(table), field.type))

    return change


def finish(
    folder: Path, seeds: Sequence[int], concepts: Sequence[str] = CONCEPTS, fingerprint: str = FINGERPRINT
) -> Path:
    """A synthetic run as a finished one: all records, keys, an image for each score of one."""
    methods = read(folder / "run.json")["spec"]["methods"]
    spec = {"sequence": "faces5", "methods": methods, "seeds": list(seeds), "orders": [0], "stages": "all"}
    spec |= {"images_per_prompt": 2, "preservation_images": 1, "diversity_images": 16, "replicates": None}
    spec |= {"sampler": {"name": "dpm++", "steps": 7, "guidance": 4.0, "batch": 32}}
    stages = [path.parent for path in sorted(folder.glob("*/order*/*/stage.json"))]
    keys = {}
    for stage in [folder / "base", *stages]:
        place = stage.relative_to(folder).as_posix()
        parts = ("key", "samples_key", "embeddings_key", "scores_key")
        keys[place] = {part: digest(folder.name, place, part) for part in parts}
        keys[place]["embeddings_key"] = hub.embeddings_key(keys[place]["samples_key"], ("e" * 64,))
    keys["base"]["key"] = hub.base_key("b" * 64)
    info = {
        "schema_version": 1,
        "spec": spec,
        "spec_hash": hub.digest(spec),
        "computed": {"device": "cpu", "precision": "bf16"},
        "backbone": {"id": "avatars64.v2", "fingerprint": "b" * 64},
        "metric_model": {"id": "eye", "fingerprint": "e" * 64},
        "sequence": {"id": "faces5", "version": "2", "title": "Five people", "fingerprint": fingerprint},
        "methods": {},
        "versions": {"cat-bench": "0.1.0", "torch": "2.14.1"},
        "git": {"commit": "abc123", "dirty": False},
        "machine": {"system": "Linux", "processor": "EPYC", "cores": 2},
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:14:05+00:00",
        "complete": {"references": digest("references"), "cells": [], "stages": keys},
    }
    info["sequence"]["concepts"] = list(concepts)
    for method in methods:
        said = {"version": "1", "title": method.upper(), "source": "this project", "code": digest(method)}
        said |= {"carries": "all images" if method in REFERENCES else "one adapter", "config": {"rank": 16}}
        info["methods"][method] = {**said, "reference": method in REFERENCES}
    info["protocol"] = derived(info).protocol
    write(folder / "run.json", info)
    (folder / "references").mkdir(exist_ok=True)
    write(folder / "references" / "references.json", {"key": digest("references")})
    held = [Row(f"{c}/00.png", REFERENCE, c, None, 0, None, None) for c in concepts]
    write_images(folder / "references" / FILE, held, [picture("reference", c) for c in concepts])
    for stage in [folder / "base", *stages]:
        _finish_stage(stage, stage.relative_to(folder).as_posix(), info, list(concepts))
    for cell in folder.glob("*/order*/cell.json"):
        write(cell, {**read(cell), "protocol": info["protocol"]})
    return folder


def _finish_stage(stage: Path, place: str, info: dict[str, Any], concepts: list[str]) -> None:
    change_rows(stage / "scores.parquet", constant("protocol", info["protocol"]))
    rows = pq.read_table(stage / "scores.parquet").to_pandas()
    rows = rows[(rows["metric"] == "clip_i") & (rows["image"] >= 0) & ~rows["method"].isin(["real", "other_noise"])]
    keys = sorted(zip(rows["concept"], rows["prompt"], rows["image"], strict=True))
    held = [Row(f"{c}/{p}-{n}.png", CONCEPT, c, int(p), int(n), None, None) for c, p, n in keys]
    write_images(stage / FILE, held, [picture(place, *key) for key in keys])
    record = {**read(stage / "stage.json"), **info["complete"]["stages"][place], "protocol": info["protocol"]}
    record |= {"schema_version": 1, "sequence": "faces5", "status": "ok", "files": 2}
    still = {"method": "base", "order": None, "seed": None, "concept": None, "config": {}}
    write(stage / "stage.json", record | (still if place == "base" else {"config": {"rank": 16}}))


def sign(folder: Path) -> None:
    """Put the sums of what is there now into the manifest, as a forger would."""
    manifest = read(folder / MANIFEST)
    for path in manifest["files"]:
        if (folder / path).is_file():
            content = (folder / path).read_bytes()
            manifest["files"][path] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write(folder / MANIFEST, manifest)
