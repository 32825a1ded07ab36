"""What other projects' layouts say about their folders: DreamBooth's classes and prompts, custom-diffusion's list."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos.captions import read_text, template, whole

CLASSES = "prompts_and_classes.txt"
CONCEPT_LIST = "concept_list.json"


@dataclass(frozen=True)
class Listed:
    """What a layout says of one concept; None where it says nothing."""

    noun: str | None = None
    trigger: str | None = None
    caption: str | None = None  # a template


@dataclass(frozen=True)
class Layout:
    """What a folder of folders says of itself."""

    source: str | None = None  # the file that says it
    concepts: Mapping[Path, Listed] = field(default_factory=dict)  # by folder
    only_these: bool = False  # whether other sub-folders are no concepts
    thing_prompts: tuple[str, ...] = ()
    living_prompts: tuple[str, ...] = ()


def read_layout(folder: Path) -> Layout:
    """The layout of a folder. Raises TaskError if the file that describes it is damaged."""
    if (folder / CONCEPT_LIST).is_file():
        return _concept_list(folder)
    if (folder / CLASSES).is_file():
        return _dreambooth(folder)
    return Layout()


def _dreambooth(folder: Path) -> Layout:
    path = folder / CLASSES
    classes: dict[Path, Listed] = {}
    prompts: dict[str, list[str]] = {"object": [], "live": []}
    part = ""
    for line in _text(path).splitlines():
        if heading := re.match(r"\s*(object|live)\b.*prompts", line, re.IGNORECASE):
            part = heading[1].lower()
        elif quoted := re.match(r"""\s*(['"])(.+)\1\s*\.format\(""", line):
            if part:
                prompts[part].append(re.sub(r"\{0\}\s*\{1\}", "{}", quoted[2]))
        elif not part and (row := re.fullmatch(r"\s*(?!subject_name)([^,\s]+)\s*,\s*(\S.*?)\s*", line)):
            classes[folder / row[1]] = Listed(noun=row[2])
    usable = {part: tuple(p for p in found if "{}" in p) for part, found in prompts.items()}
    if not classes:
        raise TaskError(f"{path}: has no lines like `dog2,dog` (folder, class); add them, or delete the file")
    return Layout(CLASSES, classes, thing_prompts=usable["object"], living_prompts=usable["live"])


def _concept_list(folder: Path) -> Layout:
    path = folder / CONCEPT_LIST
    try:
        rows = json.loads(_text(path))
    except ValueError as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{path}: is not valid JSON ({error}); mend it, or delete the file") from None
    if not isinstance(rows, list) or not rows:
        raise TaskError(f"{path}: must be a list of concepts, each with instance_data_dir and class_prompt")
    concepts: dict[Path, Listed] = {}
    for number, row in enumerate(rows, 1):
        keys = ("instance_data_dir", "class_prompt")
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key] for key in keys):
            raise TaskError(f"{path}: concept {number} needs {' and '.join(keys)}, each a text")
        given = Path(row["instance_data_dir"])
        place = next((p for p in (folder / given, folder / given.name) if p.is_dir()), None)
        if place is None:
            raise TaskError(
                f"{path}: concept {number}: the folder {given} is neither there nor in {folder} as {given.name}; "
                "correct instance_data_dir"
            )
        concepts[place] = _from_prompts(row["class_prompt"], str(row.get("instance_prompt") or ""))
    return Layout(CONCEPT_LIST, concepts, only_these=True)


def _from_prompts(class_prompt: str, instance_prompt: str) -> Listed:
    """From "cat" and "photo of a <new1> cat": the noun "cat", no trigger of its own, the caption "photo of a {}"."""
    noun = re.sub(r"^(an?\s+)?(photo|picture|image)\s+of\s+", "", " ".join(class_prompt.split()), flags=re.IGNORECASE)
    noun = re.sub(r"^(an?|the)\s+", "", noun, flags=re.IGNORECASE) or class_prompt
    before = re.search(rf"(\S+)\s+{whole(noun)}", instance_prompt, re.IGNORECASE)
    if before is None or before[1].lower() in ("a", "an", "the", "of"):
        return Listed(noun)
    token = before[1]
    plain = re.fullmatch(r"\w+", token)  # a modifier such as <new1> would be several tokens here
    return Listed(noun, token if plain else None, template(instance_prompt, token, noun))


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except TaskError as error:
        raise TaskError(f"{path}: {error}; save it as UTF-8, or delete the file") from None
