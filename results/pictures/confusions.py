"""Plot of who was seen instead of whom after the last stage: a confusion matrix for each method."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cat_bench.results.measures.confusion import confusion
from cat_bench.results.pictures.style import Plot, styled
from cat_bench.results.records.run_folder import Run
from cat_bench.results.scoring.recognition import NOBODY


def confusions(run: Run) -> Plot | None:
    """One matrix a method, over all its whole cells; None if no method has any."""
    shares = {}
    for method in run.methods:
        last = [cell.totals.seen for cell in run.of(method) if run.complete(cell)]
        if last:
            shares[method] = confusion(last, run.concepts)
    if not shares:
        return None
    T = len(run.concepts)
    with styled():
        columns = min(3 if T <= 6 else 2, len(shares))
        tiers = -(-len(shares) // columns)
        size = columns * (0.5 * (T + 1) + 0.4) + 1.6, tiers * (0.4 * T + 0.5) + 1.0
        figure = Figure(figsize=(max(size[0], 5.0), size[1]), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)  # type: ignore[union-attr, call-arg]
        grid = figure.subplots(tiers, columns, squeeze=False).ravel()
        for number, (axes, (method, table)) in enumerate(zip(grid, shares.items(), strict=False)):
            _matrix(axes, table.to_numpy(dtype=np.float64))
            axes.set_title(method)
            lowest = number + columns >= len(shares)
            labels = [*run.concepts, NOBODY] if lowest else []
            axes.set_xticks(range(T + 1) if lowest else [], labels, rotation=35, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(T), run.concepts if number % columns == 0 else [""] * T)
        for axes in grid[len(shares) :]:
            axes.set_visible(False)
        figure.supxlabel("seen", fontsize="medium")
        figure.supylabel("asked for", fontsize="medium")
        text = (
            "After the last stage, in percent. Rows: the concept that was asked for. Columns: the one that was seen, "
            "or nobody. Framed: the right one. A full column beside the frames took others' places."
        )
        return Plot.of("confusion", "Who took whose place", text, figure)


def _matrix(axes: Axes, shares: np.ndarray) -> None:
    """Shares (T, T + 1) as coloured squares with their percent, the right answers framed."""
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for (asked, seen), value in np.ndenumerate(shares):
        if np.isfinite(value) and (value > 0 or asked == seen):
            red, green, blue, _ = image.cmap(image.norm(np.asarray(value)))
            ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.45 else "white"
            axes.text(seen, asked, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
    axes.axvline(len(shares) - 0.5, color="white", linewidth=2.5, zorder=0.9)
    for k in range(len(shares)):
        for color, width in (("white", 3.2), ("black", 1.4)):
            axes.add_patch(Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor=color, linewidth=width))
