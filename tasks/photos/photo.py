"""One photo: what is in the file, decoded safely, and the square RGB picture that is made of it."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cat_bench.tasks.errors import TaskError

PROCESSING = 1  # part of every fingerprint: raise it when the same file gives other pixels
LIMIT = 100_000_000  # pixels; the header is asked before anything is decoded
LARGE = 24_000_000  # pixels; JPEGs beyond are reduced while they are decoded
SMALLEST = 32  # pixels of the shorter side
EXTENSIONS = frozenset(["jpg", "jpeg", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "avif", "heic", "heif"])

# Photo formats alone: others run other programs (EPS), or make images of what is text (PPM).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
_ORIENTATION = 0x0112
_AGAIN = "copy or download it again, or delete it"


class Unusable(ValueError):
    """A file that should be a photo and cannot be used: what is wrong with it, and how to mend it."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.problem, self.mend = problem, mend


@dataclass(frozen=True)
class Photo:
    """A photo that was decoded once and found whole."""

    path: Path
    sha256: str  # of the file
    width: int  # upright, in the file
    height: int
    notes: tuple[tuple[str, str], ...] = ()  # what is special about it, and what is done about it

    def image(self, size: int) -> Image.Image:
        """RGB, size × size: upright, the centre square, resized with Lanczos. Raises TaskError if the file changed."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise TaskError(f"{self.path}: cannot be read any more ({error.strerror}); start again") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise TaskError(f"{self.path}: the file has changed since it was checked; start again")
        with _quiet():
            return ImageOps.fit(_decode(content, size), (size, size), Image.Resampling.LANCZOS)


def open_photo(path: Path) -> Photo | None:
    """The photo in a file; None if the file is no image and does not pretend to be one. Raises Unusable."""
    try:
        empty = path.stat().st_size == 0
        if empty or not _begins_as_an_image(path):
            if path.suffix.lower().removeprefix(".") not in EXTENSIONS:
                return None
            raise Unusable("the file is empty (0 bytes)", _AGAIN) if empty else _not_an_image(path)
        content = path.read_bytes()
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror or error})", "mend its permissions or delete it") from error
    with _quiet():
        return _examined(path, content)


def _begins_as_an_image(path: Path) -> bool:
    """Told by the first bytes, so that a checkpoint of gigabytes is not read."""
    with open(path, "rb") as file, _quiet():
        try:
            _open(file).close()
        except UnidentifiedImageError:
            return False
        except Exception:  # damaged further on: decoding says how
            return True
    return True


def _examined(path: Path, content: bytes) -> Photo:
    try:
        with _open(io.BytesIO(content)) as image:
            format_, mode, (width, height) = image.format, image.mode, image.size
            _check_size(width, height)
            frames = int(getattr(image, "n_frames", 1))
            orientation = image.getexif().get(_ORIENTATION, 1)
            transparent = image.has_transparency_data
    except Unusable:
        raise
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # decoders raise whatever they like at damaged data
        raise _damaged(error) from error
    if frames > 1 and format_ != "MPO":
        raise Unusable(f"is animated or has several pages ({frames})", "save the one picture that is meant as a file")
    try:
        upright = _decode(content, SMALLEST)
    except Unusable:
        raise
    except Exception as error:
        raise _damaged(error) from error
    if (upright.width < upright.height) != (width < height):
        width, height = height, width
    return Photo(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        width=width,
        height=height,
        notes=tuple(_notes(content, format_, mode, width * height, orientation, transparent, frames)),
    )


def _notes(
    content: bytes, format_: str | None, mode: str, pixels: int, orientation: int, transparent: bool, frames: int
) -> list[tuple[str, str]]:
    notes = []
    if frames > 1:
        notes.append((f"holds {frames} pictures", "the first is used"))
    if mode == "CMYK":
        notes.append(("CMYK", "converted to RGB, without its colour profile"))
    if mode.startswith("I") or (format_ == "PNG" and content[24] == 16):
        notes.append(("16-bit", "scaled to 8-bit"))
    if mode in ("P", "PA"):
        notes.append(("palette", "converted to RGB"))
    if transparent:
        notes.append(("transparent", "laid over white"))
    if orientation in range(2, 9):
        notes.append(("turned by its EXIF orientation", "set upright"))
    if pixels > LARGE:
        how = "reduced while it is decoded" if format_ in ("JPEG", "MPO") else "resized"
        notes.append((f"{pixels / 1e6:.0f} megapixels", how))
    return notes


def _decode(content: bytes, size: int) -> Image.Image:
    """The whole picture, upright, RGB; at least twice `size` where it is reduced."""
    with _open(io.BytesIO(content)) as image:
        _check_size(*image.size)
        if image.format in ("JPEG", "MPO") and image.width * image.height > LARGE:
            image.draft(None, (2 * size, 2 * size))
        image.load()
        return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # convert() would cut the values off at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Unusable("has 32-bit pixels", "save it with 8 bits a channel")
        return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unusable("has floating-point pixels", "save it with 8 bits a channel")
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")
    return image.convert("RGB")


def _open(file: IO[bytes]) -> Image.Image:
    return Image.open(file, formats=_formats())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warnings: of large images and odd EXIF, said here in other words or harmless."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(f for f in _FORMATS if f in Image.OPEN)


def _check_size(width: int, height: int) -> None:
    if width * height > LIMIT:
        raise _too_large(f"{width} × {height} pixels")
    if min(width, height) < SMALLEST:
        raise Unusable(f"is too small ({width} × {height} pixels)", f"give {SMALLEST} pixels or more on either side")


def _too_large(what: str = "hundreds of megapixels") -> Unusable:
    return Unusable(f"is too large ({what})", f"reduce it: {LIMIT // 10**6} megapixels at most are decoded")


def _damaged(error: Exception) -> Unusable:
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return Unusable("is cut off: the file ends too early", _AGAIN)
    return Unusable(f"cannot be decoded ({str(error) or type(error).__name__})", _AGAIN)


def _not_an_image(path: Path) -> Unusable:
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return Unusable("is a web page, not an image", "download the image itself, or delete it")
    if path.suffix.lower() in (".heic", ".heif", ".avif"):
        return Unusable(f"{path.suffix[1:].upper()} cannot be decoded here", "save it as JPEG or PNG")
    return Unusable("is not an image that can be decoded", _AGAIN)
