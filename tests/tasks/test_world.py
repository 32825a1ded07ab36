"""The avatar world: what it draws, what it says of it, what it keeps from pretraining."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.resources import files
from random import Random

import numpy as np
import pytest

from cat_bench.tasks.avatars.drawing import (
    Picture,
    Pose,
    draw_look,
    draw_scene,
    identity_phrases,
    render,
    scene_phrases,
    sentence,
    svg,
    with_articles,
)
from cat_bench.tasks.avatars.inhabitants import POPULATION, draw_name, inhabitants
from cat_bench.tasks.avatars.vocabulary import vocabulary
from cat_bench.tasks.errors import TaskError

KINDS = list(vocabulary().kinds.values())


def a_picture(kind: str, seed: int = 0) -> Picture:
    rng = Random(seed)
    return Picture(draw_look(vocabulary().kind(kind), rng), draw_scene(vocabulary().kind(kind), rng))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_vocabulary_names_only_what_the_style_has(kind):
    style = json.loads(files("dicebear_styles").joinpath(f"{kind.style}.json").read_text("utf-8"))
    for part in kind.parts.values():
        assert set(part.words) <= set(style["components"][part.name]["variants"])
    for features in kind.expressions.values():
        for component, variants in features.items():
            assert set(variants) <= set(style["components"][component]["variants"])
    assert set(kind.slots) <= set(style["colors"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_every_word_of_a_kind_can_be_said(kind):
    for part in kind.parts.values():
        for words in part.words.values():
            for slot in re.findall(r"{(\w+)}", words):
                assert slot in kind.slots
                assert part.free or not kind.slots[slot].free  # an identity never takes its colour from the scene


@pytest.mark.parametrize("kind", ["person", "robot", "potted_plant", "landscape"])
def test_a_picture_is_the_same_every_time_and_another_for_another_scene(kind):
    one, other = a_picture(kind), a_picture(kind, 1)
    assert svg(one) == svg(a_picture(kind))
    assert render(one, 64).tobytes() == render(one, 64).tobytes()
    assert np.any(np.asarray(render(one, 64)) != np.asarray(render(other, 64)))


def test_a_picture_exists_at_any_resolution():
    small, large = render(a_picture("person"), 64), render(a_picture("person"), 512)
    assert (small.size, large.size, small.mode) == ((64, 64), (512, 512), "RGB")
    again = np.asarray(large.resize((64, 64), 5), dtype=float)  # box filter
    assert np.abs(again - np.asarray(small)).mean() < 4
    with pytest.raises(TaskError, match="4 pixels"):
        render(a_picture("person"), 4)


def test_the_background_and_the_pose_are_what_the_scene_says():
    picture = a_picture("person")

    def posed(pose: Pose) -> np.ndarray:
        scene = replace(picture.scene, background="navy", pose=pose)
        return np.asarray(render(Picture(picture.look, scene), 64))

    plain = posed(Pose())
    assert tuple(plain[0, 0]) == (0x27, 0x40, 0x6E)
    flipped = posed(Pose(flip=True))
    assert np.abs(flipped[:, ::-1].astype(int) - plain).mean() < 3
    smaller = posed(Pose(scale=0.5))
    background = (plain[0, 0] == plain).all(-1).mean(), (smaller[0, 0] == smaller).all(-1).mean()
    assert background[1] > background[0] + 0.2


def test_pretraining_never_draws_what_is_held_out():
    rng = Random(3)
    for kind in KINDS:
        for _ in range(60):
            for name, variant in draw_look(kind, rng).parts.items():
                assert variant not in kind.parts[name].held_out
    for look in inhabitants().values():
        parts = vocabulary().kind(look.kind).parts
        assert not any(variant in parts[name].held_out for name, variant in look.parts.items())


def test_an_unseen_look_shows_every_part_that_is_held_out():
    kind = vocabulary().kind("person")
    look = draw_look(kind, Random(0), held_out=True)
    assert all(look.parts[name] in part.held_out for name, part in kind.parts.items() if part.held_out)


def test_captions_say_what_is_there():
    kind = vocabulary().kind("person")
    look = draw_look(kind, Random(5))
    scene = draw_scene(kind, Random(6))
    text = sentence(identity_phrases(look) + scene_phrases(kind, scene), kind.noun)
    assert text.startswith("a person with ")
    assert f"with {look.colors['skin']} skin" in text
    assert str(scene.expression) in text
    assert scene.colors["clothes"] in text
    assert text.endswith((f"on a {scene.background} background", f"on an {scene.background} background"))
    assert "{" not in text


def test_articles():
    assert with_articles("a orange sun on a yellow hill") == "an orange sun on a yellow hill"
    assert sentence([], "robot") == "a robot"
    assert sentence(["smiling"]) == "a {}, smiling"
    assert sentence(["with horns", "smiling"], "robot") == "a robot with horns, smiling"


def test_inhabitants_are_many_fixed_and_pronounceable():
    people = inhabitants()
    assert len(people) == sum(POPULATION.values()) == 200
    words = {w for kind in KINDS for part in kind.parts.values() for text in part.words.values() for w in text.split()}
    assert not words & set(people)
    assert all(re.fullmatch(r"([bdfgklmnprstvz][aeiou]){2,3}", name) for name in people)
    assert list(people)[:3] == ["pifidi", "ribule", "genega"]  # names are part of the backbone: they never change
    assert re.fullmatch(r"([bdfgklmnprstvz][aeiou]){2,3}", draw_name(Random(9)))


def test_unknown_kind_is_named():
    with pytest.raises(TaskError, match="'dragon'; known: person"):
        vocabulary().kind("dragon")


def test_the_artwork_page_names_every_style():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "artwork.md").read_text("utf-8")
    for kind in KINDS:
        assert f"| {kind.noun} | {kind.style} |" in page
