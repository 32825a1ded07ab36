"""Matrices as coloured squares: R[t, k], and who was seen instead of whom.

Of many concepts the squares are small and have no numbers: on a page nobody could read them, and they would be most of
the time that a plot takes. R is in the report's CSVs, who was seen in its long table.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from cat_bench.results.pictures.curves import Array
from cat_bench.results.pictures.panels import MANY
from cat_bench.results.pictures.style import WHITE

_SIDE = 4.4  # inches, of a matrix of many concepts
_NAMES = 20  # written along it at most


@dataclass(frozen=True)
class Sheet:
    """How matrices of T concepts are laid out: columns and tiers of panels, a square's width and height in inches."""

    columns: int
    tiers: int
    width: float
    height: float

    @classmethod
    def of(cls, matrices: int, concepts: int, width: float) -> "Sheet":
        """width: of a square as long as there are not many concepts."""
        if concepts > MANY:
            columns, width, height = min(3, matrices), _SIDE / concepts, 0.8 * _SIDE / concepts
        else:
            columns, height = min(3 if concepts <= 6 else 2, matrices), 0.4
        return cls(columns, -(-matrices // columns), width, height)


def named(concepts: int) -> list[int]:
    """The concepts, from 0, whose names are written along an axis: all, or of many so few that they do not meet."""
    return list(range(0, concepts, math.ceil(concepts / _NAMES)))


def squares(
    axes: Axes,
    values: Array,
    limits: tuple[float, float],
    word: Callable[[int, int], str],
    framed: Iterable[tuple[int, int]],
) -> AxesImage:
    """Values (rows, columns) as colours between the limits, NaN left out; framed squares are (row, column).

    word: what is written on the square of a row and column, unless there are many.
    """
    image = axes.imshow(values, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    many = min(values.shape) > MANY
    axes.tick_params(length=0)
    if many:
        axes.tick_params(labelsize=8)
    else:
        red, green, blue, _ = np.moveaxis(np.asarray(image.cmap(image.norm(values))), -1, 0)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue <= 0.45
        for row, column in np.argwhere(np.isfinite(values)).tolist():
            if text := word(row, column):
                ink = "white" if dark[row, column] else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=ink, in_layout=False)
    thin = MANY / min(values.shape) if many else 1.0
    for row, column in framed:
        for color, width in ((WHITE, 3.2 * thin), ("black", 1.4 * thin)):
            place = column - 0.5, row - 0.5
            axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=color, linewidth=width))
    return image
