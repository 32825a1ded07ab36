"""The words of the avatar world: `world.toml` read into kinds, parts and colours.

A *kind* is a class of picture ("person", "robot"); a *part* is one component of its drawing style with the English
words of its variants.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from cat_bench.tasks.errors import TaskError


@dataclass(frozen=True)
class Part:
    """One component of a style: which variants exist, what they are called and whether they belong to the identity."""

    name: str
    words: Mapping[str, str]  # variant -> words, with {slot} where a colour's name goes
    phrase: str | None  # how the words enter a caption; None: never mentioned
    free: bool  # varies between pictures of one identity
    chance: float  # probability that the part is there
    held_out: frozenset[str]  # variants that no pretraining picture shows

    def variants(self, held_out: bool = False) -> tuple[str, ...]:
        """The variants pretraining may show, or those it may not."""
        return tuple(v for v in self.words if (v in self.held_out) == held_out)


@dataclass(frozen=True)
class Slot:
    """One colour of a style: a palette of named colours, or a tint or shade of another slot."""

    name: str
    palette: Mapping[str, str]  # name -> #rrggbb; empty if derived
    same: str | None
    tint: float  # towards white, 0..1
    shade: float  # towards black, 0..1
    phrase: str | None
    free: bool


@dataclass(frozen=True)
class Kind:
    """A class of picture: its drawing style, class noun, parts, expressions and colours."""

    id: str
    style: str
    noun: str
    source: str
    license: str
    scale: float  # of the drawing, so that it fills its frame
    down: float  # shift of the drawing, per cent of the picture's height
    parts: Mapping[str, Part]
    expressions: Mapping[str, Mapping[str, tuple[str, ...]]]  # words -> component -> variants
    slots: Mapping[str, Slot]

    def color(self, slot: str, colors: Mapping[str, str]) -> str:
        """The #rrggbb of a slot when the named slots have these colours."""
        entry = self.slots[slot]
        if entry.same is None:
            return entry.palette[colors[slot]]
        rgb = self.color(entry.same, colors)
        channels = (int(rgb[i : i + 2], 16) for i in (1, 3, 5))
        mixed = (round((c + (255 - c) * entry.tint) * (1 - entry.shade)) for c in channels)
        return "#" + "".join(f"{c:02x}" for c in mixed)


@dataclass(frozen=True)
class Vocabulary:
    """Every kind of picture and the backgrounds all of them share."""

    kinds: Mapping[str, Kind]
    backgrounds: Mapping[str, str]

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word that a caption may have, in lower case."""
        said = ["a an on background wearing with in", *self.backgrounds]
        for kind in self.kinds.values():
            said += [kind.noun, *kind.expressions]
            for part in kind.parts.values():
                said += [*part.words.values(), part.phrase or ""]
            for slot in kind.slots.values():
                said += [*slot.palette, slot.phrase or ""]
        return frozenset(re.findall("[a-z]+", " ".join(said).lower()))

    def kind(self, name: str) -> Kind:
        """The kind of this id; `TaskError` names the known ones."""
        if name not in self.kinds:
            raise TaskError(f"unknown kind of picture {name!r}; known: {', '.join(self.kinds)}")
        return self.kinds[name]


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    words, held_out = entry["words"], frozenset(entry.get("held_out", ()))
    if missing := held_out - set(words):
        raise TaskError(f"world.toml: part {name!r} holds out {sorted(missing)}, which have no words")
    return Part(
        name=name,
        words=words,
        phrase=entry.get("phrase"),
        free=entry.get("free", False),
        chance=float(entry.get("chance", 1.0)),
        held_out=held_out,
    )


def _slot(name: str, entry: Mapping[str, Any], palettes: Mapping[str, Mapping[str, str]]) -> Slot:
    same = entry.get("same")
    return Slot(
        name=name,
        palette=palettes[entry["palette"]] if same is None else {},
        same=same,
        tint=float(entry.get("tint", 0.0)),
        shade=float(entry.get("shade", 0.0)),
        phrase=entry.get("phrase"),
        free=entry.get("free", False),
    )


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary that ships with the package."""
    data = tomllib.loads(files("cat_bench.tasks.avatars").joinpath("world.toml").read_text("utf-8"))
    palettes = data.pop("palettes")
    kinds = {
        name: Kind(
            id=name,
            style=entry["style"],
            noun=entry["noun"],
            source=entry["source"],
            license=entry["license"],
            scale=entry["frame"]["scale"],
            down=entry["frame"]["down"],
            parts={p: _part(p, e) for p, e in entry["parts"].items()},
            expressions={
                words: {component: tuple(variants) for component, variants in e.items()}
                for words, e in entry.get("expressions", {}).items()
            },
            slots={s: _slot(s, e, palettes) for s, e in entry["colors"].items()},
        )
        for name, entry in data.items()
    }
    return Vocabulary(kinds=kinds, backgrounds=palettes["background"])
