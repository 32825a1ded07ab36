"""What is packed of a run, and what is refused of what was handed in: one forgery each, with the reason it is given."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from handed_in import REFERENCES, RULES, change_rows, constant, read, sign, write
from PIL import Image

from cat_bench.benchmark.artifacts.submitted import derived
from cat_bench.results.errors import ResultError
from cat_bench.results.leaderboard.folder import MANIFEST, RefusedError, plain
from cat_bench.results.leaderboard.pack import pack, take
from cat_bench.results.records.images import FILE, StageImages, write_images
from cat_bench.results.records.long_table import SCHEMA
from cat_bench.results.records.run_folder import Run

CELL = "cat/order0-seed1"
LAST = f"{CELL}/02-tolbek"


def test_a_submission_is_small_whole_and_the_same_each_time(alice: Path, whole_run: Path, tmp_path: Path) -> None:
    pack(whole_run, tmp_path / "again", RULES)
    first, second = (
        {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (alice, tmp_path / "again")
    )
    assert first == second
    assert {name.rpartition(".")[2] for name in first} == {"json", "parquet", "png"}
    assert {name for name in first if name.startswith("grids/")} == {
        "grids/lora.png",
        "grids/cat.png",
        "grids/joint.png",
    }
    assert set(read(alice / MANIFEST)["files"]) == set(first) - {MANIFEST}
    with Image.open(alice / "grids" / "lora.png") as grid:
        assert grid.width <= 1000 and len((alice / "grids" / "lora.png").read_bytes()) < 100_000


def test_what_was_packed_gives_the_figures_of_the_run(alice: Path, whole_run: Path, tmp_path: Path) -> None:
    taken = take(alice, RULES, tmp_path / "work")
    run = Run.open(whole_run)
    assert taken.run.methods == run.methods and taken.run.replicated is False
    for ours, theirs in zip(taken.run.cells, run.cells, strict=True):
        assert ours.totals.mean.equals(theirs.totals.mean)
    images = sum(len(StageImages(path)) for path in whole_run.rglob(FILE) if path.parent.name != "references")
    assert taken.images == images


def test_a_whole_run_is_taken_as_it_is(whole_run: Path, tmp_path: Path) -> None:
    taken = take(whole_run, RULES, tmp_path / "work")
    assert set(taken.grids) == set(taken.record.methods)
    assert all(shown.uri.startswith("data:image/webp;base64,") for shown in taken.grids.values())
    assert taken.record.methods["joint"].reference is ("joint" in REFERENCES)


def test_packing_says_what_is_in_the_way(alice: Path, whole_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="there is no run at"):
        pack(tmp_path, tmp_path / "out", RULES)
    with pytest.raises(ResultError, match="is there already"):
        pack(whole_run, alice, RULES)
    with pytest.raises(ResultError, match="named with letters"):
        pack(whole_run, tmp_path / "<b>", RULES)
    with pytest.raises(RefusedError, match="this is a submission, and no run"):
        pack(alice, tmp_path / "out", RULES)
    run = Path(shutil.copytree(whole_run, tmp_path / "run"))
    write(run / "run.json", read(run / "run.json") | {"complete": None})
    with pytest.raises(RefusedError, match="the run is not finished"):
        pack(run, tmp_path / "out", RULES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


# Forgeries. Each changes a copy of a submission; those that are signed have the right sums in the manifest.


def edited(path: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder / path, read(folder / path) | changes)


def of_run(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        info = read(folder / "run.json")
        change(info)
        write(folder / "run.json", info)

    return forge


def rekeyed(stage: str, key: str) -> Callable[[Path], None]:
    """Another key, in the stage's record and in the run's."""

    def forge(folder: Path) -> None:
        edited(f"{stage}/stage.json", **{key: "a" * 64})(folder)
        of_run(lambda info: info["complete"]["stages"][stage].update({key: "a" * 64}))(folder)

    return forge


def respecified(**changes: Any) -> Callable[[Path], None]:
    """Another specification, with its hash."""

    def change(info: dict[str, Any]) -> None:
        info["spec"] |= changes
        info["spec_hash"] = derived(info).spec_hash

    return of_run(change)


def swapped(folder: Path) -> None:
    """Another backbone under the name of one that ships, with everything that follows from it."""

    def change(info: dict[str, Any]) -> None:
        info["backbone"]["fingerprint"] = "a" * 64
        info["protocol"] = derived(info).protocol

    of_run(change)(folder)


def said(folder: Path, what: str, instead: str) -> None:
    text = (folder / "run.json").read_text(encoding="utf-8")
    assert what in text
    (folder / "run.json").write_text(text.replace(what, instead), encoding="utf-8")


def rows(change: Callable[[pa.Table], pa.Table], stage: str = LAST) -> Callable[[Path], None]:
    return lambda folder: change_rows(folder / stage / "scores.parquet", change)


def raised(metric: str, by: float) -> Callable[[pa.Table], pa.Table]:
    """Every value of a metric made larger."""

    def change(table: pa.Table) -> pa.Table:
        there = pc.equal(table["metric"], metric)
        value = pc.if_else(there, pc.add(table["value"], by), table["value"])
        return table.set_column(table.schema.get_field_index("value"), table.schema.field("value"), value)

    return change


def nulled(metric: str) -> Callable[[pa.Table], pa.Table]:
    """Scores of a metric below its mean made null, with a reason."""

    def change(table: pa.Table) -> pa.Table:
        own = pc.equal(table["metric"], metric)
        bad = pc.and_(own, pc.less(table["value"].fill_null(0.0), pc.mean(table["value"].filter(own)).as_py()))
        for name, value in (("value", None), ("reason", "not finite")):
            field = table.schema.field(name)
            column = pc.if_else(bad, pa.scalar(value, field.type), table[name])
            table = table.set_column(table.schema.get_field_index(name), field, column)
        return table

    return change


def lifted(table: pa.Table) -> pa.Table:
    """KPS half way to 1, its images as they were."""
    own = pc.equal(table["metric"], "kps")
    value = pc.if_else(own, pc.divide(pc.add(table["value"], 1.0), 2.0), table["value"])
    return table.set_column(table.schema.get_field_index("value"), table.schema.field("value"), value)


def recognised(table: pa.Table) -> pa.Table:
    """Every image passes for the right concept, whatever was seen."""
    value = pc.if_else(pc.equal(table["metric"], "concept_accuracy"), 1.0, table["value"])
    return table.set_column(table.schema.get_field_index("value"), table.schema.field("value"), value)


def endless(folder: Path) -> None:
    """Few kilobytes that unpack to many rows."""
    path = folder / LAST / "scores.parquet"
    first = pq.ParquetFile(path).read().slice(0, 1)
    pq.write_table(first.take(pa.array([0] * 300_000)), path, compression="zstd")


def linked(folder: Path) -> None:
    outside = folder.parent / "outside"
    (folder / LAST).rename(outside)
    (folder / LAST).symlink_to(outside, target_is_directory=True)


def linked_file(folder: Path) -> None:
    (folder / "run.json").rename(folder.parent / "run.json")
    (folder / "run.json").symlink_to(folder.parent / "run.json")


def linked_whole(folder: Path) -> None:
    folder.rename(folder.parent / "outside")
    folder.symlink_to(folder.parent / "outside", target_is_directory=True)


def named(label: str) -> Callable[[Path], None]:
    """A method of that name, in run.json."""

    def forge(folder: Path) -> None:
        text = (folder / "run.json").read_text(encoding="utf-8")
        (folder / "run.json").write_text(text.replace('"cat', f'"{json.dumps(label)[1:-1]}'), encoding="utf-8")

    return forge


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def giant(folder: Path) -> None:
    """A PNG of 1 kB that says it is 60,000 pixels wide and high."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000))
    (folder / "grids" / "cat.png").write_bytes(png + chunk(b"IEND", b""))


