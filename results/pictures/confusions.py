"""Plot of who was seen instead of whom after the last stage: a confusion matrix for each method."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter

from cat_bench.results.measures.confusion import confusion
from cat_bench.results.pictures.panels import MANY
from cat_bench.results.pictures.squares import Sheet, named, squares
from cat_bench.results.pictures.style import Plot, headed, styled
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
        sheet = Sheet.of(len(shares), T, width=0.5)
        size = sheet.columns * (sheet.width * (T + 1) + 0.4) + 1.6, sheet.tiers * (sheet.height * T + 0.5) + 1.0
        figure = Figure(figsize=(max(size[0], 5.0), size[1]), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06)  # type: ignore[union-attr, call-arg]
        grid, shown, image = figure.subplots(sheet.tiers, sheet.columns, squeeze=False).ravel(), named(T), None
        across = [*(k for k in shown if T - k >= shown[-1] - shown[-2]), T] if T > MANY else [*shown, T]
        for number, (axes, (method, table)) in enumerate(zip(grid, shares.items(), strict=False)):
            image = _matrix(axes, table.to_numpy(dtype=np.float64))
            axes.set_title(headed(method))
            lowest = number + sheet.columns >= len(shares)
            labels = [[*run.concepts, NOBODY][k] for k in across] if lowest else []
            axes.set_xticks(across if lowest else [], labels, rotation=35, ha="right", rotation_mode="anchor")
            first = number % sheet.columns == 0
            axes.set_yticks(shown, [run.concepts[k] if first else "" for k in shown])
        for axes in grid[len(shares) :]:
            axes.set_visible(False)
        figure.supxlabel("seen", fontsize="medium")
        figure.supylabel("asked for", fontsize="medium")
        text = (
            "After the last stage, in percent. Rows: the concept that was asked for. Columns: the one that was seen, "
            "or nobody. Framed: the right one. A full column beside the frames took others' places."
        )
        if T > MANY and image is not None:
            text += " The numbers: `concept` and `seen` in scores.csv."
            bar = figure.colorbar(image, ax=list(grid), shrink=0.8, pad=0.02, format=PercentFormatter(1.0))
            bar.outline.set_visible(False)
        return Plot.of("confusion", "Who took whose place", text, figure)


def _matrix(axes: Axes, shares: np.ndarray) -> AxesImage:
    """Shares (T, T + 1) as squares with their percent, the right answers framed."""

    def percent(asked: int, seen: int) -> str:
        share = shares[asked, seen]
        return f"{100 * share:.0f}" if share > 0 or asked == seen else ""

    T = len(shares)
    image = squares(axes, shares, (0.0, 1.0), percent, ((k, k) for k in range(T)))
    axes.axvline(T - 0.5, color="white", linewidth=2.5, zorder=0.9)
    return image
