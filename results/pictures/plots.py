"""Plots of R[t, k]: who forgets what, as curves and as heat maps. Each is a pure function of the run."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from cat_bench.results.measures.metrics import metric
from cat_bench.results.pictures.curves import Array, Curves, by_turn, mean_std, since
from cat_bench.results.pictures.panels import bounds, legend, lines
from cat_bench.results.pictures.style import FAINT, Plot, looks, styled
from cat_bench.results.records.run_folder import Run


def forgetting_curves(run: Run, name: str) -> Plot:
    """One panel a concept: its score from stage to stage, every method, with floor and ceiling.

    With several orders a concept is learned at another stage in each, so the axis counts stages since it was learned.
    """
    curves, styles, measured = Curves.of(run, name), looks(run.methods), metric(name)
    T = len(run.concepts)
    low, high = measured.range
    limits = -np.inf if low is None else low, np.inf if high is None else high
    with styled():
        columns = min(T, 5)
        tiers = -(-T // columns)
        figure = Figure(figsize=(max(2.35 * columns, 7.2), 2.6 * tiers + 0.7), layout="constrained")
        grid = figure.subplots(tiers, columns, sharey=True, squeeze=False).ravel()
        for k, concept in enumerate(run.concepts):
            x, values = _by_stage(curves, k) if curves.one_order else _since_learned(curves, k)
            lines(grid[k], x, values, styles, *limits)
            bounds(grid[k], curves.floor[k], curves.ceiling[k])
            if curves.one_order:
                _mark_stages(grid[k], T, int(curves.turn[k]), concept)
            else:
                grid[k].set_xticks(range(T))
                grid[k].set_title(concept)
                grid[k].set_xlabel("stages since learned")
        for axes in grid[T:]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel(f"{measured.short} {measured.arrow}")
        legend(figure, styles)
        text = f"{measured.short} of each concept by stage, one line a method; a falling line is forgetting."
        shade = " Grey: before the concept is learned." if curves.one_order else ""
        return Plot.of(f"curves-{name}", f"{measured.title}: who forgets what", text + shade, figure)


def _by_stage(curves: Curves, k: int) -> tuple[Array, dict[str, Array]]:
    """Stages 0..T and the scores of concept k at them, (cells, T + 1) a method.

    What is drawn before a concept is learned says nothing about forgetting it, and is left out.
    """
    stages = np.arange(len(curves.floor) + 1, dtype=np.float64)
    return stages, {m: np.where(stages >= curves.turn[k], v[:, :, k], np.nan) for m, v in curves.values.items()}


def _since_learned(curves: Curves, k: int) -> tuple[Array, dict[str, Array]]:
    """Stages 0..T-1 since concept k was learned and its scores at them, (cells, T) a method."""
    stages = np.arange(len(curves.floor), dtype=np.float64)
    return stages, {m: since(v[:, :, k], curves.turns[m][:, k]) for m, v in curves.values.items()}


def _mark_stages(axes: Axes, T: int, turn: int, concept: str) -> None:
    """The axis of a panel by stage, grey before the concept's turn."""
    axes.axvspan(0.5, turn - 0.5, color=FAINT, alpha=0.10, linewidth=0)
    axes.set_xlim(0.7, T + 0.3)
    axes.set_xticks(range(1, T + 1))
    axes.set_title(f"{turn}. {concept}")
    axes.set_xlabel("after stage")


def heat_maps(run: Run, name: str) -> Plot:
    """R[t, k] of every method as a heat map with numbers, mean over cells; with several orders by position."""
    curves = Curves.of(run, name)
    T, one = len(run.concepts), curves.one_order
    means = {m: mean_std(by_turn(v, curves.turns[m]))[0] for m, v in curves.values.items()}
    learned = [run.concepts[i] for i in np.argsort(np.where(curves.turn > 0, curves.turn, np.inf), kind="stable")]
    labels = learned if one else [f"{k}. learned" for k in range(1, T + 1)]
    finite = np.concatenate([m[np.isfinite(m)] for m in means.values()])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if metric(name).range == (0.0, 1.0):
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
            image = _heat_map(axes, R, low, high)
            axes.set_title(method)
            axes.set_xticks(range(T), labels, rotation=35, ha="right", rotation_mode="anchor")
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


def _heat_map(axes: Axes, R: Array, low: float, high: float) -> AxesImage:
    """R (T + 1, T) as coloured squares with their numbers, what has just been learned framed."""
    image = axes.imshow(R, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_yticks(range(len(R)), ["base", *map(str, range(1, len(R)))])
    axes.tick_params(length=0)
    for (t, k), value in np.ndenumerate(R):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(np.asarray(value)))
            ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.45 else "white"
            axes.text(k, t, f"{value:.2f}", ha="center", va="center", fontsize=8.5, color=ink)
    for k in range(R.shape[1]):
        for color, width in (("white", 3.2), ("black", 1.4)):
            axes.add_patch(Rectangle((k - 0.5, k + 0.5), 1, 1, fill=False, edgecolor=color, linewidth=width))
    return image
