"""Pictures of a validation: one plot a series, one of how far metrics agree."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cat_bench.results.measures.metrics import METRICS, Metric
from cat_bench.results.pictures.panels import CEILING, FLOOR
from cat_bench.results.pictures.style import Look, Plot, styled
from cat_bench.results.validation.series import Measured, Series, position
from cat_bench.results.validation.verdicts import Judgement

# Tol's muted set: a metric looks the same in every plot.
_COLORS = ("#332288", "#cc6677", "#117733", "#88ccee", "#aa4499", "#999933", "#44aa99", "#882255", "#ddaa33")
_MARKERS = ("s", "D", "^", "v", "P", "<", ">", "h", "d", "*", "p", "8")
LOOKS = {
    name: Look(_COLORS[i % len(_COLORS)], _MARKERS[i % len(_MARKERS)])
    for i, name in enumerate(sorted(METRICS, key=lambda name: METRICS[name].of))
}


def plots(judgement: Judgement) -> tuple[Plot, ...]:
    """All of them, as far as there is something to draw."""
    drawn = [series_plot(series, judgement) for series in judgement.measured.series]
    return tuple(plot for plot in (*drawn, agreement_plot(judgement)) if plot is not None)


def positions(series: Series, metric: Metric, measured: Measured) -> list[float]:
    """Of each strength between the base model (0) and undamaged pictures or, of adapters, real ones (1); NaN: none."""
    means, (floor, ceiling) = series.means(metric), measured.ends(metric, series)
    top = means[0] if series.of == "pictures" else ceiling
    found = [position(value, floor, top, metric) for value in means]
    return [math.nan if place is None else place for place in found]


LOWEST = -0.6  # where the base model is nearly perfect itself, damage falls out of any picture


def series_plot(series: Series, judgement: Judgement) -> Plot | None:
    """Where each metric stands at each strength: what is drawn of concepts left, what is kept of the base model right.

    Only metrics that must answer are drawn; a ring marks one that fails. None if there is no line.
    """
    asked = [m for m in judgement.measured.metrics if series.id in m.answers]
    lines = {m.id: positions(series, m, judgement.measured) for m in asked}
    lines = {name: places for name, places in lines.items() if np.isfinite(places).all()}
    kinds = [kind for kind in ("concept", "stratum") if any(METRICS[name].of == kind for name in lines)]
    if not kinds:
        return None
    with styled():
        figure = Figure(figsize=(3.9 * len(kinds) + 2.6, 3.6), layout="constrained")
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            chosen = {name: places for name, places in lines.items() if METRICS[name].of == kind}
            _panel(axes, series, chosen, judgement)
            axes.set_title("pictures of concepts" if kind == "concept" else "the base model's knowledge")
        top = "undamaged" if series.of == "pictures" else "real pictures, or nothing changed"
        panels[0].set_ylabel("base model = 0, best = 1")
        handles = [
            Line2D([], [], color=LOOKS[n].color, marker=LOOKS[n].marker, markeredgecolor="white", label=n)
            for n in lines
        ]
        handles += [Line2D([], [], label=top, **CEILING), Line2D([], [], label="base model", **FLOOR)]
        figure.legend(handles=handles, loc="outside right center")
        text = f"{series.title}: where each metric stands at each strength. Ringed: fails. Below {LOWEST:g} not shown."
        return Plot.of(f"validation-{series.id}", series.title, text, figure)


def _panel(axes: Axes, series: Series, lines: dict[str, list[float]], judgement: Judgement) -> None:
    x = range(len(series.strengths))
    for name, places in lines.items():
        verdict, look = judgement.verdict(name, series.id), LOOKS[name]
        axes.plot(x, places, color=look.color, marker=look.marker, markeredgecolor="white", markeredgewidth=0.6)
        if verdict is not None and verdict.passed is False:
            ring: dict[str, Any] = {
                "markerfacecolor": "none",
                "markeredgecolor": "black",
                "markeredgewidth": 1.6,
                "markersize": 13,
            }
            axes.plot(x[-1], places[-1], "o", zorder=5, **ring)
    axes.axhline(1.0, **CEILING)
    axes.axhline(0.0, **FLOOR)
    places = [place for line in lines.values() for place in line]
    axes.set_ylim(max(min(0.0, *places) - 0.1, LOWEST), max(1.0, *places) + 0.1)
    axes.set_xticks(list(x), [f"{strength:g}" for strength in series.strengths])
    axes.set_xlabel(series.unit)


def agreement_plot(judgement: Judgement) -> Plot | None:
    """Rank correlations as coloured squares with their numbers; None if there are fewer than two metrics."""
    table = judgement.agreement.dropna(how="all").dropna(how="all", axis=1)
    names: Sequence[str] = list(table.columns)
    if len(names) < 2:
        return None
    with styled():
        side = 0.62 * len(names)
        figure = Figure(figsize=(side + 2.4, side + 1.2), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(table.to_numpy(dtype=np.float64), cmap="RdBu", vmin=-1, vmax=1)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        for (row, column), value in np.ndenumerate(table.to_numpy(dtype=np.float64)):
            if np.isfinite(value):
                ink = "white" if abs(value) > 0.7 else "black"
                text = f"{value:.2f}".replace("-", "−")
                axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=ink)
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.set_label("Spearman's ρ")
        expectation = f"Over {len(judgement.adapters)} adapters; 1: both metrics rank them alike."
        return Plot.of("validation-agreement", "Agreement between metrics", expectation, figure)
