"""Names beside the points of a plot: on nothing else, within the panel, and left out where there is no room."""

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from cat_bench.results.pictures.names import Point, name_points
from cat_bench.results.pictures.style import of_method, settle

METHODS = [f"method{i:02}" for i in range(19)]


def panel(low: float = 0.0, high: float = 1.0) -> Axes:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    settle(figure)
    return axes


def spread(count: int) -> dict[str, Point]:
    places = np.random.default_rng(0).uniform(0.05, 0.95, (count, 2)).tolist()
    return {name: Point(x, y, 0.02, 0.03) for name, (x, y) in zip(METHODS, places, strict=False)}


def overlap(one: Text, other: Text) -> bool:
    return bool(one.get_window_extent().overlaps(other.get_window_extent()))


def test_names_lie_on_no_other_and_on_no_point_and_within_the_panel() -> None:
    axes, points = panel(), spread(19)
    axes.text(0.5, 0.0, "a note", va="bottom")
    name_points(axes, points)
    assert [text.get_text() for text in axes.texts] == ["a note", *points], "all have room"
    assert not [pair for pair in itertools.combinations(axes.texts, 2) if overlap(*pair)]
    dots = axes.transData.transform([(p.x, p.y) for p in points.values()])
    for text in axes.texts[1:]:
        box = text.get_window_extent()
        assert not any(box.contains(x, y) for x, y in dots)
        assert axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
    assert {text.get_gid() for text in axes.texts[1:]} == {of_method(name) for name in points}
    assert axes.get_xlim() == axes.get_ylim() == (0.0, 1.0)


def test_where_points_lie_on_one_another_some_have_no_name() -> None:
    axes = panel()
    name_points(axes, dict.fromkeys(METHODS, Point(0.5, 0.5)))
    assert 2 <= len(axes.texts) < len(METHODS)
    assert not [pair for pair in itertools.combinations(axes.texts, 2) if overlap(*pair)]


@pytest.mark.parametrize("count", [0, 1])
def test_of_few_points_all_have_names_at_the_same_places_again(count: int) -> None:
    found = []
    for _ in range(2):
        axes = panel()
        name_points(axes, spread(count))
        found.append([(text.get_text(), text.get_position()) for text in axes.texts])
    assert found[0] == found[1] and len(found[0]) == count
