"""A stage's images on their way: a file each while they are made, batch by batch, and one file for all in the end."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cat_bench.benchmark.planning.items import Item
from cat_bench.benchmark.planning.keys import IMAGES
from cat_bench.benchmark.store.files import read_picture, write_bytes
from cat_bench.results.errors import ResultError
from cat_bench.results.records.images import Row, StageImages, write_images

LOOSE = "images"  # in a stage's workplace; gone once they are packed


def loose(item: Item) -> str:
    """Where an image lies in the workplace while others are still to come."""
    return f"{LOOSE}/{item.path}"


def pack(folder: Path, items: Sequence[Item]) -> None:
    """Put the loose images of a stage, all of which are there, into one file. What was packed before stays."""
    if not (folder / IMAGES).exists():
        write_images(folder / IMAGES, [_row(item) for item in items], ((folder / loose(i)).read_bytes() for i in items))
    shutil.rmtree(folder / LOOSE, ignore_errors=True)


def take_some(donor: Path, folder: Path, items: Sequence[Item]) -> int:
    """Have those of the items' images that another stage holds, loose; how many there are now of them."""
    taken = 0
    with suppress(ResultError, OSError):  # another process replaced the donor meanwhile
        held = StageImages(donor / IMAGES)
        for item in items:
            kind, _, name = item.group.partition("/")
            if image := held.find(name, item.prompt, item.image, kind):
                (folder / loose(item)).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(folder / loose(item), image.read_bytes(), durable=False)
                taken += 1
    return taken


class Made:
    """The images of a stage that are there, packed or loose."""

    def __init__(self, folder: Path, items: Sequence[Item]) -> None:
        self.folder, self.items = folder, items
        self.packed = (folder / IMAGES).exists()

    def read(self, part: slice) -> NDArray[np.uint8] | None:
        """(n, H, W, 3) of these items; None unless every one of them is there and whole."""
        sources = (
            map(io.BytesIO, self._pngs(part)) if self.packed else (self.folder / loose(i) for i in self.items[part])
        )
        found = [read_picture(source) for source in sources]
        whole = [picture for picture in found if picture is not None]
        return np.stack(whole) if len(whole) == len(self.items[part]) else None

    def _pngs(self, part: slice) -> list[bytes]:
        try:
            return self._file.pngs(part.start, part.stop)
        except ResultError:
            return []

    @cached_property
    def _file(self) -> StageImages:
        return StageImages(self.folder / IMAGES)


def _row(item: Item) -> Row:
    kind, _, name = item.group.partition("/")
    return Row(item.path, kind, name, item.prompt, item.image, item.text, item.seed)
