"""Concepts of the avatar world: pictures that are drawn at whatever size is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from PIL.Image import Image

from cat_bench.tasks.avatars.asked import Wanted, asked
from cat_bench.tasks.avatars.drawing import (
    Look,
    Picture,
    Scene,
    draw_features,
    draw_look,
    draw_scene,
    pick,
    render,
    scene_phrases,
    sentence,
    svg,
    with_articles,
)
from cat_bench.tasks.avatars.questions import facts, heads
from cat_bench.tasks.avatars.vocabulary import Kind, vocabulary
from cat_bench.tasks.concept import subject
from cat_bench.tasks.entries import AvatarEntry
from cat_bench.tasks.errors import TaskError

TRAIN_IMAGES = 6
REFERENCE_IMAGES = 12
CLASS_IMAGES = 48


@dataclass(frozen=True)
class AvatarConcept:
    """One inhabitant to learn: training pictures with captions, held-out references, trigger, class noun, prompts."""

    id: str
    trigger: str
    look: Look
    prompts: tuple[str, ...]  # templates with "{}"

    @property
    def kind(self) -> Kind:
        """The class of picture."""
        return vocabulary().kind(self.look.kind)

    @property
    def noun(self) -> str:
        """The class noun, e.g. "person"."""
        return self.kind.noun

    @cached_property
    def train_pictures(self) -> tuple[Picture, ...]:
        """What is learned from; as far as there are enough, no two have the same background or expression."""
        return tuple(Picture(self.look, scene) for scene in _scenes(self.kind, f"{self.id}/train", TRAIN_IMAGES))

    @cached_property
    def reference_pictures(self) -> tuple[Picture, ...]:
        """What is scored against; never trained on."""
        return tuple(
            Picture(self.look, scene) for scene in _scenes(self.kind, f"{self.id}/reference", REFERENCE_IMAGES)
        )

    @property
    def train_captions(self) -> tuple[str, ...]:
        """Templates that name what varies, not what the concept is: "a {}, smiling, on a mint background"."""
        return tuple(sentence(scene_phrases(self.kind, p.scene)) for p in self.train_pictures)

    @property
    def reference_captions(self) -> tuple[str, ...]:
        """The like of the references."""
        return tuple(sentence(scene_phrases(self.kind, p.scene)) for p in self.reference_pictures)

    @cached_property
    def identity_answers(self) -> Mapping[str, str]:
        """Question → answer, of all that every picture of it shows: its parts, and the colours that are to be seen."""
        about = {head.name for head in heads() if head.about == "identity"}
        shown = [facts(picture) for picture in self.reference_pictures]
        return {q: a for q, a in shown[0].items() if q in about and all(one.get(q) == a for one in shown)}

    @property
    def held_out_questions(self) -> frozenset[str]:
        """Those of its identity's questions whose answer no pretraining picture shows."""
        parts = {f"{self.kind.id}/{name}": part.held_out for name, part in self.kind.parts.items()}
        return frozenset(q for q, answer in self.identity_answers.items() if answer in parts.get(q, ()))

    def asked(self, template: str) -> Wanted:
        """What a template asks of the scene: question → every answer that its words allow; empty: nothing."""
        return asked(template, self.kind.id)

    def class_images(self, size: int) -> list[Image]:
        """Other inhabitants of its class, RGB, size × size pixels: always the same ones, with nothing held out."""
        rng = Random(f"{self.kind.id}/class")
        pairs = ((draw_look(self.kind, rng), draw_scene(self.kind, rng)) for _ in range(CLASS_IMAGES))
        return [render(Picture(look, scene), size) for look, scene in pairs]

    def train_images(self, size: int) -> list[Image]:
        """The training pictures, RGB, size × size pixels."""
        return [render(p, size) for p in self.train_pictures]

    def reference_images(self, size: int) -> list[Image]:
        """The reference pictures, RGB, size × size pixels."""
        return [render(p, size) for p in self.reference_pictures]

    def fill(self, template: str, form: str) -> str:
        """A prompt from a template; forms as in `Concept.fill`."""
        return with_articles(template.replace("{}", subject(self, form)))

    @property
    def fingerprint(self) -> str:
        """sha256 over the drawings, captions and prompts."""
        return self._fingerprints[0]

    @property
    def learning_fingerprint(self) -> str:
        """sha256 over the training drawings, their captions and what they call it."""
        return self._fingerprints[1]

    @cached_property
    def _fingerprints(self) -> tuple[str, str]:
        train = [svg(p) for p in self.train_pictures]
        learned = [self.id, self.trigger, self.noun, self.train_captions]
        all_of_it = [[*learned, self.prompts], [*train, *(svg(p) for p in self.reference_pictures)]]
        whole, part = (hashlib.sha256(json.dumps(content).encode()) for content in (all_of_it, [learned, train]))
        return whole.hexdigest(), part.hexdigest()


def avatar_concept(entry: AvatarEntry, prompts: Mapping[str, tuple[str, ...]], where: str) -> AvatarConcept:
    """The concept that an entry of a sequence describes. prompts: by kind. Raises TaskError."""
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
    return AvatarConcept(entry.id, entry.trigger or entry.id, Look(kind.id, parts, dict(entry.colors)), templates)


def _scenes(kind: Kind, seed: str, count: int) -> list[Scene]:
    """Random scenes whose backgrounds and expressions differ for as long as there are new ones."""
    rng = Random(seed)
    backgrounds, expressions = list(vocabulary().backgrounds), list(kind.expressions)
    scenes: list[Scene] = []
    while len(scenes) < count:
        drawn = draw_scene(kind, rng)
        background = pick(rng, _unused(backgrounds, [s.background for s in scenes]))
        expression = pick(rng, _unused(expressions, [str(s.expression) for s in scenes])) if expressions else None
        features = draw_features(kind, expression, rng)
        scenes.append(replace(drawn, background=background, expression=expression, features=features))
    return scenes


def _unused(options: list[str], used: list[str]) -> list[str]:
    """The options used least often so far."""
    least = min(used.count(o) for o in options)
    return [o for o in options if used.count(o) == least]


def _identity_parts(kind: Kind) -> str:
    return ", ".join(n for n, p in kind.parts.items() if not p.free)
