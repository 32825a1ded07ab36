"""Paired differences from one method as points with their intervals: a panel a figure, a line a method."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cat_bench.results.measures.figures import HEADLINE
from cat_bench.results.pictures.style import FAINT, INK, PAPER, RULE, Look, Plot, looks, of_method, styled
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.sentences import asked
from cat_bench.results.verdicts.comparison import Comparison

COLUMNS = 4


def forest(run: Run, found: Sequence[Comparison]) -> Plot | None:
    """Difference of every method from the reference in the headline figures; better is to the right.

    None if no pair of methods has two replicates in common.
    """
    shown = [c for c in found if c.low is not None and c.figure.id in HEADLINE]
    names = list(dict.fromkeys(c.figure.id for c in shown))
    if not names:
        return None
    methods, styles = list(dict.fromkeys(c.method for c in shown)), looks(run.methods)
    columns = min(len(names), COLUMNS)
    tiers = -(-len(names) // columns)
    with styled():
        size = (max(2.6 * columns + 0.9, 4.6), tiers * (0.3 * len(methods) + 1.15))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(tiers, columns, sharey=True, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            _panel(axes, [c for c in shown if c.figure.id == name], methods, styles)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
    text = (
        f"Paired differences from {shown[0].against}, better to the right. Thick: 95 % interval for a new order and "
        "seed; thin: for new concepts as well. Grey band: the margin, by which two scorings of the same adapters "
        "differ. Hollow: no verdict, or undecided."
    )
    return Plot.of("forest", f"Differences from {shown[0].against}", text, figure)


def _panel(axes: Axes, found: Sequence[Comparison], methods: Sequence[str], styles: dict[str, Look]) -> None:
    figure = found[0].figure
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=1)
    if (margin := found[0].margin) is not None:
        axes.axvspan(-margin, margin, color=RULE, alpha=0.5, linewidth=0, zorder=0)
    for c in found:
        y, look = methods.index(c.method), styles[c.method]
        gid = of_method(c.method)
        bar: dict[str, Any] = {"color": look.color, "solid_capstyle": "butt", "zorder": 2, "gid": gid}
        if c.wide_low is not None and c.wide_high is not None:
            axes.plot([c.wide_low, c.wide_high], [y, y], linewidth=0.9, **bar)
        assert c.low is not None and c.high is not None and c.effect is not None
        axes.plot([c.low, c.high], [y, y], linewidth=3.0, **bar)
        inside = look.color if c.verdict in ("better", "worse", "equivalent") else PAPER
        point: dict[str, Any] = {"marker": look.marker, "markerfacecolor": inside, "markeredgecolor": look.color}
        axes.plot(c.effect, y, markersize=7, linestyle="none", zorder=3, gid=gid, **point)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    if figure.direction == "lower":
        axes.invert_xaxis()
    axes.set_title(asked(figure).name + (f" [{figure.unit}]" if figure.unit else ""))
    axes.set_title(f"{figure.arrow}", loc="right", color=FAINT, fontweight="normal")
