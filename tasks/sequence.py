"""Sequences: concepts in an order with their prompts, read from TOML; data, not code.

A released sequence is never edited: its `id` and `version` stand for exactly these pictures and words. The
fingerprint covers both, and `sequences/fingerprints.toml` has those of the shipped ones that draw their own pictures,
so that a library that draws differently is noticed. The fingerprint of one made of photos covers the user's files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import factorial
from pathlib import Path

from cat_bench.tasks.avatars.concept import avatar_concept
from cat_bench.tasks.concept import Concept
from cat_bench.tasks.entries import SHIPPED, AvatarEntry, PhotoEntry, SequenceEntry, read_entry, sequence_names
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.orders import balanced_orders
from cat_bench.tasks.photos.concept import PhotoConcept, photo_concept
from cat_bench.tasks.photos.folder import examine

__all__ = ["SHIPPED", "Sequence", "load_sequence", "sequence_names"]

Prompts = Mapping[str, tuple[str, ...]]
_TAKEN = (
    "preservation",
    "diversity",
    "text",
    "nobody",
    "other_noise",
    "method",
    "order",
    "seed",
    "stage",
)  # names in a run's folder and tables beside the concepts'


@dataclass(frozen=True)
class Sequence:
    """Concepts in an order, with the prompts they are judged by."""

    id: str
    version: str
    title: str
    license: str
    citation: str
    concepts: tuple[Concept, ...]
    preservation: Mapping[str, tuple[str, ...]]  # stratum -> prompts

    def ordered(self, order: int, seed: int = 0) -> tuple[Concept, ...]:
        """The concepts in order 0, as written, or in the n-th of the balanced orders that `seed` draws.

        Raises TaskError for a number that no order has: T concepts have T! of them.
        """
        size = len(self.concepts)
        if not 0 <= order < factorial(size):
            raise TaskError(
                f"sequence {self.id} has no order {order}: {size} concepts have {factorial(size)} orders,"
                " numbered from 0"
            )
        places = next(islice(balanced_orders(size, seed), order, None))
        return tuple(self.concepts[place] for place in places)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything that decides what is learned and what is asked."""
        content = [self.id, self.version, [c.fingerprint for c in self.concepts], dict(self.preservation)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def check(self) -> None:
        """Raise TaskError if a shipped sequence no longer draws or says what it did when it was released."""
        name = f"{self.id}.v{self.version}"
        released = tomllib.loads(SHIPPED.joinpath("fingerprints.toml").read_text("utf-8")).get(name)
        if released is not None and released != self.fingerprint:
            raise TaskError(
                f"sequence {name} is not as it was released: its pictures are drawn differently; "
                "install exactly the versions of dicebear-core and dicebear-styles that cat-bench asks for, or give a "
                "sequence of your own an id or a version of its own"
            )


def load_sequence(name: str | Path, data: Path | None = None) -> Sequence:
    """A shipped sequence by name, or one from a TOML file. Raises TaskError: what is wrong, where, how to mend it.

    data: the folder that the folders of photos are in; without it they are looked for where the TOML's key `data`
    says, or beside the TOML. Every photo is decoded once, so that a run does not meet a bad one half way.
    """
    sequence = _load(str(name), data, {})[0]
    if not sequence.concepts:
        raise TaskError(f"sequence {name} has no concept: give it one or more [[concept]]")
    if data is not None and not any(isinstance(concept, PhotoConcept) for concept in sequence.concepts):
        raise TaskError(f"sequence {sequence.id} draws its own pictures: leave --data out")
    return sequence


def _load(name: str, data: Path | None, above: dict[str, str]) -> tuple[Sequence, Prompts]:
    """A sequence and its prompts. above: the sequences that extend it, one by way of the next, by where they are."""
    entry, beside = read_entry(name)
    where = name if beside is None else str(Path(name).resolve())
    if where in above:
        ways = " and ".join(above.values())
        raise TaskError(f"sequence {name} extends itself, by way of {ways}; take one `extends` out")
    concepts: list[Concept] = []
    preservation: dict[str, tuple[str, ...]] = {}
    prompts: Prompts = {}
    if entry.extends is not None:
        own = beside / entry.extends if beside is not None else Path()
        base, prompts = _load(str(own) if own.is_file() else entry.extends, data, {**above, where: name})
        concepts += base.concepts
        preservation.update(base.preservation)
    prompts = {**prompts, **entry.prompts}
    preservation.update((str(stratum), texts) for stratum, texts in entry.preservation.items())
    preservation = {stratum: texts for stratum, texts in preservation.items() if texts}
    place = _photos(entry, name, beside, data) if entry.photos else Path()
    for concept in entry.concept:
        if not re.fullmatch(r"\w[\w .-]*(?<! )", concept.id) or concept.id in _TAKEN:
            raise TaskError(f"{name}: {concept.id!r} cannot be a concept's id; use letters, digits, '_', '-' and '.'")
        if isinstance(concept, AvatarEntry):
            concepts.append(avatar_concept(concept, prompts, name))
        else:
            concepts.append(_photo_concept(concept, prompts, name, place))
    for attribute in ("id", "trigger"):
        values = [getattr(c, attribute).casefold() for c in concepts]
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            raise TaskError(f"{name}: two concepts with {attribute} {twice[0]!r}; give one of them another")
    sequence = Sequence(
        id=entry.id,
        version=entry.version,
        title=entry.title,
        license=entry.license,
        citation=entry.citation,
        concepts=tuple(concepts),
        preservation=preservation,
    )
    return sequence, prompts


def _photos(entry: SequenceEntry, name: str, beside: Path | None, data: Path | None) -> Path:
    """The folder that the sequence's folders of photos are in."""
    first, *others = [concept.folder for concept in entry.concept if isinstance(concept, PhotoEntry)]
    if data is not None:
        place, mend = data, "give another --data"
    elif beside is not None:
        place, mend = beside / (entry.data or ""), "say where the photos are with --data FOLDER"
    else:
        raise TaskError(
            f"sequence {name} is made of photos that do not ship: say where they are with --data FOLDER, which has the "
            f"folders {first} and {len(others)} more; docs/photos.md says where to get them"
        )
    if not place.is_dir():
        raise TaskError(f"{place}: there is no such folder, and sequence {name} needs its photos; {mend}")
    for folder in (first, *others):
        if not os.path.lexists(place / folder):
            raise TaskError(f"{place / folder}: this folder is not there, and sequence {name} needs its photos; {mend}")
    return place


def _photo_concept(entry: PhotoEntry, prompts: Prompts, where: str, place: Path) -> PhotoConcept:
    found = next((prompts[key] for key in (entry.id, entry.noun, "all") if key in prompts), ())
    if not found or any("{}" not in template for template in found):
        raise TaskError(
            f"{where}: [prompts] needs a list for {entry.noun!r}, {entry.id!r} or all, each with a {{}} for the concept"
        )
    below = ".." not in Path(entry.folder).parts and not Path(entry.folder).is_absolute()
    folder = examine(place / entry.folder, entry.references, within=place if below else None)
    return photo_concept(folder, entry.id, entry.trigger, entry.noun, found, entry.caption)
