"""The plots of a run, each a pure function of the run and its summary."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cat_bench.results.curves import Array, Curves, by_turn, mean_std, since
from cat_bench.results.metrics import metric
from cat_bench.results.store import Run
from cat_bench.results.style import FAINT, Look, Plot, looks, styled

HEADS = {"clip_i": "CLIP-I", "concept_accuracy": "Concept accuracy", "clip_t": "CLIP-T"}


def line(axes: Axes, x: Array, values: Array, look: Look) -> None:
    mean, std = mean_std(values)
    axes.plot(
        x, mean, color=look.color, marker=look.marker, linestyle=look.dash, markeredgecolor="white", markeredgewidth=0.6
    )
    if (std > 0).any():
        axes.fill_between(x, mean - std, mean + std, color=look.color, alpha=0.15, linewidth=0)


def bounds(axes: Axes, floor: float, ceiling: float) -> None:
    if np.isfinite(floor):
        axes.axhline(floor, color=FAINT, linestyle=(0, (1, 2)), linewidth=1.4)
    if np.isfinite(ceiling):
        axes.axhline(ceiling, color=FAINT, linestyle=(0, (5, 2)), linewidth=1.1)


def _key(name: str, look: Look) -> Line2D:
    edge: dict[str, Any] = {"marker": look.marker, "linestyle": look.dash, "markeredgecolor": "white"}
    return Line2D([], [], color=look.color, label=name, **edge)


def legend(figure: Figure, styles: dict[str, Look], columns: int = 8) -> None:
    handles = [_key(name, s) for name, s in styles.items()]
    handles.append(Line2D([], [], color=FAINT, linestyle=(0, (1, 2)), linewidth=1.4, label="floor: base model"))
    handles.append(Line2D([], [], color=FAINT, linestyle=(0, (5, 2)), linewidth=1.1, label="ceiling: real images"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), handlelength=2.6)


def forgetting_curves(run: Run, name: str) -> Plot:
    """One panel a concept: its score from stage to stage, every method, with floor and ceiling.

    With several orders a concept is learned at another stage in each, so the axis counts stages since it was learned.
    """
    curves, styles = Curves.of(run, name), looks(run.methods)
    T, aligned = len(run.concepts), not curves.one_order
    with styled():
        columns = min(T, 5)
        lines = -(-T // columns)
        figure = Figure(figsize=(max(2.35 * columns, 6.6), 2.6 * lines + 0.7), layout="constrained")
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for k, concept in enumerate(run.concepts):
            axes = grid[k]
            turn = int(curves.turn[k])
            for method, values in curves.values.items():
                own = since(values[:, :, k], curves.turns[method][:, k]) if aligned else values[:, :, k].copy()
                x = np.arange(own.shape[1], dtype=np.float64)
                own = own if aligned else np.where(x >= max(turn, 0), own, np.nan)
                line(axes, x, own, styles[method])
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
            axes.set_ylabel(f"{HEADS.get(name, name)} {metric(name).arrow}")
        legend(figure, styles)
        text = f"{HEADS.get(name, name)} of each concept by stage, one line a method; a falling line is forgetting."
        shade = "" if aligned else " Grey: before the concept is learned."
        return Plot.of(f"curves-{name}", f"{metric(name).title}: who forgets what", text + shade, figure)


def heat_maps(run: Run, name: str) -> Plot:
    """R[t, k] of every method as a heat map with numbers, mean over cells; with several orders by position."""
    curves = Curves.of(run, name)
    T, one = len(run.concepts), curves.one_order
    means = {m: mean_std(by_turn(v, curves.turns[m]))[0] for m, v in curves.values.items()}
    learned = [run.concepts[i] for i in np.argsort(np.where(curves.turn > 0, curves.turn, np.inf), kind="stable")]
    labels = learned if one else [f"{k}. learned" for k in range(1, T + 1)]
    finite = np.concatenate([m[np.isfinite(m)] for m in means.values()] or [np.zeros(1)])
    low, high = (0.0, 1.0) if name == "concept_accuracy" else (float(finite.min()), float(finite.max()))
    with styled():
        columns = min(3, len(means))
        lines = -(-len(means) // columns)
        cell = 0.62 if T <= 5 else 0.5
        width, height = columns * (cell * T + 0.55) + 1.5, lines * (cell * (T + 1) * 0.72 + 0.75) + 0.9
        figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
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
                    light = (value - low) / max(high - low, 1e-9) > 0.55
                    ink = "black" if light else "white"
                    axes.text(k, t, f"{value:.2f}", ha="center", va="center", fontsize=8.5, color=ink)
            for k in range(T):  # frame what has just been learned
                axes.plot(
                    [k - 0.5, k + 0.5, k + 0.5, k - 0.5, k - 0.5],
                    [k + 0.5, k + 0.5, k + 1.5, k + 1.5, k + 0.5],
                    color="white",
                    linewidth=1.4,
                )
        for axes in grid[len(means) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel("after stage")
        if image is not None:
            bar = figure.colorbar(image, ax=list(grid), shrink=0.8, pad=0.02)
            bar.set_label(f"{HEADS.get(name, name)} {metric(name).arrow}")
            bar.outline.set_visible(False)
        text = (
            "Rows: stages. Columns: concepts. White frame: just learned; below it the concept is remembered or "
            "forgotten."
        )
        return Plot.of(f"heatmap-{name}", f"R[t, k], {metric(name).title}", text, figure)
