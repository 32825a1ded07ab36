"""A concept's folder of photos: which files are images, how they are split, and everything that is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cat_bench.tasks.photos.captions import read_captions
from cat_bench.tasks.photos.findings import Finding, error
from cat_bench.tasks.photos.photo import EXTENSIONS, Photo
from cat_bench.tasks.photos.search import PARTS, PhotoSearch, inside, is_text, leads_out, name_order, unwritable

FEWEST = 3  # images


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
    if unusable := _unusable(folder, within):
        return PhotoFolder(folder, train=(), references=(), captions={}, split="", findings=(unusable,))
    search = PhotoSearch(folder)
    declared = all((folder / part).is_dir() for part in PARTS)
    groups = [search.images(folder / part) for part in PARTS] if declared else [search.images(folder)]
    if declared:
        for entry in search.entries(folder):
            search.pass_over(entry)
    search.end(declared)
    photos = [photo for group in groups for photo in group]
    places = dict.fromkeys([folder, *(folder / part for part in PARTS), folder.parent])  # "." is its own parent
    captions, findings = read_captions(list(places), [photo.path for photo in photos], search.texts)
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
        count = -(-len(photos) // 3) if references is None else references  # a third, rounded up
        first = max(0, len(photos) - count)
        train, held_out = photos[:first], photos[first:]
        split = f"the last {count} in name order are references" if count != 1 else "the last is the reference"
        if references is not None and FEWEST <= len(photos) <= references:
            few = f"has {len(photos)} images, and the sequence holds out {references}"
            findings.append(error(folder, few, "lower `references` or add images"))
    if len(photos) < FEWEST and (search.sound or len(photos) > 0):
        findings.append(_too_few(folder, len(photos), search.folders))
    return PhotoFolder(folder, tuple(train), tuple(held_out), captions, split, tuple(findings))


def _unusable(folder: Path, within: Path | None) -> Finding | None:
    """Why a folder cannot be looked into at all, if so."""
    if not folder.is_dir():
        missing = not os.path.lexists(folder)
        return error(folder, "there is no such folder" if missing else "is not a folder", "give a folder of images")
    if not is_text(folder.name):
        return unwritable(folder)
    if within is not None and not inside(folder, within):
        return leads_out(folder, within)
    return None


def _too_few(folder: Path, count: int, folders: list[str]) -> Finding:
    there = "holds no images" if not count else f"holds only {count} image{'s' if count > 1 else ''} that can be used"
    if len([name for name in folders if name in PARTS]) == 1:
        return error(folder, there, "a split needs both sub-folders, train and reference")
    hint = " (its sub-folders are not looked into)" if folders else ""
    return error(folder, f"{there}{hint}", f"a concept needs {FEWEST} or more, a third of them held out")
