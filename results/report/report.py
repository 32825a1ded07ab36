"""Writes everything that a run has to say: tables, plots, grids and one self-contained page."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.available import drawn_metrics, metrics_of
from cat_bench.results.measures.matrices import stage_array
from cat_bench.results.measures.metrics import METRICS
from cat_bench.results.pictures import grids, plots, tradeoffs
from cat_bench.results.pictures.confusions import confusions
from cat_bench.results.pictures.curves import Curves
from cat_bench.results.pictures.forests import forest
from cat_bench.results.pictures.grids import Grid
from cat_bench.results.pictures.style import Plot
from cat_bench.results.records.cell import Cell
from cat_bench.results.records.long_table import write_atomically
from cat_bench.results.records.packed import is_packed
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report import reading
from cat_bench.results.report.long_tables import write_long_table
from cat_bench.results.report.page import page
from cat_bench.results.report.tiles import Tiles
from cat_bench.results.tables.formats import group_tables, headline, latex, markdown
from cat_bench.results.tables.sentences import stopped
from cat_bench.results.tables.summary import Summary, summarise
from cat_bench.results.tables.verdicts import verdict_frame, verdict_page, verdict_table, verdicts
from cat_bench.results.verdicts.comparison import Comparison

_PLOTS = ("forest", "confusion", "plasticity-forgetting", "kps-fidelity", "kps", "cost")  # beside those of a metric


@dataclass(frozen=True)
class ReportPaths:
    """What `write_report` wrote."""

    folder: Path
    html: Path
    scores: tuple[Path, Path]  # parquet, csv
    stages: Path
    summary: tuple[Path, Path, Path]  # csv, md, tex
    verdicts: tuple[Path, Path, Path]  # csv, md, tex
    matrices: tuple[Path, ...]
    plots: tuple[Path, ...]
    grids: tuple[Path, ...]


def write_report(run_folder: Path | str, out: Path | str | None = None, reference: str | None = None) -> ReportPaths:
    """Writes the report of a run into `out` (default: `report/` in the run). The same run gives the same bytes.

    reference: the method that the others are compared with (default: the run's first). Cells that failed or are missing
    are listed with their reason and leave the rest as it is. Raises ResultError if there is no run or no such method,
    or if nothing was scored yet.
    """
    run = Run.open(run_folder)
    if is_packed(run.folder):
        raise ResultError(f"{run.folder} is packed: it has neither rows nor images, so a report needs the run itself")
    folder = run.folder / "report" if out is None else _checked(Path(out), run)
    summary = summarise(run)
    compared = verdicts(run, summary, reference)
    figures, chosen = all_plots(run, summary, compared), shown_cells(run)
    pictures = all_grids(run, chosen)
    tables = (headline(summary), *group_tables(summary))
    scores = folder / "scores.parquet", folder / "scores.csv"
    write_long_table(run, *scores)
    write_csv(reading.stage_records(run), folder / "stages.csv")
    summaries = folder / "summary.csv", folder / "summary.md", folder / "summary.tex"
    write_csv(summary.frame(), summaries[0])
    write_atomically(summaries[1], markdown(tables, reading.trouble(run), reading.mixtures(run)).encode())
    write_atomically(summaries[2], latex(tables).encode())
    judged = folder / "verdicts.csv", folder / "verdicts.md", folder / "verdicts.tex"
    write_csv(verdict_frame(compared), judged[0])
    write_atomically(judged[1], verdict_page(compared, summary, stopped(run)).encode())
    printed = verdict_table(compared, summary)
    write_atomically(judged[2], latex([printed] if printed else []).encode())
    matrices = []
    for name in (m.id for m in metrics_of(run) if m.of == "concept"):
        matrices.append(folder / f"R-{name}.csv")
        write_csv(matrix_frame(run, name), matrices[-1])
    plot_paths = tuple(path for plot in figures for path in plot.write(folder / "plots"))
    grid_paths = tuple(grid.write(folder / "grids") for grid in pictures)
    _remove_others(folder, (*matrices, *plot_paths, *grid_paths))
    html = folder / "report.html"
    write_atomically(html, page(run, summary, compared, figures, Tiles.of(run, chosen)).encode())
    stages = folder / "stages.csv"
    return ReportPaths(folder, html, scores, stages, summaries, judged, tuple(matrices), plot_paths, grid_paths)


def _checked(out: Path, run: Run) -> Path:
    """A folder for a report. Raises ResultError if it holds what no report wrote, or is a part of the run."""
    inside = out.resolve().is_relative_to(run.folder.resolve())
    if inside and not out.resolve().is_relative_to((run.folder / "report").resolve()):
        raise ResultError(
            f"--out {out} is a part of the run: leave it out for {run.folder / 'report'}, or choose another"
        )
    if out.exists() and not out.is_dir():
        raise ResultError(f"--out {out} is a file: choose a folder")
    made = any((out / name).is_file() for name in ("report.html", "scores.parquet"))
    if out.is_dir() and any(out.iterdir()) and not made:
        raise ResultError(f"--out {out} holds other files, and no earlier report: choose an empty or a new folder")
    return out


def all_plots(run: Run, summary: Summary, compared: Sequence[Comparison] = ()) -> tuple[Plot, ...]:
    """Every plot for which the run has scores."""
    if not any(cell.stages for cell in run.cells):
        return ()
    drawn = [Curves.of(run, name) for name in drawn_metrics(run)]
    found = [
        forest(run, compared),
        *(plots.forgetting_curves(run, curves) for curves in drawn),
        *(plots.heat_maps(run, curves) for curves in drawn),
        confusions(run),
        tradeoffs.plasticity_forgetting(run, summary),
        tradeoffs.preservation_fidelity(run, summary),
        tradeoffs.preservation_curves(run),
        tradeoffs.cost(summary),
    ]
    return tuple(plot for plot in found if plot is not None)


def shown_cells(run: Run) -> tuple[Cell, ...]:
    """The cell of each method whose pictures are shown: of the order and seed that most went through."""
    cells = [cell for cell in run.cells if cell.stages]
    if not cells:
        return ()
    whole = [(cell.order, cell.seed) for cell in cells if run.complete(cell)] or [(cells[0].order, cells[0].seed)]
    chosen = max(dict.fromkeys(whole), key=whole.count)

    def fitness(cell: Cell) -> tuple[bool, int]:
        return (cell.order, cell.seed) == chosen, len(cell.stages)

    best = [max((c for c in cells if c.method == m), key=fitness, default=None) for m in run.methods]
    return tuple(cell for cell in best if cell is not None)


def all_grids(run: Run, cells: Sequence[Cell]) -> tuple[Grid, ...]:
    """The comparison grid, then one a method, of these cells."""
    if not cells:
        return ()
    places = [(cell.order, cell.seed) for cell in cells]
    most = max(dict.fromkeys(places), key=places.count)
    return (grids.comparison_grid(run, *most), *(grids.method_grid(run, cell) for cell in cells))


def matrix_frame(run: Run, name: str) -> pd.DataFrame:
    """R[t, k] of every cell: method, order, seed, stage, then one column a concept in the order of the sequence."""
    keys, parts = [], []
    for cell in run.cells:
        if cell.stages:
            R = stage_array(run.summed(cell).mean, name, run.concepts)[: len(cell.stages) + 1]
            learned = {stage.concept for stage in cell.stages}
            parts.append(np.where([concept in learned for concept in run.concepts], R, np.nan))
            keys += [(cell.method, cell.order, cell.seed, stage) for stage in range(len(R))]
    table = pd.DataFrame(keys, columns=["method", "order", "seed", "stage"])
    return table.join(pd.DataFrame(np.concatenate(parts), columns=list(run.concepts))) if parts else table


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV with shortest exact numbers; null is an empty field."""
    write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())


def _remove_others(folder: Path, written: Iterable[Path]) -> None:
    """Takes out matrices, plots and grids of an earlier report that this one does not have, and nothing else."""
    keep, names = set(written), "|".join(METRICS)
    for place, ours in (
        (folder, rf"R-({names})\.csv"),
        (folder / "plots", rf"({'|'.join(_PLOTS)}|(curves|heatmap)-({names}))\.(svg|png)"),
        (folder / "grids", r"grid-.+\.png"),
    ):
        for path in sorted(place.glob("*")):
            if path not in keep and re.fullmatch(ours, path.name):
                path.unlink()
