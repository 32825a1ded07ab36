"""Where in a picture each of its facts shows: a map per question, found by exchanging the answer and drawing again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from cat_bench.tasks.avatars.drawing import Look, Picture, Scene, draw_look, draw_scene, pick, render
from cat_bench.tasks.avatars.questions import ABSENT, COLOR, Head, heads
from cat_bench.tasks.avatars.vocabulary import vocabulary

Map = NDArray[np.float32]

SIZE = 64
TRIALS = 6
BRIGHT = 0.12  # of a map's maximum: what is weaker is the drawing's shadow


def exchange(picture: Picture, head: Head, rng: Random) -> Picture:
    """The picture with another answer to one question, drawn at random; everything else stays."""
    return answered(picture, head, pick(rng, [a for a in head.answers if a != _answer(picture, head)]), rng)


def answered(picture: Picture, head: Head, answer: str, rng: Random) -> Picture:
    """The picture with this answer to a question about a part, a colour or the expression."""
    look, scene, name = picture.look, picture.scene, _name(head)
    if name == "expression":
        features = {c: pick(rng, v) for c, v in vocabulary().kind(look.kind).expressions[answer].items()}
        return Picture(look, replace(scene, expression=answer, features=features))
    holder: Look | Scene
    if name.endswith(COLOR):
        slot = name.removesuffix(COLOR)
        holder = look if slot in look.colors else scene
        changed = replace(holder, colors={**holder.colors, slot: answer})
    else:
        holder = look if name in look.parts else scene
        changed = replace(holder, parts={**holder.parts, name: None if answer == ABSENT else answer})
    return Picture(changed, scene) if isinstance(changed, Look) else Picture(look, changed)


def _answer(picture: Picture, head: Head) -> str | None:
    look, scene, name = picture.look, picture.scene, _name(head)
    if name == "expression":
        return scene.expression
    if name.endswith(COLOR):
        return {**look.colors, **scene.colors}[name.removesuffix(COLOR)]
    return {**look.parts, **scene.parts}[name] or ABSENT


def _name(head: Head) -> str:
    return head.name.partition("/")[2]


@cache
def places(kind_id: str) -> Mapping[str, Map]:
    """Head → (64, 64) weights that sum to 1 (all 0: never seen), of pictures that are not mirrored."""
    kind, found = vocabulary().kind(kind_id), {}
    for head in heads():
        if head.kind != kind_id:
            continue
        rng = Random(f"places/{head.name}")
        total: Map = np.zeros((SIZE, SIZE), dtype=np.float32)
        for _ in range(TRIALS):
            picture = Picture(draw_look(kind, rng), replace(draw_scene(kind, rng), flip=False))
            both = [np.asarray(render(p, SIZE), dtype=np.float32) for p in (picture, exchange(picture, head, rng))]
            total += np.abs(both[0] - both[1]).max(2)
        total[total < BRIGHT * total.max()] = 0
        found[head.name] = total / max(float(total.sum()), 1e-9)
    return found


def place(kind_id: str, head: str, flip: bool) -> Map:
    """The map of one head in a picture, mirrored or not."""
    found = places(kind_id)[head]
    return found[:, ::-1] if flip else found


def box(weights: Map) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around a map's non-zero weights."""
    rows, columns = np.nonzero(weights.any(1))[0], np.nonzero(weights.any(0))[0]
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
