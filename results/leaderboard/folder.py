"""A folder that somebody handed in: data, never code. All that is read of it is read here, name by name and bounded.

Nothing is followed out of it (no link, no `..`), only JSON, Parquet and PNG files of known places are opened, and none
that is larger than such a file can be.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from cat_bench.results.errors import ResultError

MANIFEST = "submission.json"
_MIB = 2**20
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_.-]*(?:\[[A-Za-z0-9_.+=,-]+\])?"  # of a method, as `Variant` writes it
_CONCEPT = r"[A-Za-z0-9_](?:[A-Za-z0-9_ .-]*[A-Za-z0-9_.-])?"
LABEL, CONCEPT, WORD = f"^{_LABEL}$", f"^{_CONCEPT}$", r"^[A-Za-z0-9_][A-Za-z0-9_./:@ +-]*$"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")  # of a submission: its folder's
LONGEST = 120  # characters of a name
RESERVED = ("base", "references", "report", "real", "other_noise", "grids")
_CELL = rf"{_LABEL}/order\d{{1,9}}-seed\d{{1,9}}"
_STAGE = rf"(?:base|{_CELL}/\d{{2,3}}-{_CONCEPT})"
PLACES = {  # what is read, and how many bytes it may have
    re.compile(rf"run\.json|{MANIFEST}"): 8 * _MIB,
    re.compile(rf"references/references\.json|{_CELL}/cell\.json|{_STAGE}/stage\.json"): _MIB // 4,
    re.compile(rf"{_STAGE}/scores\.parquet"): 4 * _MIB,
    re.compile(rf"grids/{_LABEL}\.png"): _MIB // 2,
}
_IMAGES = re.compile(rf"(?:{_STAGE}|references)/images\.parquet")
_LARGEST_IMAGES = 2048 * _MIB
MOST_FILES, MOST_BYTES = 20_000, 512 * _MIB
_DEEP = (re.compile(r"[^.].*"), re.compile(r"order\d+-seed\d+"), re.compile(r"\d+-.*"))  # folders that are entered


class RefusedError(ResultError):
    """Why a folder is not taken: one line, without characters that a terminal or a page could take for more."""

    def __init__(self, reason: str) -> None:
        super().__init__(plain(reason))


def plain(text: str, longest: int = 400) -> str:
    """Text of strangers on one line: what does not print is shown as `\\x1b`, what is too long is cut."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


class Folder:
    """A folder that somebody handed in, with the files in it that may be read. Raises RefusedError."""

    def __init__(self, root: Path) -> None:
        if root.is_symlink():
            raise RefusedError(f"{root.name} is a link; hand in the folder itself")
        self.root = root
        self.files: dict[str, int] = {}  # path below the root, and how many bytes it has
        self.others: list[str] = []  # files, and folders that are not entered, at places where nothing is read
        self._seen = 0
        for path, size in self._walk("", 0):
            limit = limit_of(path)
            if limit is None:
                self.others.append(path)
            elif size > limit:
                raise RefusedError(f"{path} has {size} bytes, more than the {limit} that such a file can have")
            else:
                self.files[path] = size
        if sum(self.files.values()) > MOST_BYTES:
            raise RefusedError(f"more than {MOST_BYTES // _MIB} MiB are to be read")

    def _walk(self, below: str, depth: int) -> Iterator[tuple[str, int]]:
        with os.scandir(self.root / below) as found:
            entries = list(islice(found, MOST_FILES + 1 - self._seen))
        self._seen += len(entries)
        if self._seen > MOST_FILES:
            raise RefusedError(f"it holds more than {MOST_FILES} files and folders")
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{below}{entry.name}"
            if entry.is_symlink():
                raise RefusedError(f"{path} is a link; a submission holds plain files and folders alone")
            if entry.is_dir(follow_symlinks=False):
                if depth < len(_DEEP) and _DEEP[depth].fullmatch(entry.name):
                    yield from self._walk(f"{path}/", depth + 1)
                else:
                    self.others.append(f"{path}/")
                continue
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise RefusedError(f"{path} is no plain file")
            yield path, status.st_size

    @cached_property
    def packed(self) -> bool:
        """Whether it was made by `cat-bench submit`: it has a manifest."""
        return MANIFEST in self.files

    def read(self, path: str) -> bytes:
        """A file that may be read. Raises RefusedError if it is none, or not what it was a moment ago."""
        limit = limit_of(path)
        if path not in self.files or limit is None:
            raise RefusedError(f"{path} is missing")
        try:
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            with open(os.open(self.root / path, flags), "rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise RefusedError(f"{path} cannot be read ({error.strerror})") from None
        if len(content) != self.files[path]:
            raise RefusedError(f"{path} changed while it was read")
        return content

    def json(self, path: str) -> dict[str, Any]:
        """The object in a JSON file. Raises RefusedError."""
        return parsed(self.read(path), path)


def parsed(content: bytes, path: str) -> dict[str, Any]:
    """The object in a JSON text. Raises RefusedError: none in it, numbers that are none, nested too deep."""

    def no_number(text: str) -> None:
        raise ValueError(f"{text} is no number")

    try:
        found = json.loads(content, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{path} is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise RefusedError(f"{path} holds no JSON object")
    return found


def limit_of(path: str) -> int | None:
    """How many bytes the file of that place may have; None if nothing is read there."""
    parts = path.split("/")
    if any(len(part) > LONGEST + 4 for part in parts) or (len(parts) == 3 and parts[0] in RESERVED):
        return None
    return next((limit for place, limit in PLACES.items() if place.fullmatch(path)), None)


def images_at(root: Path, stage: str) -> Path | None:
    """The packed images of a stage of a whole run, None if there are none. Raises RefusedError."""
    path = f"{stage}/images.parquet"
    where = root / path
    if not where.exists() or not _IMAGES.fullmatch(path):
        return None
    if where.is_symlink() or not where.is_file() or where.stat().st_size > _LARGEST_IMAGES:
        raise RefusedError(f"{path} is no plain file of at most {_LARGEST_IMAGES // _MIB} MiB")
    return where
