"""Which of the base model's pictures are nobody in particular."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from cat_bench.benchmark.text_to_image.classes import (
    COMMON,
    choices,
    class_pictures,
    nouns_of,
    strangers,
    untriggered,
    world,
)
from cat_bench.tasks.sequence import load_sequence


def test_pictures_of_prompts_that_name_the_class_and_no_longer_noun() -> None:
    concepts = [
        SimpleNamespace(id=i, noun=noun) for i, noun in (("r", "robot"), ("v", "voxel robot"), ("m", "monster"))
    ]
    prompts = {
        "class": ("a robot", "a tree", "a Voxel Robot at sea", "robotics", "two things, a robot and a voxel robot")
    }
    sequence = SimpleNamespace(concepts=concepts, preservation=prompts)
    plan = SimpleNamespace(sequence=sequence, spec=SimpleNamespace(preservation_images=2))
    rows = np.arange(10.0)[:, None]  # two pictures a prompt
    found = strangers(plan, {"class": rows})  # type: ignore[arg-type]
    assert found["r"].ravel().tolist() == [0, 1, 8, 9]
    assert found["v"].ravel().tolist() == [4, 5, 8, 9]
    assert found["m"].shape == (0, 1)


def a_plan(**more: Any) -> Any:
    concepts = [SimpleNamespace(id=i, noun=noun, fill=lambda t, f, n=noun: t.format(n)) for i, noun in NOUNS]
    sequence = SimpleNamespace(concepts=concepts, preservation={"class": ("a dog", "a tree", "a big dog"), "other": ()})
    return SimpleNamespace(sequence=sequence, spec=SimpleNamespace(preservation_images=2), **more)


NOUNS = (("x", "dog"), ("y", "dog"), ("z", "Toy"))


def test_a_stage_and_the_base_model_are_twins_picture_by_picture() -> None:
    stage = {"preservation/class": np.arange(6.0)[:, None], "diversity/dog": np.ones((3, 1))}
    base = {"preservation/class": 10 + np.arange(6.0)[:, None], "diversity/dog": np.zeros((3, 1))}
    found = untriggered(a_plan(), stage, base)
    assert np.asarray(found.strangers).ravel().tolist() == [10, 11, 14, 15]  # "a tree" names no class
    assert found.twins == {"class": [0, 1, -1, -1, 2, 3]}
    assert np.asarray(found.judged["class"]).ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert list(found.judged) == ["class", "dog"] and list(found.varied) == list(found.base) == ["dog"]
    unasked = a_plan()
    unasked.sequence.preservation = {}
    nothing = untriggered(unasked, {}, {})
    assert not nothing.varied and len(np.asarray(nothing.strangers)) == 0


def test_the_worlds_pictures_are_strangers_to_each_other() -> None:
    known = {"class/dog": np.zeros((2, 1)), "class/Toy": np.ones((3, 1))}
    found = world(a_plan(), known, {})
    assert {name: list(twins) for name, twins in found.twins.items()} == {"dog": [0, 1], "Toy": [2, 3, 4]}
    assert np.asarray(found.strangers).ravel().tolist() == [0, 0, 1, 1, 1]
    assert not world(a_plan(), {}, {}).judged  # photos: there are none


def test_of_photos_the_base_models_own_pictures_stand_for_the_class() -> None:
    base = {"preservation/class": np.arange(6.0)[:, None], "diversity/dog": 10 + np.arange(2.0)[:, None]}
    found = class_pictures(a_plan(), {}, base)
    assert found["x"].ravel().tolist() == [0, 1, 4, 5, 10, 11] and "z" not in found


def test_a_class_is_chosen_among_all_kinds_or_common_nouns() -> None:
    found = choices(a_plan().sequence)
    assert found["x"].name == "photos" and set(found["x"].nouns) == {*COMMON, "Toy"}
    assert found["x"].texts[found["x"].nouns.index("dog")] == "a photo of a dog"
    avatars = choices(load_sequence("objects5"))["donome"]
    assert avatars.name == "avatars" and len(avatars.nouns) == 12 and "a voxel robot" in avatars.texts
    nouns = nouns_of(a_plan().sequence, {"nouns/photos": np.ones((13, 1))})
    assert nouns["z"].own == "Toy" and nouns["y"].own == "dog"
