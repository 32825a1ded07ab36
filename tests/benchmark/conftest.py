"""Fixtures around the tiny random backbone: loaded once, and handed out with the promise that it was left untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from cat_bench.benchmark.backbones.backbone import Backbone


@dataclass(frozen=True)
class ToyConcept:
    """A concept whose pictures are noise of its own."""

    id: str
    trigger: str
    noun: str = "person"
    train_captions: tuple[str, ...] = ("a {}", "a {} with a hat", "the {}")

    def train_images(self, size: int) -> list[Image.Image]:
        rng = np.random.default_rng(list(self.id.encode()))
        return [Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in self.train_captions]

    def fill(self, template: str, form: str) -> str:
        return template.format(
            {"trigger": f"{self.trigger} {self.noun}", "token": self.trigger, "noun": self.noun}[form]
        )


@pytest.fixture(scope="session")
def toy_concepts() -> tuple[ToyConcept, ToyConcept]:
    return ToyConcept("first", "zorvex"), ToyConcept("second", "plimba")


@pytest.fixture(scope="session")
def _tiny(tiny_backbone_folder: Path) -> Backbone:
    from cat_bench.benchmark.backbones.backbone import Backbone

    return Backbone.load(tiny_backbone_folder, device="cpu")


@pytest.fixture
def tiny(_tiny: Backbone) -> Iterator[Backbone]:
    """The tiny backbone. Afterwards: no adapter is left in it, and its weights are the same tensors, bit for bit."""
    import torch

    from cat_bench.benchmark.learning.swap import bare_swaps

    networks = {"unet": _tiny.unet, "vae": _tiny.vae, "text_encoder": _tiny.text_encoders[0].network}
    before = {
        f"{part}.{name}": (parameter, parameter.detach().clone())
        for part, network in networks.items()
        for name, parameter in network.named_parameters()
    }
    yield _tiny
    left = bare_swaps(_tiny.unet)
    for table, name, layer in left:  # of a test that failed: the next one must not fail with it
        table[name] = layer
    assert not left, "an adapter was left in the UNet"
    after = {f"{part}.{name}": p for part, network in networks.items() for name, p in network.named_parameters()}
    assert after.keys() == before.keys()
    for name, (parameter, copy) in before.items():
        assert after[name] is parameter and torch.equal(parameter, copy), name
