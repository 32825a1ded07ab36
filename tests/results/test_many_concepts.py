"""Plots of many concepts: what can be read of them is drawn, and what is left out is said."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from cat_bench.results.pictures.confusions import confusions
from cat_bench.results.pictures.curves import Array, Curves, mean_half
from cat_bench.results.pictures.panels import lines, ticks
from cat_bench.results.pictures.plots import forgetting_curves, heat_maps
from cat_bench.results.pictures.squares import Sheet, named
from cat_bench.results.pictures.style import looks
from cat_bench.results.records.cell import Cell, Stage
from cat_bench.results.records.long_table import frame
from cat_bench.results.records.run_folder import Run
from cat_bench.results.records.totals import Totals


def run_of(T: int) -> Run:
    """A run of one method whose cell drew half of each concept right, the other half as the next concept."""
    concepts = tuple(f"c{k:02d}" for k in range(T))
    stages = tuple(Stage(k + 1, concept, Path(), {}) for k, concept in enumerate(concepts))
    seen = {pair: 4 for k, asked in enumerate(concepts) for pair in ((asked, asked), (asked, concepts[(k + 1) % T]))}
    cell = Cell("lora", 0, 0, "ok", None, Path(), stages, Totals(seen=seen))
    return Run(Path(), {}, "many", concepts, ("lora",), (cell,), frame([]), {})


def curves_of(T: int, turns: Array | None = None) -> Curves:
    """R[t, k] = 0.5 of what is learned, of one cell."""
    R = np.where(np.arange(T + 1)[:, None] > np.arange(T), 0.5, np.nan)[None]
    turns = np.arange(1.0, T + 1)[None] if turns is None else turns
    return Curves("concept_accuracy", {"lora": R}, {"lora": turns}, np.full(T, 0.1), np.ones(T))


def written(svg: str) -> list[str]:
    """All texts of a plot, which stand beside their outlines as comments."""
    return re.findall(r"<!-- (.*?) -->", svg)


def test_few_concepts_have_numbers_and_many_have_colours_and_the_file_that_has_the_numbers() -> None:
    few, many = heat_maps(run_of(10), curves_of(10)), heat_maps(run_of(11), curves_of(11))
    assert written(few.svg).count("0.50") == 55 and "R-concept_accuracy.csv" not in few.description
    assert written(many.svg).count("0.50") == 0 and "R-concept_accuracy.csv" in many.description
    assert {"base", "5", "10", "c00", "c10"} <= set(written(many.svg)) and "7" not in written(many.svg)


def test_of_few_concepts_who_was_seen_has_numbers_and_of_many_a_scale() -> None:
    few, many = (confusions(run_of(T)) for T in (10, 11))
    assert few is not None and many is not None
    assert written(few.svg).count("50") == 20 and "100%" not in written(few.svg)
    assert written(many.svg).count("50") == 0 and {"100%", "nobody", "c10"} <= set(written(many.svg))


def test_of_very_many_concepts_some_have_a_panel_the_first_and_last_among_them() -> None:
    found = {T: forgetting_curves(run_of(T), curves_of(T)) for T in (20, 41)}
    titles = {T: [text for text in written(plot.svg) if re.match(r"\d+\. ", text)] for T, plot in found.items()}
    assert titles[20] == [f"{k + 1}. c{k:02d}" for k in range(20)] and " of 20 concepts" not in found[20].description
    assert len(titles[41]) == 20 and {"1. c00", "41. c40"} <= set(titles[41])
    assert "20 of 41 concepts, evenly spread over their turns" in found[41].description


def test_panels_follow_the_turns_of_the_run_s_one_order_and_the_unlearned_come_last() -> None:
    turns = np.array([[3.0, np.nan, 1.0, 2.0]])
    assert curves_of(4, turns).learned.tolist() == [2, 3, 0, 1]
    backwards = curves_of(30, np.arange(30.0, 0.0, -1.0)[None])
    titles = [text for text in written(forgetting_curves(run_of(30), backwards).svg) if re.match(r"\d+\. ", text)]
    assert titles[0] == "1. c29" and titles[-1] == "30. c00" and len(titles) == 20


def test_what_is_written_at_an_axis() -> None:
    assert ticks(5) == [1, 2, 3, 4, 5] and ticks(10, first=0) == list(range(11))
    assert ticks(20) == [1, 5, 10, 15, 20] and ticks(50, first=0) == [0, 10, 20, 30, 40, 50]
    assert max(len(ticks(last)) for last in range(11, 400)) <= 7
    assert named(20) == list(range(20)) and named(50) == list(range(0, 50, 3))


@pytest.mark.parametrize("T", [11, 50, 200])
def test_a_plot_of_many_concepts_is_as_large_as_one_of_a_few(T: int) -> None:
    sheet = Sheet.of(5, T, width=0.56)
    assert (sheet.columns, sheet.tiers) == (3, 2) and sheet.width * T == pytest.approx(4.4)


def test_a_long_line_has_some_markers_and_the_last_point_always_has_one() -> None:
    axes, alone = Figure().subplots(), np.full((1, 51), np.nan)
    alone[0, 28] = 0.5
    for values in (np.full((1, 30), 0.5), np.full((1, 51), 0.5), alone):
        lines(axes, np.arange(float(values.size)), {"lora": mean_half(values)}, looks(["lora"]), 0.0, 1.0)
    assert [line.get_markevery() for line in axes.lines] == [None, list(range(50, -1, -5)), [28]]
