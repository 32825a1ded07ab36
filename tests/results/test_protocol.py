"""docs/protocol.md against what the code declares."""

import math
from pathlib import Path

import pytest

from cat_bench.results.measures.kinds import KINDS
from cat_bench.results.measures.marks import noise_floor
from cat_bench.results.measures.metrics import METRICS, Metric
from cat_bench.results.records.long_table import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_every_metric_has_its_section_with_direction_and_source(metric: Metric) -> None:
    head = next(line for line in PAGE.splitlines() if line.startswith(f"### `{metric.id}`"))
    assert head.endswith(metric.arrow)
    section = PAGE.split(head)[1].split("\n### ")[0].split("\n## ")[0]
    for part in ("**Formula**", "**Range, scale**", "**Source**", "**Traps**"):
        assert part in section
    for word in metric.source.split("arXiv ")[1:]:
        assert word.split(")")[0] in section


def test_every_kind_and_column_is_explained() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []
    assert [column for column in COLUMNS if f"`{column}`" not in PAGE] == []


def test_smallest_meaningful_differences_are_the_declared_ones() -> None:
    for metric in METRICS.values():
        if metric.least is not None:
            assert f"`{metric.id}` {metric.least:g}" in PAGE


def test_margins_are_those_of_the_noise_floors_that_ship() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    model = "avatars64.v2-clip"
    known = {metric: floor for metric in METRICS if (floor := noise_floor(metric, model)) is not None}
    assert len(known) == 15
    for metric, floor in known.items():
        of_five = math.sqrt(2 / (5 if METRICS[metric].of == "concept" else 1)) * floor
        assert f"| `{metric}` | {floor:.4f} | {of_five:.3f} |" in page


def test_formulas_of_the_kinds_are_the_declared_ones() -> None:
    for name in ("average", "plasticity", "forgetting", "retention", "bwt", "a_mmd", "f_mmd"):
        assert f"| `{name}` | {KINDS[name].formula} |" in PAGE
