"""A concept's folder of photos: which files are images, how they are split, and everything that is wrong."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cat_bench.tasks.captions import METADATA, read_captions
from cat_bench.tasks.findings import Finding, error, note
from cat_bench.tasks.photo import EXTENSIONS, Photo, Unusable, open_photo

FEWEST = 3  # images
PARTS = ("train", "reference")  # sub-folders that declare the split
_PLAIN = re.compile(r"[\x21-\x7e]+")
_OTHER_TEXT = (METADATA, "metadata.csv")


@dataclass(frozen=True)
class PhotoFolder:
    """What a folder holds. With errors among the findings it cannot be used."""

    path: Path
    train: tuple[Photo, ...]
    references: tuple[Photo, ...]
    captions: Mapping[Path, str]  # as written, by image
    split: str  # how it was split, in words
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps it from being used."""
        return tuple(f for f in self.findings if f.kind == "error")


def name_order(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key: numbers by value, so that 10.jpg comes after 9.jpg; letters whatever their case."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", name).casefold())
    return [(0, int(p)) if p.isdigit() and p.isascii() else (1, p) for p in parts], name


def image_names(folder: Path) -> list[str]:
    """Files that are called images."""
    names = (n for n in os.listdir(folder) if Path(n).suffix.lower().removeprefix(".") in EXTENSIONS)
    return sorted((n for n in names if not n.startswith(".")), key=name_order)


def is_concept(folder: Path) -> bool:
    """Whether the folder is one concept, rather than a folder of such folders: it has images, or declares a split.

    One or two images beside folders of images are strays.
    """
    count = len(image_names(folder))
    if count >= FEWEST or all((folder / part).is_dir() for part in PARTS):
        return True
    below = [path for path in concept_folders(folder) if path.name not in PARTS]
    return count > 0 and not any(image_names(path) for path in below)


def concept_folders(folder: Path) -> list[Path]:
    """The sub-folders that stand for concepts, in name order; hidden ones and archives' leftovers are passed over."""
    names = [e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith((".", "__"))]
    return [folder / name for name in sorted(names, key=name_order)]


def examine(folder: Path, references: int | None = None, within: Path | None = None) -> PhotoFolder:
    """Everything about one concept's folder; decodes every image once. Raises nothing: problems are findings.

    references: how many of the last images are held out, if the sequence says so. within: a folder that this one must
    not lead out of.
    """
    empty = PhotoFolder(folder, (), (), {}, "", ())
    if not folder.is_dir():
        missing = not os.path.lexists(folder)
        finding = error(folder, "there is no such folder" if missing else "is not a folder", "give a folder of images")
        return _with(empty, [finding])
    if within is not None and not _inside(folder, within):
        return _with(empty, [_leads_out(folder, within)])
    search = _Search(folder)
    declared = all((folder / part).is_dir() for part in PARTS)
    groups = [search.images(folder / part) for part in PARTS] if declared else [search.images(folder)]
    if declared:
        for entry in search.entries(folder):
            search.pass_over(entry)
    search.end(declared)
    paths = [photo.path for group in groups for photo in group]
    places = dict.fromkeys([folder, *(folder / part for part in PARTS), folder.parent])  # "." is its own parent
    captions, findings = read_captions(list(places), paths, search.texts)
    findings = [*search.findings, *findings]
    if declared:
        train, held_out = groups
        split = "as its folders train and reference say"
        if references is not None:
            findings.append(error(folder, "is split by its sub-folders", "take `references` out of the sequence"))
        for part, group in zip(PARTS, groups, strict=True):
            if not group and search.sound:
                findings.append(error(folder / part, "holds no images", "move some there"))
    else:
        count = -(-len(paths) // 3) if references is None else references
        train, held_out = groups[0][: len(paths) - count], groups[0][max(0, len(paths) - count) :]
        split = f"the last {count} in name order are references" if count != 1 else "the last is the reference"
        if references is not None and FEWEST <= len(paths) <= references:
            few = f"has {len(paths)} images, and the sequence holds out {references}"
            findings.append(error(folder, few, "lower `references` or add images"))
    if len(paths) < FEWEST and (search.sound or len(paths) > 0):
        findings.append(_too_few(folder, len(paths), search.folders))
    return PhotoFolder(folder, tuple(train), tuple(held_out), captions, split, tuple(findings))


class _Search:
    """Goes through a concept's files and keeps what it finds besides photos."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.texts: list[Path] = []
        self.strays: list[str] = []
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
        if not _inside(folder, self.root):
            self.findings.append(_leads_out(folder, self.root))
            return []
        photos = []
        for path in self.entries(folder):
            photo = self.photo(path)
            if photo is None:
                continue
            self.findings += [note(path, problem, done) for problem, done in photo.notes]
            if not _PLAIN.fullmatch(path.name):
                self.findings.append(note(path, "spaces or non-Latin letters in the name", "used as it is"))
            if twin := self.hashes.get(photo.sha256):
                self.findings.append(error(path, f"is the same file as {twin.name}", "delete one of them"))
            self.hashes.setdefault(photo.sha256, path)
            photos.append(photo)
        return photos

    def photo(self, path: Path) -> Photo | None:
        """The photo at a path, or None with what it is instead noted down."""
        if path.name.startswith("."):
            self.strays.append(path.name)
        elif path.is_symlink() and not path.exists():
            self.findings.append(error(path, "is a link to nothing", "delete it, or put the file there"))
        elif path.is_symlink() and not _inside(path, self.root):
            self.findings.append(_leads_out(path, self.root))
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
        if self.strays:
            shown = ", ".join(self.strays[:6]) + (f" and {len(self.strays) - 6} more" if len(self.strays) > 6 else "")
            where = "beside train and reference" if declared else "not images"
            self.findings.append(note(self.root, f"{where}: {shown}", "ignored"))
        if self.folders:
            self.findings.append(note(self.root, f"sub-folders: {', '.join(self.folders)}", "ignored"))


def _with(folder: PhotoFolder, findings: list[Finding]) -> PhotoFolder:
    return PhotoFolder(folder.path, (), (), {}, "", tuple(findings))


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _leads_out(path: Path, root: Path) -> Finding:
    return error(path, f"is a link that leads out of {root}", "put the files themselves there")


def _too_few(folder: Path, count: int, folders: list[str]) -> Finding:
    there = "holds no images" if not count else f"holds only {count} image{'s' if count > 1 else ''} that can be used"
    if len([name for name in folders if name in PARTS]) == 1:
        return error(folder, there, "a split needs both sub-folders, train and reference")
    hint = " (its sub-folders are not looked into)" if folders else ""
    return error(folder, f"{there}{hint}", f"a concept needs {FEWEST} or more, a third of them held out")
