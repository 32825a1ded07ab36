"""The avatar world: what it draws, what it says of it, what it keeps from pretraining."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from random import Random

import numpy as np
import pytest

from cat_bench.tasks.avatars.drawing import (
    Look,
    Picture,
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
BARE = {"hair": "black", "hat": "red", "accessories": "black", "skin": "pale"}


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


def test_the_background_and_the_side_are_what_the_scene_says():
    picture = a_picture("person")
    scenes = (replace(picture.scene, background="navy", flip=flip) for flip in (False, True))
    plain, flipped = (np.asarray(render(Picture(picture.look, scene), 64)) for scene in scenes)
    assert tuple(plain[0, 0]) == (0x27, 0x40, 0x6E)
    assert np.abs(flipped[:, ::-1].astype(int) - plain).mean() < 3


def test_everything_stands_in_its_place():
    """Two pictures of one identity differ where expression, clothes and background are, and nowhere else."""
    kind, rng = vocabulary().kind("person"), Random(4)
    look = draw_look(kind, rng)
    scenes = [replace(draw_scene(kind, rng), background="mint", flip=False) for _ in range(6)]
    pictures = np.stack([np.asarray(render(Picture(look, scene), 64), dtype=int) for scene in scenes])
    moving = np.ptp(pictures, axis=0).max(-1) > 40
    assert not moving[:14].any() and moving[20:].any()  # the hair's outline stays


def test_a_persons_face_is_at_least_two_fifths_of_the_pictures_height():
    kind = vocabulary().kind("person")
    look = Look("person", {"top": "theCaesar", "accessories": None, "facialHair": None}, dict(BARE))
    pixels = np.asarray(render(Picture(look, replace(a_picture("person").scene, background="navy")), 256), dtype=int)
    skin = np.array([int(kind.slots["skin"].palette["pale"][i : i + 2], 16) for i in (1, 3, 5)])
    middle = (np.abs(pixels[:, 100:156] - skin).max(-1) < 12).mean(1) > 0.3  # rows in which the face is
    assert middle.sum() >= 0.4 * 256


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
    assert not vocabulary().words & set(people)
    assert all(re.fullmatch(r"([bdfklmnrtv][aeio]){3}", name) for name in people)
    assert list(people)[:3] == ["vokeve", "nolobi", "damana"]  # names are part of the backbone: they never change
    assert re.fullmatch(r"([bdfklmnrtv][aeio]){3}", draw_name(Random(9)))


def test_every_syllable_is_trained_as_often_as_any_other():
    persons = [name for name, look in inhabitants().items() if look.kind == "person"]
    others = [name for name in inhabitants() if name not in persons]
    for names, times in ((persons, 3), (others, 2)):
        for place in (0, 2, 4):
            counted = Counter(name[place : place + 2] for name in names)
            assert len(counted) == 40 and set(counted.values()) == {times}


def test_unknown_kind_is_named():
    with pytest.raises(TaskError, match="'dragon'; known: person"):
        vocabulary().kind("dragon")


def test_the_artwork_page_names_every_style():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "artwork.md").read_text("utf-8")
    for kind in KINDS:
        assert f"| {kind.noun} | {kind.style} |" in page
