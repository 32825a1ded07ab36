"""Series of damage: the same pictures, worse and worse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from cat_bench.benchmark.pretrain.pictures.damage import blur, erase, mosaic, noise
from cat_bench.benchmark.pretrain.pictures.places import SIZE, box, exchange, place
from cat_bench.tasks.avatars.concept import AvatarConcept
from cat_bench.tasks.avatars.drawing import Picture, render
from cat_bench.tasks.avatars.questions import facts, heads
from cat_bench.tasks.avatars.vocabulary import vocabulary
from cat_bench.tasks.concept import Concept

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Damage:
    """A series of damage to any pictures. The first strength, which is not written here, is none.

    damaged: a picture (H, W, 3) and its number, and a strength, to the picture damaged so.
    """

    id: str
    title: str
    unit: str
    none: float  # the strength of no damage
    strengths: tuple[float, ...]
    damaged: Callable[[Pixels, int, float], Pixels]


def _blurred(pixels: Pixels, number: int, sigma: float) -> Pixels:
    return blur(pixels, sigma * len(pixels) / SIZE).pixels


def _mosaic(pixels: Pixels, number: int, cells: float) -> Pixels:
    return mosaic(pixels, round(cells), smooth=False).pixels


def _grainy(pixels: Pixels, number: int, sd: float) -> Pixels:
    return noise(pixels, sd, np.random.default_rng(number)).pixels  # the same noise, ever stronger


DAMAGES: tuple[Damage, ...] = (
    Damage("blur", "Blurred pictures", "σ in 64ths of the width", 0, (0.5, 1.0, 1.5, 2.0, 3.0), _blurred),
    Damage("mosaic", "Mosaics", "squares a side", SIZE, (32, 24, 16, 8), _mosaic),
    Damage("grain", "Noisy pictures", "standard deviation in levels of 255", 0, (10, 20, 40, 80), _grainy),
)


@dataclass(frozen=True)
class Redrawn:
    """A series of damage to what pictures of the avatar world show: they are drawn anew, at 64 pixels.

    damaged: a picture, its number and a strength to pixels (64, 64, 3); None of a class that it does not apply to.
    """

    id: str
    title: str
    unit: str
    strengths: tuple[float, ...]
    damaged: Callable[[Picture, int, float], Pixels | None]


def _faceless(picture: Picture, number: int, share: float) -> Pixels | None:
    """Eyes and mouth painted over from above, a share of the face's height."""
    kind, pixels = picture.look.kind, drawn(picture)
    if not vocabulary().kind(kind).expressions:
        return None
    rows, columns = box(place(kind, f"{kind}/expression", picture.scene.flip))
    end = rows.start + round(share * (rows.stop - rows.start))
    if end == rows.start:
        return pixels
    return erase(pixels, kind, picture.scene.flip, (slice(rows.start, end), columns), "around", (0, 0, 0)).pixels


def _exchanged(picture: Picture, number: int, count: float) -> Pixels | None:
    """So many visible parts or colours of the identity exchanged, one after another: two are one and another."""
    rng, seen = Random(f"exchanged parts/{number}"), facts(picture)
    asked = [head for head in heads() if head.about == "identity" and head.name in seen]
    if len(asked) < 3:
        return None
    for head in rng.sample(asked, 3)[: round(count)]:
        picture = exchange(picture, head, rng)
    return drawn(picture)


REDRAWN: tuple[Redrawn, ...] = (
    Redrawn("face", "Faces erased", "share of the face painted over, from above", (0, 0.25, 0.5, 0.75, 1), _faceless),
    Redrawn("parts", "Parts of the identity exchanged", "parts exchanged", (0, 1, 2, 3), _exchanged),
)


def drawn(picture: Picture) -> Pixels:
    """(64, 64, 3): the maps of where things show are of this size."""
    return np.asarray(render(picture, SIZE))


def redrawn(concept: Concept, series: Redrawn, strength: float) -> list[Pixels] | None:
    """A concept's references, damaged; None if it is not of the world, or its class has nothing to damage."""
    if not isinstance(concept, AvatarConcept):
        return None
    numbered = [(f"{concept.id}/{i}", picture) for i, picture in enumerate(concept.reference_pictures)]
    found = [series.damaged(picture, _number(name), strength) for name, picture in numbered]
    whole = [pixels for pixels in found if pixels is not None]
    return whole if len(whole) == len(found) else None


def mild(images: Sequence[Image]) -> dict[str, list[Pixels]]:
    """Training pictures as they are, and changed so little that anybody knows them again, by what was done."""
    pixels = [np.asarray(image) for image in images]
    return {
        "verbatim": pixels,
        "mirrored": [np.ascontiguousarray(p[:, ::-1]) for p in pixels],
        "lighter": [np.asarray(np.rint(255 - 0.9 * (255 - p.astype(np.float32))), dtype=np.uint8) for p in pixels],
        "moved": [_moved(p, len(p) // 32) for p in pixels],
    }


def _moved(pixels: Pixels, by: int) -> Pixels:
    """Down and to the right; what is left free continues the edge."""
    rows, columns = (np.maximum(np.arange(side) - by, 0) for side in pixels.shape[:2])
    return pixels[rows][:, columns]


def _number(name: str) -> int:
    return Random(name).randrange(2**31)
