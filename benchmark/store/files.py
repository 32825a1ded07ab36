"""Files that are whole or not there: written beside, forced to disk, renamed into place."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cat_bench.benchmark.errors import RunError

Arrays = dict[str, NDArray[Any]]
RUNS = "another --runs folder"
_BESIDE = re.compile(r"^\.(.+?)(?:\.\d+)?\.(?:part|partial|former)$")


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put `content` at `path`, whole or not at all; an older file of that name stays until the new one is there.

    durable: also force it to disk before the rename, so that it is whole after a power failure.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any, *, durable: bool = True) -> None:
    """The same for a JSON document; keys stay in the order given."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(), durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is no such file or no object in it (then it is as good as absent)."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A safetensors file of numpy arrays."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, by name in alphabetical order (the library's own order changes by chance)."""
    from safetensors.numpy import load

    return dict(sorted(load(path.read_bytes()).items()))


def png(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    """The picture as PNG; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def read_picture(source: Path | IO[bytes]) -> NDArray[np.uint8] | None:
    """(H, W, 3); None if there is no whole picture in `source`."""
    try:
        with Image.open(source) as image:
            return np.asarray(image.convert("RGB"))
    except (FileNotFoundError, SyntaxError, ValueError, OSError):
        return None


def sync(path: Path) -> None:
    """Force a file's content, or a folder's own entries, to disk: only then does it survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """The same for many: side by side, since a disk takes hundreds of requests at once in the time of a few."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(sync, paths))


def link_tree(source: Path, target: Path) -> None:
    """The files under `source` also appear under `target`: as hard links, or as copies where links are impossible."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted(source.iterdir()):
            link_tree(entry, target / entry.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES):
            raise
        shutil.copyfile(source, target)


@contextmanager
def plain_errors(folder: Path, choose: str | None = None) -> Iterator[None]:
    """Turn what a disk can refuse into one clear line (RunError): no space, no permission, read-only, bad paths.

    choose: what else can be given, such as "another --out"; None: another folder of runs.
    """
    try:
        yield
    except OSError as error:
        if line := disk_trouble(error, folder, choose):
            raise RunError(line) from error
        raise


def disk_trouble(error: BaseException | None, folder: Path, choose: str | None = None) -> str | None:
    """One line if the error, or what caused it, is the disk's; else None. choose: as of `plain_errors`."""
    while error is not None:
        where = _target(getattr(error, "filename", None) or folder)
        code = getattr(error, "errno", None) if isinstance(error, OSError) else None
        if code in (errno.ENOSPC, errno.EDQUOT) or (code is None and "No space left on device" in str(error)):
            return f"no space left on the disk of {folder}: free some, then give the same command again to go on"
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{where} cannot be used ({os.strerror(code)}): mend its permissions or choose {choose or RUNS}"
        if code in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG):
            return f"{where} is in the way ({os.strerror(code)}): choose {choose or f'{RUNS} or --name'}"
        if code in (errno.EIO, errno.ESTALE):
            return f"{where} cannot be read or written ({os.strerror(code)}): the disk may be failing"
        error = error.__cause__
    return None


def _target(path: Any) -> Any:
    """What was to be written, where the path is of something beside that takes its place: `.page.md.part`."""
    if not isinstance(path, str | Path):
        return path
    return Path(*(_BESIDE.sub(r"\1", part) for part in Path(path).parts))
