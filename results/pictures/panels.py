"""What the panels of several plots share: a line a method, floor and ceiling, one legend below all of them."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cat_bench.results.pictures.curves import Array
from cat_bench.results.pictures.style import FAINT, PAPER, Look, of_method

FLOOR: dict[str, Any] = {"color": FAINT, "linestyle": (0, (1, 2)), "linewidth": 1.4}
CEILING: dict[str, Any] = {"color": FAINT, "linestyle": (0, (5, 2)), "linewidth": 1.1}
NOISE: dict[str, Any] = {"color": FAINT, "linestyle": (0, (5, 2, 1, 2)), "linewidth": 1.2}
MANY = 10  # concepts: of more, not every stage and name is written at an axis
ASIDE = 0.5  # stages, of the first line of a panel from the last
FAINTER = 8  # methods, of more their bands
REAL_IMAGES = "ceiling: real images"
BANDS = "Bands: 95 % intervals of the mean for a new order and seed, where there are three cells or more."


def lines(
    axes: Axes, x: Array, values: dict[str, tuple[Array, Array]], styles: dict[str, Look], low: float, high: float
) -> None:
    """One line a method: mean (x,), and a band of half an interval's width (x,) either way that stays in [low, high].

    Lines are set apart sideways by a little, because methods often agree exactly. Of many, bands are fainter.
    """
    step, alpha = min(0.07, ASIDE / max(len(values), 1)), 0.13 * min(1.0, FAINTER / max(len(values), 1))
    for i, (method, (mean, half)) in enumerate(values.items()):
        look, aside = styles[method], step * (i - (len(values) - 1) / 2)
        marks: dict[str, Any] = {"marker": look.marker, "markeredgecolor": "white", "markeredgewidth": 0.6}
        if len(x) > 3 * MANY:  # they would cover one another; the last stays, it may be all there is
            marks["markevery"] = np.flatnonzero(np.isfinite(mean))[:: -(len(x) // MANY)].tolist()
        axes.plot(x + aside, mean, color=look.color, linestyle=look.line, gid=of_method(method), **marks)
        if (half > 0).any():
            bottom, top = np.maximum(mean - half, low), np.minimum(mean + half, high)
            axes.fill_between(x + aside, bottom, top, color=look.color, alpha=alpha, linewidth=0, gid=of_method(method))


def ticks(last: int, first: int = 1) -> list[int]:
    """The stages that are written at an axis: all, or of many at most seven."""
    if last <= MANY:
        return list(range(first, last + 1))
    step = 5 * 2 ** max(0, math.ceil(math.log2(last / 30)))
    return [first, *range(step, last + 1, step)]


def bounds(axes: Axes, floor: float, ceiling: float, noise: float = math.nan) -> None:
    """Horizontal lines of floor, ceiling and the base model's other noise where they are known."""
    for value, style in ((floor, FLOOR), (ceiling, CEILING), (noise, NOISE)):
        if np.isfinite(value):
            axes.axhline(value, **style)


def legend(
    figure: Figure, styles: dict[str, Look], ceiling: str = REAL_IMAGES, *, joined: bool = True, noise: bool = False
) -> None:
    """One legend below all panels: methods by colour and marker, floor, the base's other noise if wanted, ceiling."""
    shape: dict[str, Any] = {"markeredgecolor": "white", **({} if joined else {"linestyle": "", "markersize": 8})}
    handles = [
        Line2D([], [], **{"linestyle": s.line, "color": s.color, "marker": s.marker, "label": m, **shape})
        for m, s in styles.items()
    ]
    handles.append(Line2D([], [], label="floor: base model", **FLOOR))
    if noise:
        handles.append(Line2D([], [], label="base model, other noise", **NOISE))
    handles.append(Line2D([], [], label=ceiling, **CEILING))
    each = max(1.4, *(0.6 + 0.08 * len(m) for m in styles), 0.0)  # inches: variants have long names
    tiers = math.ceil(each * len(handles) / figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=math.ceil(len(handles) / tiers), handlelength=2.4)


def bound_in_sight(axes: Axes, value: float | None, role: str, style: dict[str, Any], *, vertical: bool) -> None:
    """A line at floor or ceiling if it lies near the points; else a note where it is, so that they keep their room."""
    if value is None:
        return
    low, high = axes.get_xlim() if vertical else axes.get_ylim()
    span = high - low
    if low - 0.5 * span <= value <= high + 0.5 * span:
        room = (min(low, value - 0.04 * span), max(high, value + 0.04 * span))
        if vertical:
            axes.axvline(value, zorder=1, **style)
            axes.set_xlim(room)
        else:
            axes.axhline(value, zorder=1, **style)
            axes.set_ylim(room)
        return
    if vertical:
        x, align, arrow = (0.01, "left", "←") if value < low else (0.99, "right", "→")
    else:
        x, align, arrow = 0.5, "center", "↓" if value < low else "↑"
    y, side = (0.99, "top") if not vertical and value > high else (0.01, "bottom")
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": align, "va": side}
    clear: dict[str, Any] = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}  # the other bound may pass behind it
    axes.text(x, y, f"{arrow} {role} {value:.2f}", color=FAINT, fontsize=8.5, bbox=clear, **place)
