"""The reference results that ship: whole, of this protocol, and what README shows of them."""

from pathlib import Path

import pytest

from cat_bench.benchmark.studies.reference.asked import asked
from cat_bench.results.measures.figures import HEADLINE
from cat_bench.results.records.packed import SHIPPED
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.summary import summarise

ROOT = Path(__file__).parents[2]
THERE = [one for one in asked() if (SHIPPED / one.sequence).is_dir()]
assert THERE, "no reference results ship"


@pytest.mark.parametrize("one", THERE, ids=lambda one: one.sequence)
def test_every_cell_is_ok_and_every_figure_has_its_interval_and_n(one) -> None:  # type: ignore[no-untyped-def]
    run = Run.open(SHIPPED / one.sequence)
    assert not run.troubled
    for part in one.parts:
        for method in part.methods:
            cells = {(cell.order, cell.seed) for cell in run.of(method) if run.complete(cell)}
            assert {(r, r) for r in range(part.replicates)} <= cells, method
            assert (SHIPPED / one.sequence / "grids" / f"grid-{method}.png").is_file()
    summary = summarise(run)
    assert {row.name for row in summary.learning} == set(run.methods)
    for row in summary.learning:
        for figure in HEADLINE:
            value = row.values[figure]
            assert value.mean is not None and value.half is not None and value.n == len(run.of(row.name)), figure


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
