"""Plots of one figure against another, of preservation by stage, and of cost."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cat_bench.results.plots import bounds, legend, line
from cat_bench.results.records import BASE
from cat_bench.results.scores import ALL
from cat_bench.results.store import Run
from cat_bench.results.style import FAINT, Plot, looks, styled
from cat_bench.results.summary import Summary, strata, subject


def plasticity_forgetting(run: Run, summary: Summary) -> Plot:
    """Two panels (concept accuracy, CLIP-I): forgetting to the right, plasticity upwards; the best corner is top
    left.
    """
    with styled():
        figure = Figure(figsize=(9.2, 4.2), layout="constrained")
        for axes, name, head in zip(
            figure.subplots(1, 2), ("concept_accuracy", "clip_i"), ("Concept accuracy", "CLIP-I"), strict=True
        ):
            _scatter(axes, run, summary, f"{name}_forgetting", f"{name}_plasticity", "forgetting ↓", "plasticity ↑")
            axes.set_title(head)
        text = (
            "Each point is a method, bars are one standard deviation over cells. Top left learns all and forgets "
            "nothing."
        )
        return Plot.of("plasticity-forgetting", "Plasticity against forgetting", text, figure)


def preservation_fidelity(run: Run, summary: Summary) -> Plot:
    """KPS upwards against the average CLIP-I (and concept accuracy) after the last stage; the best corner is top
    right.
    """
    with styled():
        figure = Figure(figsize=(9.2, 4.2), layout="constrained")
        heads = {"clip_i_average": "CLIP-I, average ↑", "concept_accuracy_average": "concept accuracy, average ↑"}
        for axes, (name, label) in zip(figure.subplots(1, 2, sharey=True), heads.items(), strict=True):
            _scatter(axes, run, summary, name, "kps", label, "KPS ↑" if name == "clip_i_average" else "")
            for row in summary.rows:
                value = row.values[name].mean
                if row.role != "method" and value is not None:
                    style = (0, (1, 2)) if row.role == "floor" else (0, (5, 2))
                    axes.axvline(value, color=FAINT, linestyle=style, linewidth=1.2, zorder=1)
        text = (
            "What the base model keeps against how well all concepts are drawn at the end. Dotted: floor. "
            "Dashed: ceiling."
        )
        return Plot.of("kps-fidelity", "Knowledge preservation against fidelity", text, figure)


def preservation_curves(run: Run) -> Plot | None:
    """KPS by stage, one panel a stratum and one for all; None if nothing was measured."""
    names = (*strata(run), ALL)
    methods = {m: [subject(run, cell) for cell in run.of(m) if cell.stages] for m in run.methods}
    T, styles = len(run.concepts), looks(run.methods)
    if len(names) == 1:
        return None
    with styled():
        figure = Figure(figsize=(max(2.35 * len(names), 6.6), 3.3), layout="constrained")
        x = np.arange(1.0, T + 1)
        for axes, stratum in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
            for method, subjects in methods.items():
                if subjects:
                    values = [[s.mean.get(("kps", t, stratum), np.nan) for t in range(1, T + 1)] for s in subjects]
                    line(axes, x, np.array(values, dtype=np.float64), styles[method])
            ends = [
                rows[(rows["metric"] == "kps") & (rows["concept"] == stratum)] for rows in (run.floor(), run.ceiling())
            ]
            bounds(axes, *(float(end["value"].mean()) if len(end) else np.nan for end in ends))
            axes.set_title("all strata" if stratum == ALL else stratum)
            axes.set_xticks(range(1, T + 1))
            axes.set_xlabel("after stage")
            axes.set_ylabel("KPS ↑" if stratum == names[0] else "")
        legend(figure, styles)
        text = (
            "How alike the adapted and the base model's images stay. Dotted: two unrelated base images. 1: "
            "nothing changed."
        )
        return Plot.of("kps", "Knowledge preservation by stage", text, figure)


def cost(summary: Summary) -> Plot | None:
    """Seconds of training, sampling and scoring a cell, stacked, one bar a method; None if no time was recorded."""
    rows = [row for row in summary.methods if row.values["seconds_train"].mean is not None]
    if not rows:
        return None
    parts = {"seconds_train": "#274c77", "seconds_sample": "#6096ba", "seconds_score": "#a3cef1"}
    with styled():
        figure = Figure(figsize=(7.6, 0.42 * len(rows) + 1.25), layout="constrained")
        axes = figure.subplots()
        y, left = np.arange(len(rows)), np.zeros(len(rows))
        for name, color in parts.items():
            width = np.array([row.values[name].mean or 0.0 for row in rows])
            axes.barh(
                y,
                width,
                left=left,
                color=color,
                label=summary.figure(name).short,
                height=0.62,
                edgecolor="white",
                linewidth=0.6,
            )
            left += width
        for row, total in enumerate(left.tolist()):
            axes.text(total, row, f" {total:,.0f} s", va="center", fontsize=9)
        axes.set_yticks(y, [row.name for row in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, left.max() * 1.12)
        axes.set_xlabel("seconds a cell (mean)")
        figure.legend(loc="outside lower center", ncols=3)
        text = "Time of one cell through the whole sequence. Work taken over from another run counts as if done here."
        return Plot.of("cost", "Cost", text, figure)


def _kps(rows: pd.DataFrame, stratum: str) -> float:
    return float(rows.loc[(rows["metric"] == "kps") & (rows["concept"] == stratum), "value"].mean())


def _scatter(axes: Axes, run: Run, summary: Summary, x: str, y: str, x_label: str, y_label: str) -> None:
    styles = looks(run.methods)
    points: list[tuple[str, float, float]] = []
    for row in summary.methods:
        a, b = row.values[x], row.values[y]
        if a.mean is None or b.mean is None:
            continue
        points.append((row.name, a.mean, b.mean))
        s = styles[row.name]
        axes.errorbar(
            a.mean,
            b.mean,
            xerr=a.std,
            yerr=b.std,
            color=s.color,
            marker=s.marker,
            markersize=9,
            elinewidth=1.2,
            capsize=2.5,
            markeredgecolor="white",
            linestyle="none",
            zorder=3,
        )
    floor = next(row for row in summary.rows if row.name == BASE).values[y].mean
    ceiling = summary.rows[-1].values[y].mean
    bounds(axes, np.nan if floor is None else floor, np.nan if ceiling is None else ceiling)
    axes.margins(0.12)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _label(axes, points)


def _label(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Writes each method's name beside its point, moved up or down until it meets no other name."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # axes are made by their figure
    figure.draw_without_rendering()
    to_points = axes.transData.transform
    placed: list[tuple[float, float]] = []
    scale = 72.0 / figure.dpi
    for name, a, b in sorted(points, key=lambda p: -p[2]):
        x, top = to_points((a, b)) * scale
        y = float(top)
        width = 7.0 * len(name)
        while any(abs(y - other) < 12 and abs(x - before) < width + 8 for before, other in placed):
            y -= 2.0
        placed.append((float(x), y))
        axes.annotate(
            name,
            (a, b),
            xytext=(9, y - float(top) + 3),
            textcoords="offset points",
            fontsize=9.5,
            arrowprops=None if abs(y - top) < 6 else {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6},
        )
