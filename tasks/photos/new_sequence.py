"""A new sequence from a folder of folders of photos: a complete, commented TOML file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from cat_bench.tasks.entries import CAPTION, sequence_names
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos.captions import fill, whole
from cat_bench.tasks.photos.findings import refuse
from cat_bench.tasks.photos.folder import PhotoFolder
from cat_bench.tasks.photos.importers import Listed
from cat_bench.tasks.photos.photo_set import PhotoSet, concept_id, survey

EACH = 8  # preservation prompts in a stratum, at least


@dataclass(frozen=True)
class _Draft:
    id: str
    folder: str
    noun: str
    why: str  # where the noun is from
    trigger: str
    caption: str
    photos: PhotoFolder


def write_sequence(folder: Path, out: Path | None = None, id: str | None = None) -> Path:
    """Write the TOML of a sequence of the photos in `folder`; where it lies now.

    out: the file, by default `<id>.toml` in the current folder. id: by default the folder's name. Raises TaskError for
    photos that cannot be used, and for a file that exists already; then nothing is written.
    """
    id = id or concept_id(folder.resolve())
    out = out or Path(f"{id}.toml")
    if not re.fullmatch(r"\w[\w.-]*", id):
        raise TaskError(f"--id {id!r}: use letters, digits, '_', '-' and '.'")
    if id in sequence_names():
        raise TaskError(f"{id!r} is the name of a sequence that ships; choose another with --id")
    if out.suffix != ".toml":
        raise TaskError(f"--out {out}: a sequence is a .toml file")
    content, made = encoded(sequence_text(survey(folder), id, out)), False
    try:
        with open(out, "xb") as file:
            made = True
            file.write(content)
    except FileExistsError:
        raise TaskError(f"{out} is there already, and is left as it is; choose another with --out") from None
    except OSError as error:
        if made:
            out.unlink(missing_ok=True)
        raise TaskError(f"{out} cannot be written ({error.strerror}); choose another with --out") from None
    return out


def encoded(text: str) -> bytes:
    """The text as UTF-8. Raises TaskError for the name of a file, or a caption, that is not."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        around = re.search(r"[^\s\"<>]*$", text[: error.start]), re.match(r"[^\s\"<>]*", text[error.start :])
        shown = "".join(part[0] for part in around if part).encode(errors="backslashreplace").decode()
        raise TaskError(f"{shown}: this is not UTF-8: rename the file or folder, or mend the caption") from None


def sequence_text(photos: PhotoSet, id: str, out: Path) -> str:
    """The TOML. Raises TaskError with the line of the first error among the photos."""
    refuse(photos.errors)
    words = tomllib.loads(files("cat_bench.tasks.photos").joinpath("photo_words.toml").read_text("utf-8"))
    data = Path(os.path.abspath(photos.path))
    data = data.parent if photos.single else data
    drafts, spare = _drafts(photos, data, words)
    nouns = list(dict.fromkeys(draft.noun for draft in drafts))
    living = [noun for noun in nouns if noun.lower().split()[-1] in words["living"]]
    layout = photos.layout
    prompts = {"all": layout.thing_prompts or tuple(words["prompts"]["thing"])}
    prompts |= dict.fromkeys(living, layout.living_prompts or tuple(words["prompts"]["living"]))
    parts = [
        "# A sequence of your own photos, written by `cat-bench new-sequence`. Read it through, then run it:",
        f"#   cat-bench run --sequence {out}",
        "# docs/photos.md says what each key means.",
        f"id = {_quoted(id)}",
        'version = "1"  # raise it when you change the sequence: results of two versions are never mixed',
        f"title = {_quoted(f'{len(drafts)} concepts from photos of {data.name}')}",
        'license = "not stated"  # of the photos: fill it in before you publish results',
        'citation = "not stated"',
        f"data = {_quoted(_seen_from(out.parent, data))}  # the photos; `--data FOLDER` goes before it",
        "",
        '# Evaluation prompts, by class noun or concept\'s id; "all" is for the rest. "{}" becomes "TRIGGER NOUN".',
        f"# From {layout.source}." if layout.thing_prompts or layout.living_prompts else "# Yours may say more.",
        "[prompts]",
        *(f"{_key(key)} = {_listed(templates)}" for key, templates in prompts.items()),
        "",
        "# What the model knew before (KPS): the class without a trigger, other things, triggers never trained, names.",
        "[preservation]",
        *(f"{stratum} = {_listed(texts)}" for stratum, texts in _preservation(words, nouns, spare).items()),
    ]
    for draft in drafts:
        parts += ["", *_concept(draft)]
    return "\n".join(parts) + "\n"


