"""Captions: read from `metadata.jsonl` and `NN.txt` files, and made into templates with a place for the concept."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos.findings import Finding, error, note

METADATA = "metadata.jsonl"


def template(caption: str, trigger: str, noun: str) -> str:
    """A caption with "{}" where the concept is named.

    The trigger, with the class noun after it or alone, is where the concept is; else the first whole word that is the
    class noun; else the caption is put after "a photo of {}".
    """
    caption = " ".join(caption.split())
    if "{}" in caption:
        return caption
    named, found = re.subn(rf"{whole(trigger)}(?:\s+{whole(noun)})?", "{}", caption, flags=re.IGNORECASE)
    if not found:
        named, found = re.subn(whole(noun), "{}", caption, count=1, flags=re.IGNORECASE)
    return named if found else f"a photo of {{}}, {caption}"


def fill(template: str, words: str) -> str:
    """The template with the words in place; "a" before them becomes "an", and back, as they sound."""
    article = "an" if re.match(r"(?!eu|uni|use|one\b)[aeiou]", words, re.IGNORECASE) else "a"
    agreed = re.sub(r"\b([Aa])n?(?=\s+\{\})", lambda found: found[1] + article[1:], template)
    return agreed.replace("{}", words)


def whole(words: str) -> str:
    """A regular expression for these words, not as part of longer ones."""
    return rf"(?<!\w){re.escape(words)}(?!\w)"


def read_captions(
    places: Sequence[Path], images: Sequence[Path], texts: Sequence[Path]
) -> tuple[dict[Path, str], list[Finding]]:
    """Captions by image, and what is wrong with them.

    places: folders whose `metadata.jsonl` counts, the concept's own first; rows of others that are not about its files
    are passed over. images, texts: the concept's images and *.txt files.
    """
    captions: dict[Path, str] = {}
    findings: list[Finding] = []
    for place in places:
        if (place / METADATA).is_file():
            _read_metadata(place / METADATA, places[0], images, captions, findings)
    _read_texts(texts, images, captions, findings)
    return captions, findings


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file. Raises TaskError: the problem, without the place."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as trouble:
        raise TaskError(f"is not UTF-8 text (byte {trouble.start})") from None
    except OSError as trouble:
        raise TaskError(f"cannot be read ({trouble.strerror or trouble})") from None


def _composed(path: Path) -> str:
    """As one text however its letters are written: macOS takes accents apart in the names of files."""
    return unicodedata.normalize("NFC", str(path))


def _read_metadata(
    path: Path, concept: Path, images: Sequence[Path], captions: dict[Path, str], findings: list[Finding]
) -> None:
    try:
        lines = re.split(r"\r\n|\r|\n", read_text(path))  # splitlines would cut a text at U+2028
    except TaskError as trouble:
        findings.append(error(path, str(trouble), "save it as UTF-8"))
        return
    there, known = set(images), {_composed(image): image for image in images}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        wanted = 'each line must be {"file_name": "00.jpg", "text": "…"}'
        try:
            row = json.loads(line)
        except ValueError as trouble:
            findings.append(error(path, f"line {number} is not valid JSON ({trouble})", wanted))
            continue
        if not (isinstance(row, Mapping) and isinstance(row.get("file_name"), str)):
            findings.append(error(path, f'line {number} has no "file_name"', wanted))
            continue
        image = path.parent / row["file_name"]
        image = image if image in there else known.get(_composed(image), image)
        if path.parent == concept.parent and concept not in image.parents:
            continue  # another concept's
        if image not in there:
            findings.append(
                error(path, f"line {number} is the caption of {row['file_name']}, which is not there", "delete it")
            )
        elif not isinstance(row.get("text"), str):
            findings.append(error(path, f'line {number} has no "text"', wanted))
        elif image in captions:
            findings.append(error(path, f"line {number}: {row['file_name']} has a caption already", "delete one"))
        elif row["text"].strip():
            captions[image] = row["text"]


def _read_texts(
    texts: Sequence[Path], images: Sequence[Path], captions: dict[Path, str], findings: list[Finding]
) -> None:
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(_composed(image.with_suffix("")), []).append(image)
    used = any(_composed(text.with_suffix("")) in by_stem for text in texts)
    for text in texts:
        owners = by_stem.get(_composed(text.with_suffix("")), [])
        if not owners:
            if text.stem.isdigit() or (used and any(c.isdigit() for c in text.stem)):  # no mere README
                findings.append(error(text, "is the caption of an image that is not there", "delete it"))
            continue
        try:
            words = " ".join(read_text(text).split())
        except TaskError as trouble:
            findings.append(error(text, str(trouble), "save it as UTF-8"))
            continue
        if not words:
            findings.append(note(text, "the caption is empty", "the image has none"))
        elif any(image in captions for image in owners):
            findings.append(note(text, f"the image has a caption in {METADATA} too", "that one is used"))
        else:
            captions.update(dict.fromkeys(owners, words))
