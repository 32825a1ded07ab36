"""The reference results that ship: whole, of this protocol, and what README shows of them."""

from pathlib import Path

import pytest

from cat_bench.benchmark.studies.reference.asked import asked
from cat_bench.results.measures.figures import HEADLINE
from cat_bench.results.records.packed import SHIPPED
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.summary import summarise

ROOT = Path(__file__).parents[2]
SHIP = sorted(folder.parent.name for folder in SHIPPED.glob("*/run.json"))


def test_what_was_asked_for_ships() -> None:
    assert sorted(one.sequence for one in asked()) == SHIP


@pytest.mark.parametrize("sequence", SHIP)
def test_every_cell_is_ok_and_every_figure_has_its_interval_and_n(sequence: str) -> None:
    run = Run.open(SHIPPED / sequence)
    assert not run.troubled
    parts = next(one.parts for one in asked() if one.sequence == sequence)
    for part in parts:
        for method in part.methods:
            assert {(r, r) for r in range(part.replicates)} <= {(c.order, c.seed) for c in run.of(method)}, method
    summary = summarise(run)
    assert {row.name for row in summary.learning} == set(run.methods)
    for row in summary.learning:
        for figure in HEADLINE:
            value = row.values[figure]
            assert value.mean is not None and value.half is not None and value.n == len(run.of(row.name)), figure
        assert (SHIPPED / sequence / "grids" / f"grid-{row.name}.png").is_file()


def table_of(text: str, head: str) -> dict[str, dict[str, str]]:
    """The first table whose head begins so: by row and column, without the marks of the best."""
    lines = text[text.index(f"| {head} |") :].split("\n\n", 1)[0].replace("**", "").replace("`", "").splitlines()
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(split[0], row, strict=True)) for row in split[2:]}


def test_readme_opens_with_the_reference_table() -> None:
    shown = table_of((ROOT / "README.md").read_text(), "method | n")
    known = table_of((SHIPPED / "faces5" / "summary.md").read_text(), "method | n")
    assert set(Run.open(SHIPPED / "faces5").methods) <= {name.removeprefix("reference: ") for name in shown}
    for name, row in shown.items():
        assert row == {column: known[name][column] for column in row}
