"""Sequences: concepts in an order with their prompts, read from TOML; data, not code.

A released sequence is never edited: its `id` and `version` stand for exactly these pictures and words. The
fingerprint covers both, and `sequences/fingerprints.toml` has those of the shipped ones, so that a library that draws
differently is noticed.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cat_bench.tasks.concept import Concept
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.vocabulary import Kind, vocabulary
from cat_bench.tasks.world import Look

SHIPPED = files("cat_bench.tasks").joinpath("sequences")


class ConceptEntry(BaseModel, frozen=True, extra="forbid"):
    """A concept as written in TOML."""

    id: str
    kind: str
    trigger: str = ""  # the id, if not given
    parts: dict[str, str] = {}
    colors: dict[str, str] = {}


class SequenceEntry(BaseModel, frozen=True, extra="forbid"):
    """A sequence as written in TOML."""

    id: str
    version: str
    title: str
    license: str
    citation: str
    extends: str | None = None
    prompts: dict[str, tuple[str, ...]] = {}
    preservation: dict[Literal["class", "other", "unknown", "named"], tuple[str, ...]] = {}
    concept: tuple[ConceptEntry, ...]


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

    def ordered(self, order: int) -> tuple[Concept, ...]:
        """The concepts in order 0 (as written) or in the n-th fixed permutation."""
        if order < 0:
            raise TaskError(f"order {order} of sequence {self.id}: orders are numbered from 0")
        if order == 0:
            return self.concepts
        rng, left, shuffled = Random(f"order {order}"), list(self.concepts), []
        while left:
            shuffled.append(left.pop(int(rng.random() * len(left))))
        return tuple(shuffled)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over everything that decides what is learned and what is asked."""
        content = [self.id, self.version, [c.fingerprint for c in self.concepts], dict(self.preservation)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def check(self) -> None:
        """Raise TaskError if a shipped sequence no longer draws or says what it did when it was released."""
        known = tomllib.loads(SHIPPED.joinpath("fingerprints.toml").read_text("utf-8")).get(
            f"{self.id}.v{self.version}"
        )
        if known is not None and known != self.fingerprint:
            raise TaskError(
                f"sequence {self.id}.v{self.version} is not as it was released: its pictures are drawn differently; "
                "install exactly the versions of dicebear-core and dicebear-styles that cat-bench asks for"
            )


def sequence_names() -> tuple[str, ...]:
    """The shipped sequences."""
    names = (Path(entry.name) for entry in SHIPPED.iterdir())
    return tuple(sorted(n.stem for n in names if n.suffix == ".toml" and n.stem != "fingerprints"))


def load_sequence(name: str | Path) -> Sequence:
    """A shipped sequence by name, or one from a TOML file. Raises TaskError: what is wrong, where, how to mend it."""
    entry, where = _read(name)
    base = load_sequence(entry.extends) if entry.extends is not None else None
    prompts = {c.kind.id: c.prompts for c in base.concepts} if base is not None else {}
    concepts = [_concept(c, {**prompts, **entry.prompts}, where) for c in entry.concept]
    concepts = [*(base.concepts if base is not None else ()), *concepts]
    for attribute in ("id", "trigger"):
        values = [getattr(c, attribute) for c in concepts]
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            raise TaskError(f"{where}: two concepts with {attribute} {twice[0]!r}; give one of them another")
    preservation: dict[str, tuple[str, ...]] = dict(base.preservation) if base is not None else {}
    preservation.update((str(stratum), prompts) for stratum, prompts in entry.preservation.items())
    return Sequence(entry.id, entry.version, entry.title, entry.license, entry.citation, tuple(concepts), preservation)


def _read(name: str | Path) -> tuple[SequenceEntry, str]:
    known = sequence_names()
    path = Path(name)
    if str(name) in known:
        source: Any = SHIPPED.joinpath(f"{name}.toml")
    elif path.suffix == ".toml" or path.is_file():
        source = path
    else:
        close = get_close_matches(str(name), known, 1)
        hint = f"did you mean {close[0]!r}?" if close else "or give the path of a TOML file"
        raise TaskError(f"unknown sequence {str(name)!r}: {hint} Shipped: {', '.join(known)}")
    try:
        return SequenceEntry.model_validate(tomllib.loads(source.read_text("utf-8"))), str(name)
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"sequence {name} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"sequence {name} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise TaskError(f"sequence {name}, key {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _concept(entry: ConceptEntry, prompts: Mapping[str, tuple[str, ...]], where: str) -> Concept:
    kind = vocabulary().kind(entry.kind)
    place = f"{where}, concept {entry.id}"
    for name, variant in entry.parts.items():
        if name not in kind.parts or kind.parts[name].free:
            raise TaskError(
                f"{place}: {name!r} is not an identity part of a {kind.noun}; it has {_identity_parts(kind)}"
            )
        if variant not in kind.parts[name].words:
            raise TaskError(
                f"{place}: part {name!r} has no variant {variant!r}; it has {', '.join(kind.parts[name].words)}"
            )
    slots = {s: slot for s, slot in kind.slots.items() if slot.palette and not slot.free}
    if set(entry.colors) != set(slots):
        raise TaskError(
            f"{place}: colours must be given for {', '.join(slots)}; given: {', '.join(entry.colors) or 'none'}"
        )
    for slot, color in entry.colors.items():
        if color not in slots[slot].palette:
            raise TaskError(f"{place}: colour {slot} has no {color!r}; it has {', '.join(slots[slot].palette)}")
    templates = prompts.get(kind.id, ())
    if not templates or any("{}" not in t for t in templates):
        raise TaskError(f"{where}: [prompts] needs a list for {kind.id!r}, each with a {{}} for the concept")
    parts = {n: entry.parts.get(n) for n, p in kind.parts.items() if not p.free}
    return Concept(entry.id, entry.trigger or entry.id, Look(kind.id, parts, dict(entry.colors)), templates)


def _identity_parts(kind: Kind) -> str:
    return ", ".join(n for n, p in kind.parts.items() if not p.free)
