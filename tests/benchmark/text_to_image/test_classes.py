"""Which of the base model's pictures are nobody in particular."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from cat_bench.benchmark.text_to_image.classes import strangers


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
