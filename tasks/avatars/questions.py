"""What can be read off a picture of the world: every part and colour that it shows, as questions with a fixed list of
answers.

A colour is asked for only where it can be seen: the colour of absent glasses is no question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from cat_bench.tasks.avatars.drawing import Look, Picture, Scene, rasterise, svg
from cat_bench.tasks.avatars.vocabulary import Kind, vocabulary

ABSENT = "none"
COLOR = "-color"  # ends the name of a question for a colour
ANYTHING = ("", None)
VISIBLE_PIXELS = 4  # of 64 × 64: a colour that fewer show cannot be read
VISIBLE_LEVELS = 12  # of 255


@dataclass(frozen=True)
class Head:
    """A question about a picture: "person/top", with all its answers."""

    name: str
    about: Literal["class", "identity", "scene"]
    kind: str | None  # None: asked of every picture
    answers: tuple[str, ...]


@cache
def heads() -> tuple[Head, ...]:
    """All questions, always in the same order."""
    known = vocabulary()
    found = [
        Head("class", "class", None, tuple(known.kinds)),
        Head("background", "scene", None, tuple(known.backgrounds)),
    ]
    for kind in known.kinds.values():
        for name, part in kind.parts.items():
            answers = (*part.words, ABSENT) if part.chance < 1 else tuple(part.words)
            found.append(Head(f"{kind.id}/{name}", "scene" if part.free else "identity", kind.id, answers))
        for name, slot in kind.slots.items():
            if slot.palette:
                about: Literal["identity", "scene"] = "scene" if slot.free else "identity"
                found.append(Head(f"{kind.id}/{name}{COLOR}", about, kind.id, tuple(slot.palette)))
        if kind.expressions:
            found.append(Head(f"{kind.id}/expression", "scene", kind.id, tuple(kind.expressions)))
    return tuple(head for head in found if len(head.answers) > 1)


def facts(picture: Picture) -> dict[str, str]:
    """Head → answer, of all questions that this picture answers."""
    look, scene = picture.look, picture.scene
    kind = vocabulary().kind(look.kind)
    parts = {**look.parts, **scene.parts}
    found = {"class": kind.id, "background": scene.background}
    found |= {f"{kind.id}/{name}": variant or ABSENT for name, variant in parts.items()}
    for slot, color in {**look.colors, **scene.colors}.items():
        if ANYTHING in _shown_by(kind.id, slot) or not _shown_by(kind.id, slot).isdisjoint(parts.items()):
            found[f"{kind.id}/{slot}{COLOR}"] = color
    if scene.expression is not None:
        found[f"{kind.id}/expression"] = scene.expression
    asked = {head.name for head in heads()}
    return {name: answer for name, answer in found.items() if name in asked}


def named(picture: Picture) -> Mapping[str, frozenset[str]]:
    """What a caption that says everything names: question → all answers that are called by the same words."""
    kind = vocabulary().kind(picture.look.kind)
    true = facts(picture)
    found = {"class": frozenset({kind.id}), "background": frozenset({picture.scene.background})}
    colors: set[str] = {slot for slot, entry in kind.slots.items() if entry.phrase is not None}
    for name, variant in {**picture.look.parts, **picture.scene.parts}.items():
        part = kind.parts[name]
        if part.phrase is None or variant is None:
            continue
        words = part.words[variant]
        found[f"{kind.id}/{name}"] = frozenset(v for v, same in part.words.items() if same == words)
        colors |= set(re.findall(r"\{(\w+)\}", words))
    if picture.scene.expression is not None:
        found[f"{kind.id}/expression"] = frozenset({picture.scene.expression})
    found |= {f"{kind.id}/{slot}{COLOR}": frozenset({true.get(f"{kind.id}/{slot}{COLOR}", "")}) for slot in colors}
    return {question: answers for question, answers in found.items() if question in true}


@cache
def _shown_by(kind_id: str, slot: str) -> frozenset[tuple[str, str | None]]:
    """The (part, variant) pairs of which any one shows this colour; `ANYTHING` among them: it is always to be seen."""
    kind = vocabulary().kind(kind_id)
    if kind.slots[slot].phrase is not None or kind.slots[slot].free:
        return frozenset({ANYTHING})
    bare = {name: None if part.chance < 1 else next(iter(part.words)) for name, part in kind.parts.items()}
    needed = [(name, v) for name, part in kind.parts.items() if part.chance == 1 for v in part.words]
    plain = next(({**bare, n: v} for n, v in [*needed[:1], *needed] if not _shows(kind, slot, {**bare, n: v})), None)
    if plain is None:
        return frozenset({ANYTHING})
    every = ((name, variant) for name, part in kind.parts.items() for variant in part.words)
    return frozenset((name, variant) for name, variant in every if _shows(kind, slot, {**plain, name: variant}))


def _shows(kind: Kind, slot: str, parts: Mapping[str, str | None]) -> bool:
    """Whether a picture with these parts shows this colour: painted over, the drawing looks different."""
    colors = {s: tuple(c.palette)[i % len(c.palette)] for i, (s, c) in enumerate(kind.slots.items()) if c.palette}
    features = {c: v[0] for c, v in next(iter(kind.expressions.values()), {}).items()}
    drawn = svg(Picture(Look(kind.id, parts, colors), Scene("navy", features=features)))
    painted = drawn
    # Not drawn anew in another colour: colours also decide details without a name.
    for tone in (s for s, c in kind.slots.items() if slot in (s, c.same)):
        painted = painted.replace(kind.color(tone, colors), "#00ff00")
    if painted == drawn:
        return False
    first, last = (np.asarray(rasterise(text, 64), dtype=int) for text in (drawn, painted))
    return int((np.abs(first - last).max(2) >= VISIBLE_LEVELS).sum()) >= VISIBLE_PIXELS
