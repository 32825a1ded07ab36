"""What is handed in of a run: records, scores, one small grid of images a method, and the sums of them all."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from cat_bench.results.errors import ResultError
from cat_bench.results.leaderboard.check import (
    Checked,
    check_places,
    check_record,
    check_run,
    check_sums,
    files_of,
)
from cat_bench.results.leaderboard.folder import MANIFEST, NAME, Folder, RefusedError, images_at
from cat_bench.results.leaderboard.pictures import Shown, check_packed, decoded, small_png
from cat_bench.results.leaderboard.record import ImagesRecord, Manifest, RunRecord
from cat_bench.results.leaderboard.rules import Rules
from cat_bench.results.pictures.grids import method_grid
from cat_bench.results.records.long_table import BASE, write_atomically
from cat_bench.results.records.run_folder import Run


@dataclass(frozen=True)
class Submission:
    """One that passed all checks, read from a copy of what was checked. grids: by method."""

    name: str
    record: RunRecord
    run: Run
    grids: Mapping[str, Shown]
    manifest: Manifest

    @property
    def images(self) -> int | None:
        """How many were made, over all stages; None if none were there when it was packed."""
        return sum(images.number for images in self.manifest.images.values()) or None


def pack(source: Path, out: Path, rules: Rules) -> Checked:
    """Write what is handed in of a finished run into a new folder. The same run gives the same bytes.

    Raises ResultError if there is no run or `out` is taken, RefusedError if the run would not be taken; nothing is left
    of `out` then.
    """
    if not (source / "run.json").is_file():
        raise ResultError(f"there is no run at {source}: `cat-bench run` makes one, or give another folder")
    if not NAME.fullmatch(out.name):
        raise ResultError(f"--out {out}: a submission's folder is named with letters, digits and . _ -, 60 at most")
    if out.exists():
        raise ResultError(f"--out {out} is there already: choose another, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".submission-") as beside:
        made = Path(beside) / "made"
        checked = _pack(Folder(source), made, rules)
        made.rename(out)
    return checked


def _pack(found: Folder, out: Path, rules: Rules) -> Checked:
    if found.packed:
        raise RefusedError(f"{MANIFEST} is there: this is a submission, and no run")
    _, stages = check_record(found, rules)
    for path in files_of(stages):
        write_atomically(out / path, found.read(path))
    checked = check_run(Folder(out), rules)
    images = _images(found.root, out, checked)
    for path, png in _grids(found.root, out, checked, images).items():
        write_atomically(out / path, png)
    written = Folder(out).files
    manifest = {
        "schema_version": 1,
        "packed_by": f"cat-bench {version('cat-bench')}",
        "files": {path: _sum(out / path) for path in sorted(written)},
        "images": {stage: record.model_dump() for stage, record in sorted(images.items())},
    }
    write_atomically(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return checked


def take(folder: Path, rules: Rules, work: Path) -> Submission:
    """Check a submission, or a whole run, and have a copy of what is needed of it below `work`, a new folder.

    Raises RefusedError with the first thing that is wrong.
    """
    if not NAME.fullmatch(folder.name):
        raise RefusedError("its folder's name is not of letters, digits and . _ - alone, 60 at most")
    found, name = Folder(folder), folder.name
    if not found.packed:
        _pack(found, work / "packed", rules)
        found = Folder(work / "packed")
    copy = work / "copy"
    for path in sorted(found.files):
        write_atomically(copy / path, found.read(path))
    manifest = check_sums(Folder(copy), found.others)
    checked = check_run(Folder(copy), rules)
    check_places(manifest, checked)
    record = checked.record
    grids = {
        label: Shown.of(decoded(found.read(path), path))
        for label in record.methods
        if (path := f"grids/{label}.png") in found.files
    }
    return Submission(name, record, Run.open(copy), grids, manifest)


def _images(root: Path, out: Path, checked: Checked) -> dict[str, ImagesRecord]:
    """Number and sum of each stage's images, which must be those that there are scores of."""
    found = {}
    for stage, wanted in checked.images.items():
        if path := images_at(root, stage):
            found[stage] = check_packed(path, f"{stage}/images.parquet", wanted)
            held = sum(1 for p in path.parent.iterdir() if p.name != "stage.json" and not p.name.startswith("."))
            said = json.loads((out / stage / "stage.json").read_bytes())["files"]
            if held != said:
                raise RefusedError(f"{stage} holds {held} files, its stage.json says {said}")
    return found


def _grids(root: Path, out: Path, checked: Checked, images: Mapping[str, ImagesRecord]) -> dict[str, bytes]:
    """One of each method's first cell, if its images are there."""
    borrowed = [BASE, *(stage.place for stage in checked.stages)]
    borrowed = [stage for stage in borrowed if stage in images]
    if references := images_at(root, "references"):
        check_packed(references, "references/images.parquet", frozenset())
        borrowed.append("references")
    links = [out / stage / "images.parquet" for stage in borrowed]
    for stage, link in zip(borrowed, links, strict=True):
        link.symlink_to((root / stage / "images.parquet").resolve())
    try:
        run, made = Run.open(out), {}
        for method in checked.record.spec.methods:
            cell = run.of(method)[0]
            if any(stage.images for stage in cell.stages):
                with Image.open(io.BytesIO(method_grid(run, cell).png)) as grid:
                    made[f"grids/{method}.png"] = small_png(grid.convert("RGB"))
        return made
    finally:
        for link in links:
            link.unlink()


def _sum(path: Path) -> dict[str, int | str]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
