"""Plots of one figure against another, of preservation by stage, and of cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cat_bench.results.measures.available import drawn_metrics, strata_of
from cat_bench.results.measures.figure import KEPT
from cat_bench.results.measures.metrics import metric
from cat_bench.results.pictures.curves import LEAST, keys_of, mean_half
from cat_bench.results.pictures.names import Point, name_points
from cat_bench.results.pictures.panels import BANDS, CEILING, FLOOR, bound_in_sight, bounds, legend, lines, ticks
from cat_bench.results.pictures.style import FAINT, PAPER, Plot, looks, of_method, settle, styled
from cat_bench.results.records.run_folder import Run
from cat_bench.results.scoring.scores import ALL
from cat_bench.results.tables.summary import Row, Summary


def plasticity_forgetting(run: Run, summary: Summary) -> Plot | None:
    """Concept accuracy and fidelity: forgetting to the right, plasticity upwards; the best corner is top left.

    None if too few stages were sampled for it.
    """
    measured = [f"{name}_forgetting" for name in drawn_metrics(run)]
    if summary.stages != "all" and all(row.values[id].mean is None for row in summary.methods for id in measured):
        return None
    figure = _scatters(
        run, summary, ("{}_forgetting", "forgetting ↓"), ("{}_plasticity", "plasticity ↑"), corner="↖ better"
    )
    text = "Each point is a method, crosses are 95 % intervals both ways. Top left learns all, forgets nothing."
    return Plot.of("plasticity-forgetting", "Plasticity against forgetting", text, figure)


def preservation_fidelity(run: Run, summary: Summary) -> Plot:
    """KPS upwards against concept accuracy and fidelity after the last stage; the best corner is top right."""
    both = any(figure.id == KEPT for figure in summary.figures)
    kept = (KEPT, "KPS, mean of class and other ↑") if both else ("kps", "KPS ↑")
    figure = _scatters(run, summary, ("{}_average", "average after the last stage ↑"), kept, corner="better ↗")
    text = "What is left of the base model's knowledge against how well all is drawn at the end; 95 % intervals."
    return Plot.of("kps-fidelity", "Knowledge preservation against fidelity", text, figure)


def preservation_curves(run: Run) -> Plot | None:
    """KPS by stage, one panel a stratum and one for all; None if nothing was measured."""
    names = (*strata_of(run), ALL)
    if len(names) == 1:
        return None
    methods = {m: [cell for cell in run.of(m) if cell.stages] for m in run.methods}
    stages, styles = range(1, len(run.concepts) + 1), looks(run.methods)
    with styled():
        figure = Figure(figsize=(max(2.35 * len(names), 7.2), 3.3), layout="constrained")
        for axes, stratum in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
            values = {
                method: mean_half(
                    np.array([[run.summed(c).mean.get(("kps", t, stratum), np.nan) for t in stages] for c in cells]),
                    keys_of(cells),
                )
                for method, cells in methods.items()
                if cells
            }
            lines(axes, np.array(stages, dtype=np.float64), values, styles, 0.0, 1.0)
            bounds(axes, _kps(run.floor(), stratum), _kps(run.ceiling(), stratum), _kps(run.other_noise(), stratum))
            axes.set_title("all strata" if stratum == ALL else stratum)
            axes.set_xticks(ticks(len(stages)))
            axes.set_xlabel("after stage")
            axes.set_ylabel("KPS ↑" if stratum == names[0] else "")
        legend(figure, styles, "ceiling: nothing changed", noise=True)
        text = (
            "How alike the adapted and the base model's images stay. Dotted: two unrelated base images. Dash and dot: "
        )
        text += "base images of the same prompt from other noise. " + BANDS
        return Plot.of("kps", "Knowledge preservation by stage", text, figure)


def cost(summary: Summary) -> Plot | None:
    """Seconds of training, sampling and scoring a cell, stacked, one bar a method, and beside them what it carries on.

    None if no time was recorded.
    """
    rows = [row for row in summary.learning if row.values["seconds_train"].mean is not None]
    if not rows:
        return None
    with styled():
        figure = Figure(figsize=(9.4, 0.42 * len(rows) + 1.35), layout="constrained")
        times, sizes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        _times(times, rows, summary)
        _carried(sizes, rows)
        times.set_yticks(range(len(rows)), [row.name for row in rows])
        times.invert_yaxis()
        figure.legend(loc="outside lower left", ncols=3)
        text = (
            "Left: time of one cell through the whole sequence; work taken over from another run counts, too. "
            "Right: what is carried from concept to concept, and its size after the last stage."
        )
        return Plot.of("cost", "Cost", text, figure)


def _times(axes: Axes, rows: Sequence[Row], summary: Summary) -> None:
    parts = {"seconds_train": "#274c77", "seconds_sample": "#6096ba", "seconds_score": "#a3cef1"}
    y, left = np.arange(len(rows)), np.zeros(len(rows))
    for name, color in parts.items():
        width = np.array([row.values[name].mean or 0.0 for row in rows])
        bar: dict[str, Any] = {"height": 0.62, "edgecolor": PAPER, "linewidth": 0.6}
        axes.barh(y, width, left=left, color=color, label=summary.figure(name).short, **bar)
        left += width
    for position, total in enumerate(left.tolist()):
        axes.text(total, position, f" {total:,.0f} s", va="center", fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(float(left.max()), 1e-9) * 1.15)
    axes.set_xlabel("seconds a cell (mean)")


def _carried(axes: Axes, rows: Sequence[Row]) -> None:
    sizes = [row.values["bytes_carried"].mean or 0.0 for row in rows]
    axes.barh(np.arange(len(rows)), sizes, height=0.62, color=FAINT, edgecolor=PAPER, linewidth=0.6)
    for position, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        known = row.values["bytes_carried"].mean is not None
        said = ", ".join(filter(None, (f"{size:,.2f} MB" if known else "", row.carries)))
        axes.text(size, position, f" {said}", va="center", fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(*sizes, 1e-9) * 1.9)
    axes.set_xlabel("MB carried after the last stage (mean)")


def _kps(rows: pd.DataFrame, stratum: str) -> float:
    return float(rows.loc[(rows["metric"] == "kps") & (rows["concept"] == stratum), "value"].mean())


def _scatters(run: Run, summary: Summary, x: tuple[str, str], y: tuple[str, str], corner: str) -> Figure:
    """One panel a drawn metric. x, y: the figure's id, with {} for the metric's, and the axis' label."""
    with styled():
        names = drawn_metrics(run)
        figure = Figure(figsize=(4.6 * len(names), 4.2), layout="constrained")
        panels = list(zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True))
        named = []
        for axes, name in panels:
            named.append(_scatter(axes, run, summary, x[0].format(name), y[0].format(name)))
            axes.set_title(metric(name).short)
            axes.set_title(corner, loc="right", color=FAINT, fontweight="normal", fontsize=9)
            axes.set_xlabel(x[1])
            axes.set_ylabel(y[1])
        legend(figure, looks(run.methods), joined=False)
        settle(figure)
        for (axes, _), points in zip(panels, named, strict=True):
            name_points(axes, points)
        return figure


