"""Damage: what can be wrong with a picture although its subject is right, in grades.

Every damage says what share of its likeness a picture loses: 0 is none, 1 makes it as unlike as a picture of somebody
else. The metric model is trained to fall so far, and the part reader to say "not readable" from half of it on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from cat_bench.benchmark.pretrain.pictures.places import box, place, places

Pixels = NDArray[np.uint8]
Color = tuple[int, ...]

DAMAGES = ("none", "blur", "mosaic", "noise", "warp", "ghost", "erased")

LEGIBLE, ILLEGIBLE = 0.25, 0.45  # shares lost up to which, and from which on, a picture can and cannot be read
HIDDEN, SEEN = 0.75, 0.15  # shares of a part's pixels gone from which on it cannot, and up to which it can, be read
ERASED_LOST = 0.5  # at most, by something erased
LOCAL = 0.35  # of the picture: what shows on more has no place of its own


@dataclass(frozen=True)
class Damaged:
    """A damaged picture (64, 64, 3); `gone`: head → the share of its pixels that are not there any more."""

    pixels: Pixels
    kind: str  # of damage
    lost: float
    gone: Mapping[str, float] = field(default_factory=dict)


def blur(pixels: Pixels, sigma: float) -> Damaged:
    """Gaussian, `sigma` in pixels: 1 loses a fifth, 2 half."""
    soft = gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0))
    return Damaged(_levels(soft), "blur", 1 - math.exp(-0.25 * sigma**1.5))


def mosaic(pixels: Pixels, cells: int, smooth: bool = True) -> Damaged:
    """Reduced to cells × cells pixels and enlarged, `smooth` or in squares: 8 cells lose nearly all."""
    size = len(pixels)
    small = Image.fromarray(pixels).resize((cells, cells), Image.Resampling.BOX)
    large = small.resize((size, size), Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST)
    return Damaged(np.asarray(large), "mosaic", 1 - math.exp(-0.4 * (size / cells - 1)))


def noise(pixels: Pixels, sd: float, rng: np.random.Generator) -> Damaged:
    """Gaussian noise of `sd` levels of 255 in every channel: 40 loses half."""
    return Damaged(_levels(pixels + rng.normal(0, sd, pixels.shape)), "noise", 1 - math.exp(-sd / 50))


def warp(pixels: Pixels, shift: float, rng: np.random.Generator) -> Damaged:
    """Bent out of shape, smoothly: root mean square shift in pixels."""
    size = len(pixels)
    field = gaussian_filter(rng.normal(size=(2, size, size)), (0, 5, 5), mode="wrap")
    field *= shift / math.sqrt(float((field**2).sum(0).mean()))
    grid = np.mgrid[:size, :size] + field
    bent = [map_coordinates(pixels[..., c].astype(np.float32), grid, order=1, mode="nearest") for c in range(3)]
    return Damaged(_levels(np.stack(bent, -1)), "warp", 1 - math.exp(-shift / 3))


def ghost(pixels: Pixels, other: Pixels, share: float) -> Damaged:
    """Two pictures in one, `share` (up to a half) of the other."""
    both = (1 - share) * pixels.astype(np.float32) + share * other
    return Damaged(_levels(both), "ghost", 1 - math.exp(-2.5 * share))


def erase(pixels: Pixels, kind: str, flip: bool, where: tuple[slice, slice], how: str, color: Color) -> Damaged:
    """Rows and columns painted over.

    how: with the colour around ("around": skin, of a face), with `color` ("flat"), or smeared ("smear").
    """
    made, inside = pixels.copy(), pixels[where]
    if how == "around":
        made[where] = _commonest(inside)
    elif how == "flat":
        made[where] = color
    else:
        made[where] = _levels(gaussian_filter(inside.astype(np.float32), (4, 4, 0)))
    gone = {head: float(place(kind, head, flip)[where].sum()) for head in places(kind)}
    return Damaged(made, "erased", ERASED_LOST * max(gone.values()), gone)


def erase_face(pixels: Pixels, kind: str, flip: bool) -> Damaged:
    """Eyes and mouth painted over with the colour around them."""
    return erase(pixels, kind, flip, box(place(kind, f"{kind}/expression", flip)), "around", (0, 0, 0))


def _commonest(inside: Pixels) -> NDArray[np.uint8]:
    """The most frequent colour, to 16 levels a channel, as the median of its pixels."""
    flat = inside.reshape(-1, 3)
    code = (flat // 16).astype(int) @ (256, 16, 1)
    return np.asarray(np.median(flat[code == np.bincount(code).argmax()], axis=0), dtype=np.uint8)


def _levels(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.rint(values).clip(0, 255), dtype=np.uint8)


def damage(pixels: Pixels, kind: str, flip: bool, other: Pixels, rng: np.random.Generator) -> Damaged:
    """One damage of random kind and strength; `other`: a picture that a ghost may show as well."""

    def erased() -> Damaged:
        color = tuple(int(c) for c in rng.integers(0, 256, 3))
        how = str(rng.choice(["around", "around", "flat", "smear"]))
        return erase(pixels, kind, flip, _somewhere(kind, flip, rng), how, color)

    kinds: list[Callable[[], Damaged]] = [
        lambda: blur(pixels, rng.choice([rng.uniform(0.3, 1.2), rng.uniform(1.2, 5)])),
        lambda: mosaic(pixels, int(rng.choice([32, 24, 16, 12, 8, 8, 6])), rng.random() < 0.5),
        lambda: noise(pixels, rng.choice([rng.uniform(3, 20), rng.uniform(20, 80)]), rng),
        lambda: warp(pixels, rng.uniform(0.3, 6), rng),
        lambda: ghost(pixels, other, rng.uniform(0.1, 0.5)),
        erased,
        erased,
    ]
    return kinds[rng.integers(len(kinds))]()


def _somewhere(kind: str, flip: bool, rng: np.random.Generator) -> tuple[slice, slice]:
    """Mostly the face, or else another part that has its place; a square where nothing has."""
    face = f"{kind}/expression"
    heads = [head for head, weights in places(kind).items() if 0 < (weights > 0).mean() < LOCAL]
    if not heads:
        top, left = rng.integers(0, 40, 2)
        return slice(top, top + 24), slice(left, left + 24)
    return box(place(kind, face if face in heads and rng.random() < 0.6 else str(rng.choice(heads)), flip))
