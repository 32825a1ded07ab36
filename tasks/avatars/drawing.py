"""Procedural pictures of people, robots, monsters, plants and places, with captions that say what they show.

A picture is a `Look` (the identity: fixed parts and colours) plus a `Scene` (what varies freely: expression, clothes,
background, mirrored or not). Nothing is turned, shifted or shrunk: a small network then learns what is there instead of
where it is. DiceBear draws a picture as a vector image and resvg rasterises it, so it exists at 64, 512 or 1024 pixels,
bit for bit the same on every run.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, TypeVar

import resvg_py
from dicebear import Avatar, Style
from PIL import Image

from cat_bench.tasks.avatars.vocabulary import Kind, vocabulary
from cat_bench.tasks.errors import TaskError

T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """An identity: everything about a picture's subject that stays the same."""

    kind: str
    parts: Mapping[str, str | None]  # component -> variant, None: the part is absent
    colors: Mapping[str, str]  # slot -> colour name


@dataclass(frozen=True)
class Scene:
    """What varies between pictures of one identity."""

    background: str
    parts: Mapping[str, str | None] = field(default_factory=dict)
    colors: Mapping[str, str] = field(default_factory=dict)
    expression: str | None = None
    features: Mapping[str, str] = field(default_factory=dict)  # the expression's component -> variant
    flip: bool = False  # mirrored left to right


@dataclass(frozen=True)
class Picture:
    """One picture of the world: who, and how."""

    look: Look
    scene: Scene

    def spec(self) -> dict[str, Any]:
        """Everything that decides the pixels, as plain JSON data."""
        return asdict(self)


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options. Built on `random()` alone, the one method whose stream Python promises never to change."""
    return options[int(rng.random() * len(options))]


def draw_look(kind: Kind, rng: Random, held_out: bool = False) -> Look:
    """A random identity of this kind; with `held_out`, every part that has unseen variants shows one of them."""
    parts: dict[str, str | None] = {}
    for name, part in kind.parts.items():
        if part.free:
            continue
        unseen = part.variants(held_out=True) if held_out else ()
        present = rng.random() < part.chance or bool(unseen)
        parts[name] = pick(rng, unseen or part.variants()) if present else None
    colors = {s: pick(rng, tuple(slot.palette)) for s, slot in kind.slots.items() if slot.palette and not slot.free}
    return Look(kind.id, parts, colors)


def draw_scene(kind: Kind, rng: Random) -> Scene:
    """Random free parts, expression and background, mirrored half of the time."""
    parts = {
        name: pick(rng, part.variants()) if rng.random() < part.chance else None
        for name, part in kind.parts.items()
        if part.free
    }
    colors = {s: pick(rng, tuple(slot.palette)) for s, slot in kind.slots.items() if slot.palette and slot.free}
    expression = pick(rng, tuple(kind.expressions)) if kind.expressions else None
    features = draw_features(kind, expression, rng)
    return Scene(
        background=pick(rng, tuple(vocabulary().backgrounds)),
        parts=parts,
        colors=colors,
        expression=expression,
        features=features,
        flip=rng.random() < 0.5,
    )


def draw_features(kind: Kind, expression: str | None, rng: Random) -> dict[str, str]:
    """One of the variants by which each component shows an expression."""
    return {c: pick(rng, v) for c, v in kind.expressions[expression].items()} if expression is not None else {}


@cache
def _style(name: str) -> Style:
    return Style(json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")))


def svg(picture: Picture) -> str:
    """The picture as SVG."""
    kind = vocabulary().kind(picture.look.kind)
    scene = picture.scene
    colors = {**picture.look.colors, **scene.colors}
    options: dict[str, Any] = {
        # It only decides details without a name (where the stars are), and follows the identity: they stay put.
        "seed": json.dumps([picture.look.kind, picture.look.parts, picture.look.colors], sort_keys=True),
        "backgroundColor": [vocabulary().backgrounds[scene.background]],
        "scale": kind.scale,
        "translateY": kind.down,
        "flip": "horizontal" if scene.flip else "none",
    }
    for component, variant in {**picture.look.parts, **scene.parts, **scene.features}.items():
        options[f"{component}Probability"] = 0 if variant is None else 100
        if variant is not None:
            options[f"{component}Variant"] = variant
    for slot in kind.slots:
        options[f"{slot}Color"] = [kind.color(slot, colors)]
    return Avatar(_style(kind.style), options).to_string()


def render(picture: Picture, size: int) -> Image.Image:
    """The picture as an RGB image of size × size pixels."""
    if size < 8:
        raise TaskError(f"a picture of {size} pixels shows nothing; ask for 8 or more")
    return rasterise(svg(picture), size)


def rasterise(drawing: str, size: int) -> Image.Image:
    """An SVG drawing as an RGB image of size × size pixels."""
    png = resvg_py.svg_to_bytes(svg_string=drawing, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGB")


def identity_phrases(look: Look) -> list[str]:
    """What can be said of an identity, one phrase a part: "with brown curly hair", "with pale skin"."""
    kind = vocabulary().kind(look.kind)
    phrases = _part_phrases(kind, look.parts, look.colors)
    for slot, color in look.colors.items():
        phrase = kind.slots[slot].phrase
        if phrase is not None:
            phrases.append(phrase.format(color))
    return phrases


def scene_phrases(kind: Kind, scene: Scene) -> list[str]:
    """What can be said of a scene: expression, clothes, background."""
    expression = [scene.expression] if scene.expression is not None else []
    return [*expression, *_part_phrases(kind, scene.parts, scene.colors), background_phrase(scene.background)]


def _part_phrases(kind: Kind, parts: Mapping[str, str | None], colors: Mapping[str, str]) -> list[str]:
    """A phrase for each part that is there and is ever mentioned."""
    shown = [(kind.parts[name], variant) for name, variant in parts.items() if variant is not None]
    return [p.phrase.format(p.words[variant].format(**colors)) for p, variant in shown if p.phrase is not None]


def background_phrase(background: str) -> str:
    """How a caption names the background."""
    return f"on a {background} background"


def sentence(phrases: Sequence[str], subject: str = "{}") -> str:
    """A caption: "a robot with horns, smiling, on a mint background". The default subject leaves a "{}" to fill in."""
    if not phrases:
        return with_articles(f"a {subject}")
    first, *rest = phrases
    joint = " " if first.split()[0] in ("with", "wearing", "on", "in", "of") else ", "
    return with_articles(f"a {subject}{joint}" + ", ".join([first, *rest]))


def with_articles(text: str) -> str:
    """ "a orange sun" → "an orange sun"."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
