"""A folder of photos as given by a user: one concept, or a folder of concepts."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from cat_bench.tasks.photos.findings import Finding, error, note
from cat_bench.tasks.photos.folder import PhotoFolder, concept_folders, examine, image_names, is_concept
from cat_bench.tasks.photos.importers import Layout, read_layout


@dataclass(frozen=True)
class PhotoSet:
    """Concepts' folders, and what is wrong between them."""

    path: Path
    single: bool  # whether the folder itself is the one concept
    folders: tuple[PhotoFolder, ...]
    layout: Layout
    between: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything found, folder by folder."""
        return (*(finding for folder in self.folders for finding in folder.findings), *self.between)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps it from being used."""
        return tuple(finding for finding in self.findings if finding.kind == "error")


def concept_id(folder: Path) -> str:
    """A concept's id from its folder's name: letters of any script, digits, "_", "-" and "."."""
    name = unicodedata.normalize("NFC", folder.name or folder.resolve().name)
    return re.sub(r"[^\w.-]", "", re.sub(r"\s+", "_", name.strip())).lstrip(".-") or "concept"


def survey(folder: Path) -> PhotoSet:
    """Examine a folder. Raises TaskError if a file that describes it (prompts_and_classes.txt, …) is damaged."""
    try:
        single = not folder.is_dir() or is_concept(folder)
        below = [] if single else concept_folders(folder)
    except OSError as trouble:
        refused = error(
            trouble.filename or folder, f"cannot be opened ({trouble.strerror or trouble})", "mend its permissions"
        )
        return PhotoSet(folder, single=True, folders=(), layout=Layout(), between=(refused,))
    layout = Layout() if single else read_layout(folder)
    if layout.only_these:
        below = list(layout.concepts)
    if not below:
        return PhotoSet(folder, single=True, folders=(examine(folder),), layout=layout, between=())
    folders = tuple(examine(path, within=folder if path.parent == folder else None) for path in below)
    strays = image_names(folder)
    beside = [note(folder, f"beside the concepts' folders: {', '.join(strays)}", "ignored")] if strays else []
    return PhotoSet(folder, single=False, folders=folders, layout=layout, between=(*_between(folders), *beside))


def _between(folders: tuple[PhotoFolder, ...]) -> list[Finding]:
    findings = []
    names: dict[str, Path] = {}
    photos: dict[str, Path] = {}
    for folder in folders:
        id = concept_id(folder.path).casefold()
        if id in names:
            same = f"has the same name as {names[id].name} but for case, spaces or signs"
            findings.append(error(folder.path, same, "rename one of them"))
        names.setdefault(id, folder.path)
        for photo in (*folder.train, *folder.references):
            if (twin := photos.setdefault(photo.sha256, photo.path)).parent != photo.path.parent:
                findings.append(note(photo.path, f"is the same file as {twin}", "used in both concepts"))
    return findings
