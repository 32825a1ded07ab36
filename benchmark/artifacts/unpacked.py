"""The images of a run or of a stage as PNG files, for looking."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cat_bench.benchmark.errors import ExportError, RunError
from cat_bench.benchmark.planning.keys import IMAGES
from cat_bench.benchmark.planning.spec import suggestion
from cat_bench.benchmark.planning.variant import Variant
from cat_bench.benchmark.store.files import plain_errors
from cat_bench.benchmark.store.record import RUN, find_run
from cat_bench.results.records.images import StageImages

_AT_ONCE = 64  # images held in memory
_PLACES = (f"base/{IMAGES}", f"references/{IMAGES}", f"*/order*-seed*/[0-9]*/{IMAGES}")


@dataclass(frozen=True)
class Packed:
    """Images of one file that are wanted. below: where they go in the folder that is written."""

    images: StageImages
    below: Path
    rows: Sequence[int]


def find_images(run: str | None, runs: Path) -> tuple[Path, bool]:
    """The folder of a run, or that of a stage by its path, and whether it is a stage's. Raises RunError."""
    if run is not None and (Path(run) / IMAGES).is_file():
        return Path(run), True
    return find_run(run, runs), False


def usual_out(folder: Path, of_stage: bool) -> Path:
    """`images/` in the run's folder, and in there the stage's own. Raises ExportError for a stage that is in no run."""
    if not of_stage:
        return folder / "images"
    for above in folder.resolve().parents:
        if (above / RUN).is_file():
            return above / "images" / folder.resolve().relative_to(above)
    raise ExportError(f"{folder} is in no run's folder: say where to write with --out")


def wanted_images(
    folder: Path, of_stage: bool, methods: Collection[str] | None = None, concepts: Collection[str] | None = None
) -> tuple[Packed, ...]:
    """What is to be unpacked. methods: with `base` and `references` among them; concepts: or strata, or class nouns.

    Raises RunError if there is nothing of it, and ResultError for a damaged file.
    """
    if of_stage and methods is not None:
        raise RunError(f"--method: {folder} is a stage, of one method")
    methods = None if methods is None else [Variant.parse(method).label for method in methods]
    places = [folder / IMAGES] if of_stage else [path for pattern in _PLACES for path in sorted(folder.glob(pattern))]
    if not places:
        raise RunError(f"{folder} has no {IMAGES}: nothing was drawn yet, or by a version that kept loose files")
    by_method = {path: path.relative_to(folder).parts[0] for path in places}
    _check("--method", methods, set(by_method.values()), folder)
    files = [(path, StageImages(path)) for path in places if methods is None or by_method[path] in methods]
    _check("--concept", concepts, {row.concept for _, images in files for row in images.rows}, folder)
    found = []
    for path, images in files:
        rows = [n for n, row in enumerate(images.rows) if concepts is None or row.concept in concepts]
        if rows:
            found.append(Packed(images, path.parent.relative_to(folder), rows))
    return tuple(found)


def unpack(wanted: Sequence[Packed], out: Path) -> Iterator[int]:
    """Write `out`, whole or not at all; yields how many images are done. Raises ExportError if it is there already."""
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise ExportError(f"{out} is there already, and nothing is overwritten: delete it or choose another --out")
    beside, done = out.with_name(f".{out.name}.partial"), 0
    with plain_errors(out, "another --out"):
        shutil.rmtree(beside, ignore_errors=True)
        try:
            for packed in wanted:
                for some in (packed.rows[n : n + _AT_ONCE] for n in range(0, len(packed.rows), _AT_ONCE)):
                    _write(packed, some, beside)
                    done += len(some)
                    yield done
            beside.replace(out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _write(packed: Packed, rows: Sequence[int], folder: Path) -> None:
    pngs = packed.images.pngs(rows[0], rows[-1] + 1)
    for row in rows:
        name = PurePosixPath(packed.images.rows[row].path)
        if name.is_absolute() or ".." in name.parts:
            raise ExportError(f"{packed.images.path} has an image called {name}, which would lie outside the folder")
        path = folder / packed.below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pngs[row - rows[0]])


def _check(flag: str, given: Collection[str] | None, known: Collection[str], folder: Path) -> None:
    for name in given or ():
        if name not in known:
            raise RunError(f"{flag} {name!r}: {folder} has no images of it{suggestion(name, sorted(known))}")
