"""A folder that a command fills: whole or not there, and replaced only where the same command wrote what is in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cat_bench.benchmark.errors import ExportError
from cat_bench.benchmark.store.files import plain_errors, read_json, sync_all, write_json


def check_free(out: Path, record: str) -> None:
    """Raises ExportError if `out` holds anything but what `own_folder` once put there with this record."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise ExportError(f"{out} is in the way: it is no folder; choose another --out")
    written = (read_json(out / record) or {}).get("files", [])
    foreign = sorted(set(_files(out)) - {*written, record})
    if foreign:
        raise ExportError(f"{out} holds {foreign[0]}, which this command did not write; choose another --out")


@contextmanager
def own_folder(out: Path, record: str, facts: dict[str, Any]) -> Iterator[Path]:
    """A folder to write into; when the block ends well it takes the place of `out`, with `facts` in the file `record`.

    If anything goes wrong, `out` is as it was. Raises ExportError where something else is in the way, RunError where
    the disk refuses.
    """
    check_free(out, record)
    beside, former = (out.with_name(f".{out.name}.{word}") for word in ("partial", "former"))
    with plain_errors(out, "another --out"):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            write_json(beside / record, {**facts, "files": _files(beside)})
            sync_all([path for path in beside.rglob("*") if path.is_file() and path.suffix != ".png"])  # quickly drawn
            check_free(out, record)
            if out.exists():
                shutil.rmtree(former, ignore_errors=True)
                out.rename(former)
            beside.rename(out)
            shutil.rmtree(former, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
