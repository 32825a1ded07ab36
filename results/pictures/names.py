"""Names beside points, where there is room for them."""

from collections.abc import Mapping
from dataclasses import dataclass

import textalloc
from matplotlib.axes import Axes

from cat_bench.results.pictures.style import FAINT, INK, of_method

_SIZE = 8  # points, of the letters
_NEAR = 6.0  # pixels, half a marker


@dataclass(frozen=True)
class Point:
    """A point of a plot, with half the length of its cross' arms (0: none)."""

    x: float
    y: float
    across: float = 0.0
    up: float = 0.0


def name_points(axes: Axes, points: Mapping[str, Point]) -> None:
    """A name beside each point of a settled figure, joined to it by a line; none where all room is taken.

    Names lie on no other name, point, cross or note, and stay within the panel.
    """
    if not points:
        return
    low, high = axes.get_xlim(), axes.get_ylim()
    xs, ys = [p.x for p in points.values()], [p.y for p in points.values()]
    arms = [([p.x - p.across, p.x + p.across], [p.y, p.y]) for p in points.values() if p.across]
    arms += [([p.x, p.x], [p.y - p.up, p.y + p.up]) for p in points.values() if p.up]
    for note in axes.texts:
        box = note.get_window_extent().transformed(axes.transData.inverted())
        arms += [([box.x0, box.x1], [y, y]) for y in (box.y0, (box.y0 + box.y1) / 2, box.y1)]
    _, _, texts, lines = textalloc.allocate(
        axes,
        xs,
        ys,
        list(points),
        x_scatter=xs,
        y_scatter=ys,
        x_lines=[arm[0] for arm in arms] or None,
        y_lines=[arm[1] for arm in arms] or None,
        scatter_sizes=[_NEAR] * len(xs),
        textsize=_SIZE,
        textcolor=INK,
        linecolor=FAINT,
        linewidth=0.6,
        min_distance=0.012,
        max_distance=0.1,
        draw_all=False,
        va="bottom",
    )
    for name, text, line in zip(points, texts, lines, strict=True):
        for artist in (text, line):
            if artist is not None:
                artist.set_gid(of_method(name))
    axes.set_xlim(low)
    axes.set_ylim(high)
