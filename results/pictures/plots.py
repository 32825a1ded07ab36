"""The plots of a run, each a pure function of the run and its summary."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from cat_bench.results.measures.metrics import metric
from cat_bench.results.pictures.curves import Array, Curves, by_turn, mean_std, since
from cat_bench.results.pictures.style import FAINT, Look, Plot, looks, styled
from cat_bench.results.records.run_folder import Run

FLOOR: dict[str, Any] = {"color": FAINT, "linestyle": (0, (1, 2)), "linewidth": 1.4}
CEILING: dict[str, Any] = {"color": FAINT, "linestyle": (0, (5, 2)), "linewidth": 1.1}
REAL_IMAGES = "ceiling: real images"


def lines(axes: Axes, x: Array, values: dict[str, Array], styles: dict[str, Look], low: float, high: float) -> None:
    """One line a method of (cells, x): mean, and a band of one standard deviation that stays within [low, high].

    Lines are set apart sideways by a little, because methods often agree exactly.
    """
    for i, (method, cells) in enumerate(values.items()):
        look, aside = styles[method], 0.07 * (i - (len(values) - 1) / 2)
        mean, std = mean_std(cells)
        axes.plot(x + aside, mean, color=look.color, marker=look.marker, markeredgecolor="white", markeredgewidth=0.6)
        if (std > 0).any():
            bottom, top = np.maximum(mean - std, low), np.minimum(mean + std, high)
            axes.fill_between(x + aside, bottom, top, color=look.color, alpha=0.13, linewidth=0)


def bounds(axes: Axes, floor: float, ceiling: float) -> None:
    """Horizontal lines of floor and ceiling where they are known."""
    for value, style in ((floor, FLOOR), (ceiling, CEILING)):
        if np.isfinite(value):
            axes.axhline(value, **style)


def legend(figure: Figure, styles: dict[str, Look], ceiling: str = REAL_IMAGES, *, joined: bool = True) -> None:
    """One legend below all panels: methods by colour and marker, floor, ceiling."""
    shape: dict[str, Any] = {"markeredgecolor": "white", **({} if joined else {"linestyle": "", "markersize": 8})}
    handles = [Line2D([], [], color=s.color, marker=s.marker, label=m, **shape) for m, s in styles.items()]
    handles.append(Line2D([], [], label="floor: base model", **FLOOR))
    handles.append(Line2D([], [], label=ceiling, **CEILING))
    tiers = math.ceil(1.4 * len(handles) / figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=math.ceil(len(handles) / tiers), handlelength=2.4)


def forgetting_curves(run: Run, name: str) -> Plot:
    """One panel a concept: its score from stage to stage, every method, with floor and ceiling.

    With several orders a concept is learned at another stage in each, so the axis counts stages since it was learned.
    """
    curves, styles = Curves.of(run, name), looks(run.methods)
    T, aligned = len(run.concepts), not curves.one_order
    limits = tuple(zip(metric(name).range, (-1, 1), strict=True))
    with styled():
        columns = min(T, 5)
        tiers = -(-T // columns)
        figure = Figure(figsize=(max(2.35 * columns, 7.2), 2.6 * tiers + 0.7), layout="constrained")
        grid = figure.subplots(tiers, columns, sharey=True, squeeze=False).ravel()
        for k, concept in enumerate(run.concepts):
            axes = grid[k]
            turn = int(curves.turn[k])
            own = {
                m: since(v[:, :, k], curves.turns[m][:, k]) if aligned else v[:, :, k] for m, v in curves.values.items()
            }
            x = np.arange(T + (0 if aligned else 1), dtype=np.float64)
            if not aligned:  # what is drawn before a concept is learned says nothing about forgetting it
                own = {m: np.where(x >= turn, v, np.nan) for m, v in own.items()}
            lines(axes, x, own, styles, *(bound if bound is not None else sign * np.inf for bound, sign in limits))
            bounds(axes, curves.floor[k], curves.ceiling[k])
            if aligned:
                axes.set_xticks(range(T))
            else:
                axes.axvspan(0.5, turn - 0.5, color=FAINT, alpha=0.10, linewidth=0)
                axes.set_xlim(0.7, T + 0.3)
                axes.set_xticks(range(1, T + 1))
            axes.set_title(concept if aligned else f"{turn}. {concept}")
            axes.set_xlabel("stages since learned" if aligned else "after stage")
        for axes in grid[T:]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel(f"{metric(name).short} {metric(name).arrow}")
        legend(figure, styles)
        text = f"{metric(name).short} of each concept by stage, one line a method; a falling line is forgetting."
        shade = "" if aligned else " Grey: before the concept is learned."
        return Plot.of(f"curves-{name}", f"{metric(name).title}: who forgets what", text + shade, figure)


def heat_maps(run: Run, name: str) -> Plot:
    """R[t, k] of every method as a heat map with numbers, mean over cells; with several orders by position."""
    curves = Curves.of(run, name)
    T, one = len(run.concepts), curves.one_order
    means = {m: mean_std(by_turn(v, curves.turns[m]))[0] for m, v in curves.values.items()}
    learned = [run.concepts[i] for i in np.argsort(np.where(curves.turn > 0, curves.turn, np.inf), kind="stable")]
    labels = learned if one else [f"{k}. learned" for k in range(1, T + 1)]
    finite = np.concatenate([m[np.isfinite(m)] for m in means.values()])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if name == "concept_accuracy":
        low, high = 0.0, 1.0
    with styled():
        columns = min(3 if T <= 6 else 2, len(means))
        tiers = -(-len(means) // columns)
        width, height = columns * (0.56 * T + 0.4) + 1.4, tiers * (0.4 * (T + 1) + 0.45) + 0.7
        figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(tiers, columns, squeeze=False, sharex=True, sharey=True).ravel()
        image = None
        for axes, (method, R) in zip(grid, means.items(), strict=False):
            image = axes.imshow(R, cmap="cividis", vmin=low, vmax=high, aspect="auto")
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            axes.set_title(method)
            axes.set_xticks(range(T), labels, rotation=35, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(T + 1), ["base", *map(str, range(1, T + 1))])
            axes.tick_params(length=0)
            for (t, k), value in np.ndenumerate(R):
                if np.isfinite(value):
                    red, green, blue, _ = image.cmap(image.norm(value))
                    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.45 else "white"
                    axes.text(k, t, f"{value:.2f}", ha="center", va="center", fontsize=8.5, color=ink)
            for k in range(T):  # frame what has just been learned
                for color, width in (("white", 3.2), ("black", 1.4)):
                    axes.add_patch(Rectangle((k - 0.5, k + 0.5), 1, 1, fill=False, edgecolor=color, linewidth=width))
        for axes in grid[len(means) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel("after stage")
        if image is not None:
            bar = figure.colorbar(image, ax=list(grid), shrink=0.8, pad=0.02)
            bar.set_label(f"{metric(name).short} {metric(name).arrow}")
            bar.outline.set_visible(False)
        text = "Rows: stages. Columns: concepts. Framed: just learned; below it the concept is remembered or forgotten."
        return Plot.of(f"heatmap-{name}", f"R[t, k], {metric(name).title}", text, figure)