def _drafts(photos: PhotoSet, data: Path, words: Mapping[str, Any]) -> tuple[list[_Draft], Iterator[str]]:
    listed = [photos.layout.concepts.get(folder.path, Listed()) for folder in photos.folders]
    named = [entry.noun or _guess(folder.path) for entry, folder in zip(listed, photos.folders, strict=True)]
    texts = [text for folder in photos.folders for text in folder.captions.values()]
    given = [entry.trigger for entry in listed if entry.trigger]
    spare = _triggers(words["triggers"], " ".join([*named, *texts, *given]))
    drafts, used = [], set[str]()
    for entry, noun, folder in zip(listed, named, photos.folders, strict=True):
        own = entry.trigger if entry.trigger and entry.trigger.casefold() not in used else None
        trigger = own or next(spare)
        used.add(trigger.casefold())
        why = f"from {photos.layout.source}" if entry.noun else "guessed from the folder's name: please check"
        drafts.append(
            _Draft(
                id=concept_id(folder.path),
                folder=_seen_from(data, folder.path),
                noun=noun,
                why=why,
                trigger=trigger,
                caption=entry.caption or CAPTION,
                photos=folder,
            )
        )
    return drafts, spare


def _concept(draft: _Draft) -> list[str]:
    train, references = len(draft.photos.train), len(draft.photos.references)
    captioned = sum(photo.path in draft.photos.captions for photo in draft.photos.train)
    lines = [
        "[[concept]]",
        f"id = {_quoted(draft.id)}",
        f"folder = {_quoted(draft.folder)}  # {train} to train, {references} held out ({draft.photos.split})",
        f"noun = {_quoted(draft.noun)}  # {draft.why}",
        f"trigger = {_quoted(draft.trigger)}",
    ]
    if captioned < train and draft.caption != CAPTION:
        lines.append(f"caption = {_quoted(draft.caption)}  # of images that have none")
    return lines


def _preservation(words: Mapping[str, Any], nouns: Sequence[str], spare: Iterator[str]) -> dict[str, list[str]]:
    known = words["preservation"]
    pairs = [(template, noun) for template in known["class"] for noun in nouns][: max(EACH, len(nouns))]
    others = [p for p in known["other"] if not any(re.search(whole(n), p, re.IGNORECASE) for n in nouns)]
    unknown = [fill("a photo of a {}", f"{next(spare)} {nouns[i % len(nouns)]}") for i in range(EACH)]
    return {
        "class": [fill(template, noun) for template, noun in pairs],
        "other": others[:EACH],
        "unknown": unknown,
        "named": known["named"],
    }


def _triggers(first: Sequence[str], taken: str) -> Iterator[str]:
    """Rare tokens, then more of their kind; none that is a word of `taken`."""
    more = ("".join(letters) for letters in product("zqxvw", "bcdfghjklmnpqrstvwxz", "kvwz"))
    for token in (*first, *(m for m in more if m not in first)):
        if not re.search(whole(token), taken, re.IGNORECASE):
            yield token


def _guess(folder: Path) -> str:
    """ "my_dog2" → "dog"; "Red Car-01" → "red car"."""
    words = re.findall(r"[^\W\d_]+", folder.name or folder.resolve().name)
    kept = [w for w in words if w.lower() not in ("my", "our", "the", "a", "an", "photos", "images", "pictures")]
    return " ".join(kept).lower() or "object"


def _seen_from(place: Path, path: Path) -> str:
    """The path as seen from a folder if it is below it, else in full."""
    here, there = Path(os.path.abspath(place)), Path(os.path.abspath(path))
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # a TOML basic string


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quoted(text)


def _listed(texts: Sequence[str]) -> str:
    return "[\n" + "".join(f"    {_quoted(text)},\n" for text in texts) + "]"
