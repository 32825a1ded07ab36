"""Folders of photos, good and bad, made on the spot."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """Smooth colours that differ from seed to seed and from side to side."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def good(folder: Path, count: int = 4, first: int = 0) -> Path:
    """A concept's folder: 00.png, 01.png, …"""
    folder.mkdir(parents=True)
    for number in range(count):
        picture(first + number).save(folder / f"{number:02d}.png")
    return folder


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size as it says, with next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.doc").write_bytes(b"nothing to see")


def _two(folder: Path) -> None:
    (folder / "02.png").unlink()
    (folder / "03.png").unlink()


def _truncated(folder: Path) -> None:
    picture(9, 640, 480).save(folder / "04.jpg")
    content = (folder / "04.jpg").read_bytes()
    (folder / "04.jpg").write_bytes(content[: len(content) // 2])


def _truncated_png(folder: Path) -> None:
    content = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(content[: len(content) // 2])


def _animated(folder: Path) -> None:
    first, *others = (picture(20 + n) for n in range(3))
    first.save(folder / "04.gif", save_all=True, append_images=others)


def _pages(folder: Path) -> None:
    picture(20).save(folder / "04.tif", save_all=True, append_images=[picture(21)])


def _duplicate(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "01.png").read_bytes())


def _link_out(folder: Path) -> None:
    picture(30).save(folder.parent / ".elsewhere.png")
    (folder / "04.png").symlink_to(folder.parent / ".elsewhere.png")


def _link_to_folder_out(folder: Path) -> None:
    good(folder.parent / ".outside" / "reference", first=50)
    (folder / "train").mkdir()
    for path in sorted(folder.glob("*.png")):
        path.rename(folder / "train" / path.name)
    (folder / "reference").symlink_to(folder.parent / ".outside" / "reference")


def _float(folder: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)).save(folder / "04.tif")


def _one_part(folder: Path) -> None:
    (folder / "train").mkdir()
    for path in sorted(folder.glob("*.png")):
        path.rename(folder / "train" / path.name)


def _rows(*rows: object) -> Callable[[Path], object]:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return lambda folder: (folder / "metadata.jsonl").write_text(text, "utf-8")


def _bytes(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


# name -> (what is done to a good folder `dog`, the file or folder that must be named, what must be said of it)
BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no images": (_empty, "dog", "holds no images; a concept needs 3 or more"),
    "fewer than three": (_two, "dog", "holds only 2 images that can be used"),
    "truncated JPEG": (_truncated, "dog/04.jpg", "is cut off: the file ends too early; copy or download it again"),
    "truncated PNG": (_truncated_png, "dog/03.png", "is cut off"),
    "HTML saved as .jpg": (_bytes("04.jpg", b"\n<!DOCTYPE html><html>404</html>"), "dog/04.jpg", "is a web page"),
    "rubbish": (_bytes("04.jpg", b"\x00\x01\x02 rubbish"), "dog/04.jpg", "is not an image that can be decoded"),
    "zero bytes": (_bytes("04.jpg", b""), "dog/04.jpg", "the file is empty (0 bytes)"),
    "animated": (_animated, "dog/04.gif", "is animated or has several pages (3)"),
    "several pages": (_pages, "dog/04.tif", "is animated or has several pages (2)"),
    "decompression bomb": (_bytes("04.png", png_header(20_000, 20_000)), "dog/04.png", "too large"),
    "larger than the library's own limit": (_bytes("04.png", png_header(60_000, 60_000)), "dog/04.png", "too large"),
    "duplicate": (_duplicate, "dog/copy.png", "is the same file as 01.png; delete one of them"),
    "caption of a missing file": (_rows({"file_name": "09.png", "text": "x"}), "dog/metadata.jsonl", "line 1 is the"),
    "text of a missing file": (_bytes("09.txt", b"a dog"), "dog/09.txt", "is the caption of an image that is not"),
    "a caption twice": (_rows(*[{"file_name": "00.png", "text": "x"}] * 2), "dog/metadata.jsonl", "line 2: 00.png has"),
    "captions not valid JSON": (_rows("{'file_name': 1}"), "dog/metadata.jsonl", "line 1 is not valid JSON"),
    "captions without a file": (_rows({"text": "x"}), "dog/metadata.jsonl", 'line 1 has no "file_name"'),
    "captions without a text": (_rows({"file_name": "00.png"}), "dog/metadata.jsonl", 'line 1 has no "text"'),
    "captions not UTF-8": (_bytes("metadata.jsonl", b"\xff\xfe{"), "dog/metadata.jsonl", "is not UTF-8 text"),
    "text not UTF-8": (_bytes("00.txt", "ein schöner Hund".encode("latin-1")), "dog/00.txt", "is not UTF-8 text"),
    "link out of the folder": (_link_out, "dog/04.png", "is a link that leads out of"),
    "part linked out of the folder": (_link_to_folder_out, "dog/reference", "is a link that leads out of"),
    "link to nothing": (lambda f: (f / "04.png").symlink_to(f / "gone.png"), "dog/04.png", "is a link to nothing"),
    "too small": (lambda f: picture(9, 31, 200).save(f / "04.png"), "dog/04.png", "is too small (31 × 200 pixels)"),
    "floating point": (_float, "dog/04.tif", "has floating-point pixels; save it with 8 bits a channel"),
    "HEIC": (_bytes("04.heic", b"\x00\x00\x00\x18ftypheic"), "dog/04.heic", "HEIC cannot be decoded here"),
    "half a split": (_one_part, "dog", "a split needs both sub-folders, train and reference"),
}