def second_head(folder: Path) -> None:
    """A PNG whose first head is small, and whose second, which counts, is not."""
    path = folder / "grids" / "cat.png"
    png = path.read_bytes()
    path.write_bytes(png[:33] + chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)) + png[33:])


def listed(path: str) -> Callable[[Path], None]:
    """The manifest names a file that lies elsewhere."""

    def forge(folder: Path) -> None:
        manifest = read(folder / MANIFEST)
        manifest["files"][path] = manifest["files"]["run.json"]
        write(folder / MANIFEST, manifest)

    return forge


def without(path: str) -> Callable[[Path], None]:
    """A file or folder, and what the manifest says of it, taken out."""

    def forge(folder: Path) -> None:
        manifest = read(folder / MANIFEST)
        for key in ("files", "images"):
            manifest[key] = {name: of for name, of in manifest[key].items() if not name.startswith(path)}
        write(folder / MANIFEST, manifest)
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return forge


def script_as_folder(folder: Path) -> None:
    (folder / "cat").rename(folder / "<script>alert(1)<")


def extra(folder: Path) -> None:
    (folder / CELL / "weights.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


def hidden(folder: Path) -> None:
    (folder / ".git" / "hooks").mkdir(parents=True)


def deep(folder: Path) -> None:
    (folder / "run.json").write_text("[" * 100_000 + "]" * 100_000, encoding="utf-8")


SIGNED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a score beyond its range": (rows(raised("clip_i", 2.0)), "clip_i .* is out of its range"),
    "accuracy that nobody saw": (rows(recognised), "concept_accuracy is not what was seen"),
    "a score left out": (rows(lambda t: t.slice(1)), "is missing: a stage is asked for the same images"),
    "a score twice": (rows(lambda t: pa.concat_tables([t, t.slice(0, 1)])), "stands there twice"),
    "no rows": (rows(lambda t: t.slice(0, 0)), "has no rows"),
    "rows of another method": (rows(constant("method", "lora")), "rows have method lora, not cat"),
    "rows of another order": (rows(constant("order", 3)), "rows have order 3, not 0"),
    "rows of another seed": (rows(constant("seed", 0)), "rows have seed 0, not 1"),
    "rows of another stage": (rows(constant("stage", 1)), "rows have stage 1, not 2"),
    "rows of another protocol": (rows(constant("protocol", "a" * 64)), "rows have protocol a"),
    "rows by another model": (rows(constant("extractor", "mine")), "scores by mine, a model that run.json does not"),
    "rows of an old schema": (rows(constant("schema_version", 2)), "rows have schema_version 2, not 3"),
    "other noise": (rows(constant("noise", 7)), "is not the base model's"),
    "no such metric": (rows(constant("metric", "beauty")), "beauty is no declared metric"),
    "a script in a concept": (
        rows(constant("concept", "<script>")),
        "concept '<script>' is not what such",
    ),
    "a page in a reason": (rows(constant("reason", "<" * 2000)), "reason '<+…' is not what such a column holds"),
    "another column": (rows(lambda t: t.append_column("x", pa.array([1] * len(t)))), "is of another schema"),
    "metadata of another program": (rows(lambda t: t.replace_schema_metadata({"pandas": "{}"})), "another schema"),
    "a text without end": (rows(constant("extractor", "x" * 10**6)), "extractor 'x+…' is not what such a column holds"),
    "a table without end": (endless, "would unpack to 300000 rows"),
    "no table": (lambda f: (f / LAST / "scores.parquet").write_bytes(b"PAR1"), "is no Parquet file"),
    "a score made null": (rows(nulled("clip_i")), "is null, where the base model has a score"),
    "preservation left out": (rows(lambda t: t.filter(pc.not_equal(t["metric"], "kps"))), "kps of .* is missing"),
    "KPS that its images do not have": (rows(lifted), "kps of .* is not what the scores of its images come to"),
    "another protocol": (edited("run.json", protocol="a" * 64), "protocol is not the digest of what is recorded"),
    "another specification": (
        edited("run.json", spec_hash="a" * 64),
        "spec_hash is not the digest",
    ),
    "another base model": (rekeyed("base", "key"), "the key of the base model is not that of its fingerprint"),
    "another model that judges": (
        of_run(lambda i: i["metric_model"].update(fingerprint="a" * 64)),
        "are not by the mod",
    ),
    "a shipped model that was changed": (swapped, "the fingerprint of avatars64.v2 is not the one it ships with"),
    "a text for a number": (
        edited("base/stage.json", seconds={"score": "1"}),
        "seconds.score: input should be",
    ),
    "a seed twice": (respecified(seeds=[0, 0, 1, 2, 3, 4]), "something stands there twice"),
    "a number without end": (lambda f: said(f, '"cores": 2', '"cores": 1e999'), "run.json: machine.cores"),
    "other settings of the sampler": (of_run(lambda i: i["spec"]["sampler"].update(steps=50)), "is not the digest"),
    "another protocol in a cell": (edited(f"{CELL}/cell.json", protocol="a" * 64), "its protocol is not the run's"),
    "a failed cell": (edited(f"{CELL}/cell.json", status="failed"), "cell.json: status: input should be 'ok'"),
    "another sequence": (of_run(lambda i: i["sequence"].update(fingerprint="a" * 64)), "are not those it ships with"),
    "no released sequence": (of_run(lambda i: i["sequence"].update(version="9")), "faces5.v9 is no released sequence"),
    "other settings": (of_run(lambda i: i["methods"]["cat"]["config"].update(rank=64)), "its settings are not those"),
    "another key": (edited(f"{LAST}/stage.json", key="a" * 64), "its keys are not those that run.json has"),
    "no keys": (of_run(lambda i: i["complete"]["stages"][LAST].pop("key")), r"run.json: complete.stages.*key: field"),
    "another seed": (edited(f"{LAST}/stage.json", seed=7), "seed is 7, where its folder or its run says 1"),
    "no fingerprint": (of_run(lambda i: i["backbone"].pop("fingerprint")), "backbone.fingerprint: field required"),
    "no model": (of_run(lambda i: i.pop("metric_model")), "run.json: metric_model: field required"),
    "more cells than there are": (respecified(seeds=[0, 1, 2, 3, 4, 5]), "it says are complete"),
    "cells without end": (respecified(seeds=list(range(9999))), "more than 5000 cells"),
    "a number that is none": (lambda f: edited("run.json", x=float("nan"))(f), "is no JSON"),
    "nested without end": (deep, "run.json is no JSON|holds no JSON object"),
    "a script in a name": (named("<img src=x onerror=alert(1)>"), r"run.json: .*<img src=x onerror=alert"),
    "a name that leaves the folder": (named("../../cat"), "run.json: .*should match pattern"),
    "a name that is taken": (named("base"), "run.json: .*this name is taken"),
    "a giant image": (giant, "grids/cat.png would be 60000 × 60000 pixels"),
    "an image with two heads": (second_head, "^grids/cat.png has more than one head or picture"),
    "no image": (lambda f: (f / "grids" / "cat.png").write_bytes(b"GIF89a"), "grids/cat.png is no PNG"),
    "a missing stage": (without(LAST), f"{LAST}/stage.json is missing"),
    "a missing cell": (without(CELL), "cell.json is missing|is missing"),
    "no scores of the base model": (without("base/scores.parquet"), "base/scores.parquet is missing"),
}
UNSIGNED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed score": (rows(raised("clip_i", 1e-6)), f"{LAST}/scores.parquet is not the file that was packed"),
    "a link out of the folder": (linked, f"{LAST} is a link"),
    "a link to a file": (linked_file, "run.json is a link"),
    "a link as the folder": (linked_whole, "is a link; hand in the folder itself"),
    "a file elsewhere": (listed("../alice/run.json"), r"\.\./alice/run.json is missing"),
    "a file at the root": (listed("/etc/passwd"), "/etc/passwd is missing"),
    "a hidden folder": (hidden, r"\.git/ is not in the manifest"),
    "a folder of one's own": (lambda f: (f / CELL / "code").mkdir(), f"{CELL}/code/ is not in the manifest"),
    "a script as a folder's name": (script_as_folder, r"<script>alert\(1\)</.* is not in the manifest"),
    "a pickle": (extra, f"{CELL}/weights.pkl is not in the manifest"),
    "a file too large": (lambda f: (f / CELL / "cell.json").write_bytes(b" " * 300_000), "has 300000 bytes, more than"),
}


