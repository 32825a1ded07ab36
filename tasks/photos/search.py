"""Going through a concept's files: photos, captions, strays, and what cannot be used."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from cat_bench.tasks.photos.captions import METADATA
from cat_bench.tasks.photos.findings import Finding, error, note
from cat_bench.tasks.photos.photo import Photo, Unusable, open_photo

_PLAIN = re.compile(r"[\x21-\x7e]+")
_OTHER_TEXT = (METADATA, "metadata.csv")
PARTS = ("train", "reference")  # sub-folders that declare the split


def name_order(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: numbers by value, so that 10.jpg comes after 9.jpg; letters whatever their case."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", name).casefold())
    return [(0, int(p)) if p.isdigit() and p.isascii() else (1, p) for p in parts], name


class PhotoSearch:
    """Goes through a concept's files and keeps what it finds besides photos."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.texts: list[Path] = []
        self.strays: list[str] = []
        self.odd: list[str] = []  # names of photos
        self.folders: list[str] = []  # that hold something, and are not looked into
        self.hashes: dict[str, Path] = {}

    @property
    def sound(self) -> bool:
        """Whether nothing was refused so far."""
        return not any(f.kind == "error" for f in self.findings)

    def entries(self, folder: Path) -> list[Path]:
        """What lies in a folder, in name order."""
        try:
            return [folder / name for name in sorted(os.listdir(folder), key=name_order)]
        except OSError as trouble:
            why = trouble.strerror or str(trouble)
            self.findings.append(error(folder, f"cannot be opened ({why})", "mend its permissions"))
            return []

    def images(self, folder: Path) -> list[Photo]:
        """The photos in a folder, in name order."""
        if not inside(folder, self.root):
            self.findings.append(leads_out(folder, self.root))
            return []
        photos = []
        for path in self.entries(folder):
            photo = self.photo(path)
            if photo is None:
                continue
            self.findings += [note(path, problem, done) for problem, done in photo.notes]
            if not _PLAIN.fullmatch(path.name):
                self.odd.append(path.name)
            if twin := self.hashes.get(photo.sha256):
                self.findings.append(error(path, f"is the same file as {twin.name}", "delete one of them"))
            self.hashes.setdefault(photo.sha256, path)
            photos.append(photo)
        return photos

    def photo(self, path: Path) -> Photo | None:
        """The photo at a path, or None with what it is instead noted down."""
        if not is_text(path.name):
            self.findings.append(unwritable(path))
        elif path.name.startswith("."):
            self.strays.append(path.name)
        elif path.is_symlink() and not path.exists():
            self.findings.append(error(path, "is a link to nothing", "delete it, or put the file there"))
        elif path.is_symlink() and not inside(path, self.root):
            self.findings.append(leads_out(path, self.root))
        elif path.is_dir():
            self.folders.append(path.name)
        elif path.suffix.lower() == ".txt":
            self.texts.append(path)
        elif path.name in _OTHER_TEXT:
            pass
        elif not path.is_file():  # a pipe would wait for ever
            self.strays.append(path.name)
        else:
            try:
                photo = open_photo(path)
            except Unusable as trouble:
                self.findings.append(error(path, trouble.problem, trouble.mend))
                return None
            if photo is None:
                self.strays.append(path.name)
            return photo
        return None

    def pass_over(self, path: Path) -> None:
        """What lies beside the folders that declare the split."""
        if path.suffix.lower() == ".txt" or path.name in (*PARTS, *_OTHER_TEXT):
            return
        (self.folders if path.is_dir() else self.strays).append(path.name)

    def end(self, declared: bool) -> None:
        """Note what was passed over, in one line each."""
        where = "beside train and reference" if declared else "not images"
        for names, what, done in (
            (self.odd, "names with spaces or non-Latin letters", "used as they are"),
            (self.strays, where, "ignored"),
            (self.folders, "sub-folders", "ignored"),
        ):
            if names:
                more = f" and {len(names) - 6} more" if len(names) > 6 else ""
                self.findings.append(note(self.root, f"{what}: {', '.join(names[:6])}{more}", done))


def inside(path: Path, root: Path) -> bool:
    """Whether a path stays below a folder when links are followed."""
    return path.resolve().is_relative_to(root.resolve())


def is_text(name: str) -> bool:
    """Whether a name can be written down: neither bytes of another encoding nor line breaks."""
    return not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name)


def unwritable(path: Path) -> Finding:
    """A name that is no text."""
    return error(path, "the name has signs that cannot be written down", "rename it")


def leads_out(path: Path, root: Path) -> Finding:
    """A link that does not stay inside."""
    return error(path, f"is a link that leads out of {root}", "put the files themselves there")