def _scatter(axes: Axes, run: Run, summary: Summary, x: str, y: str) -> dict[str, Point]:
    """Points of the methods with crosses of 95 % intervals; floor and ceiling as lines where they are in sight."""
    styles, points = looks(run.methods), {}
    bars: dict[str, Any] = {"elinewidth": 1.2, "capsize": 2.5, "zorder": 3}
    for row in summary.learning:
        a, b = row.values[x], row.values[y]
        if a.mean is not None and b.mean is not None:
            s = styles[row.name]
            dot: dict[str, Any] = {
                "color": s.color,
                "marker": s.marker,
                "markersize": 13 if s.marker == "*" else 9,
                "markeredgecolor": "white",
            }
            cross: dict[str, Any] = {"xerr": a.half, "yerr": b.half} if min(a.n, b.n) >= LEAST else {}
            drawn = axes.errorbar(a.mean, b.mean, linestyle="none", **cross, **dot, **bars)
            points[row.name] = Point(a.mean, b.mean, cross.get("xerr") or 0.0, cross.get("yerr") or 0.0)
            for artist in drawn.get_children():
                artist.set_gid(of_method(row.name))
    axes.margins(0.10)
    if y.startswith(("concept_accuracy", "part_accuracy")):  # equal accuracies must not look far apart
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, high - 0.2), high if high - low > 0.2 else min(high, 1.03))
    for row, style in ((summary.rows[0], FLOOR), (summary.rows[-1], CEILING)):
        bound_in_sight(axes, row.values[x].mean, row.role, style, vertical=True)
        bound_in_sight(axes, row.values[y].mean, row.role, style, vertical=False)
    return points