@pytest.mark.parametrize("forgery", SIGNED)
def test_a_forgery_with_right_sums_is_refused(forgery: str, alice: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(alice, tmp_path / "mallory"))
    forge, reason = SIGNED[forgery]
    forge(folder)
    sign(folder)
    if "name" in forgery or "missing" in forgery:
        _follow(folder)
    with pytest.raises(RefusedError, match=reason) as refused:
        take(folder, RULES, tmp_path / "work")
    assert str(refused.value).isprintable()


def _follow(folder: Path) -> None:
    """The manifest names what is there."""
    manifest = read(folder / MANIFEST)
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    manifest["files"] = {path: {"bytes": 0, "sha256": "0" * 64} for path in sorted(there)}
    write(folder / MANIFEST, manifest)
    sign(folder)


@pytest.mark.parametrize("forgery", UNSIGNED)
def test_a_forgery_is_refused(forgery: str, alice: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(alice, tmp_path / "mallory"))
    forge, reason = UNSIGNED[forgery]
    forge(folder)
    with pytest.raises(RefusedError, match=reason):
        take(folder, RULES, tmp_path / "work")


def test_images_of_a_whole_run_are_those_of_its_scores(whole_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole_run, tmp_path / "run"))
    path = folder / LAST / FILE
    held = StageImages(path)
    kept, pngs = held.rows, held.pngs(0, len(held))
    write_images(path, kept[1:], pngs[1:])
    with pytest.raises(RefusedError, match="has images of"):
        take(folder, RULES, tmp_path / "one")
    giant_png = pngs[0][:16] + struct.pack(">II", 50_000, 50_000) + pngs[0][24:]
    write_images(path, kept, [giant_png, *pngs[1:]])
    with pytest.raises(RefusedError, match="would be 50000 × 50000 pixels"):
        take(folder, RULES, tmp_path / "two")
    write_images(path, kept, pngs)
    (folder / LAST / "more.bin").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"holds 3 files, its stage.json says 2"):
        take(folder, RULES, tmp_path / "three")


def test_what_is_said_of_strangers_prints() -> None:
    assert plain("a\x1b[2Jb\nc\u202ed") == "a\\x1b[2Jb\\nc\\u202ed"
    assert plain("x" * 1000) == "x" * 399 + "…"


def test_the_schema_is_what_is_asked_for(alice: Path) -> None:
    assert pq.read_schema(alice / LAST / "scores.parquet").equals(SCHEMA)
