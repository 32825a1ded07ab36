"""Plots of R[t, k]: who forgets what, as curves and as heat maps. Each is a pure function of the run."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cat_bench.results.measures.metrics import metric
from cat_bench.results.pictures.curves import Array, Curves, by_turn, mean_half, mean_of, since
from cat_bench.results.pictures.panels import BANDS, MANY, bounds, legend, lines, ticks
from cat_bench.results.pictures.squares import Sheet, named, squares
from cat_bench.results.pictures.style import FAINT, Plot, headed, looks, styled
from cat_bench.results.records.run_folder import Run

PANELS = 20  # of concepts in one plot, four tiers: more would be read by nobody


def forgetting_curves(run: Run, curves: Curves) -> Plot:
    """One panel a concept, of very many some: its score from stage to stage, every method, with floor and ceiling.

    curves: of one metric. With several orders a concept is learned at another stage in each, so the axis counts stages
    since it was learned.
    """
    styles, measured = looks(run.methods), metric(curves.name)
    T = len(run.concepts)
    low, high = measured.range
    limits = -np.inf if low is None else low, np.inf if high is None else high
    shown = curves.learned[np.linspace(0, T - 1, PANELS).round().astype(int)] if T > PANELS else np.arange(T)
    with styled():
        columns = min(T, 5)
        tiers = -(-len(shown) // columns)
        figure = Figure(figsize=(max(2.35 * columns, 7.2), 2.6 * tiers + 0.7), layout="constrained")
        grid = figure.subplots(tiers, columns, sharey=True, squeeze=False).ravel()
        for axes, k in zip(grid, shown.tolist(), strict=False):
            x, values = _by_stage(curves, k) if curves.one_order else _since_learned(curves, k)
            lines(axes, x, {m: mean_half(v, curves.keys.get(m, ())) for m, v in values.items()}, styles, *limits)
            bounds(axes, curves.floor[k], curves.ceiling[k])
            if curves.one_order:
                _mark_stages(axes, T, int(curves.turn[k]), run.concepts[k])
            else:
                axes.set_xticks(ticks(T - 1, first=0))
                axes.set_title(run.concepts[k])
                axes.set_xlabel("stages since learned")
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel(f"{measured.short} {measured.arrow}")
        legend(figure, styles)
        text = f"{measured.short} of each concept by stage, one line a method; a falling line is forgetting. {BANDS}"
        text += " Grey: before the concept is learned." if curves.one_order else ""
        if T > PANELS:
            text += f" {PANELS} of {T} concepts, evenly spread over their turns; the heat map shows all."
        return Plot.of(f"curves-{curves.name}", f"{measured.title}: who forgets what", text, figure)


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
    axes.set_xticks(ticks(T))
    axes.set_title(f"{turn}. {concept}")
    axes.set_xlabel("after stage")


def heat_maps(run: Run, curves: Curves) -> Plot:
    """R[t, k] of every method as a heat map, mean over cells; with several orders by position. Numbers on few concepts.

    curves: of one metric.
    """
    T, name = len(run.concepts), curves.name
    means = {m: mean_of(by_turn(v, curves.turns[m])) for m, v in curves.values.items()}
    labels = [run.concepts[i] for i in curves.learned] if curves.one_order else [f"{k + 1}. learned" for k in range(T)]
    finite = np.concatenate([m[np.isfinite(m)] for m in means.values()])
    limits = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if metric(name).range == (0.0, 1.0):
        limits = 0.0, 1.0
    with styled():
        sheet = Sheet.of(len(means), T, width=0.56)
        size = sheet.columns * (sheet.width * T + 0.4) + 1.4, sheet.tiers * (sheet.height * (T + 1) + 0.45) + 0.7
        figure = Figure(figsize=(max(size[0], 5.0), size[1]), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(sheet.tiers, sheet.columns, squeeze=False, sharex=True, sharey=True).ravel()
        image = None
        for axes, (method, R) in zip(grid, means.items(), strict=False):
            image = _heat_map(axes, R, limits)
            axes.set_title(headed(method))
            shown = named(T)
            axes.set_xticks(shown, [labels[k] for k in shown], rotation=35, ha="right", rotation_mode="anchor")
        for axes in grid[len(means) :]:
            axes.set_visible(False)
        for axes in grid[:: sheet.columns]:
            axes.set_ylabel("after stage")
        if image is not None:
            bar = figure.colorbar(image, ax=list(grid), shrink=0.8, pad=0.02)
            bar.set_label(f"{metric(name).short} {metric(name).arrow}")
            bar.outline.set_visible(False)
        text = "Rows: stages. Columns: concepts. Framed: just learned; below it the concept is remembered or forgotten."
        text += f" The numbers are in R-{name}.csv." if T > MANY else ""
        return Plot.of(f"heatmap-{name}", f"R[t, k], {metric(name).title}", text, figure)


def _heat_map(axes: Axes, R: Array, limits: tuple[float, float]) -> AxesImage:
    """R (T + 1, T) as squares, what has just been learned framed."""
    T = R.shape[1]
    image = squares(axes, R, limits, lambda t, k: f"{R[t, k]:.2f}", ((k + 1, k) for k in range(T)))
    stages = ticks(T, first=0)
    axes.set_yticks(stages, ["base", *map(str, stages[1:])])
    return image
