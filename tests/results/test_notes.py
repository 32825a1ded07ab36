"""What is said below tables: gaps by reason, and no note twice."""

from pathlib import Path

from cat_bench.results.measures.figures import figures
from cat_bench.results.measures.subjects import Role
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import group_tables, headline, markdown
from cat_bench.results.tables.notes import gaps
from cat_bench.results.tables.summary import Row, Value, summarise

FIGURES = [figure for figure in figures() if figure.id in ("kps", "clip_i_average")]
THERE, EARLY, NEVER = Value(0.5, None, 1), Value(None, None, 0, "too early"), Value(None, None, 0, "nothing is learned")


def row(name: str, clip_i: Value, kps: Value = THERE, role: Role = "method") -> Row:
    return Row(name, role, 1, 1, {"clip_i_average": clip_i, "kps": kps})


def test_rows_that_lack_the_same_for_the_same_reason_are_one_line() -> None:
    rows = [row("base", NEVER, role="floor"), row("a", EARLY), row("b", EARLY), row("c", THERE, EARLY), row("d", THERE)]
    assert gaps(rows, FIGURES) == (
        "floor: base model, clip_i_average: nothing is learned",
        "a; b, clip_i_average: too early",
        "c, kps: too early",
    )
    assert gaps([row("a", EARLY, EARLY)], FIGURES) == ("a, all figures: too early",)
    assert gaps(rows[-1:], FIGURES) == ()


def test_what_all_methods_lack_names_none_of_them() -> None:
    rows = [row("base", EARLY, role="floor"), row("a", EARLY), row("b", EARLY), row("joint", EARLY, role="reference")]
    assert gaps(rows, FIGURES) == ("all methods; floor: base model, clip_i_average: too early",)
    assert gaps(rows[:3], FIGURES) == ("all methods; floor: base model, clip_i_average: too early",)
    assert gaps([rows[0], rows[1]], FIGURES) == ("floor: base model; a, clip_i_average: too early",)


def test_a_note_stands_once_where_tables_share_it(small_run: Path) -> None:
    summary = summarise(Run.open(small_run))
    tables = (headline(summary), *group_tables(summary))
    assert len({table.note for table in tables}) == 1
    text = markdown(tables)
    assert text.count(tables[0].note) == 1 and text.count("## ") == len(tables)
    assert text.count("\n\n\n") == 0
