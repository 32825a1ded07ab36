"""Run folders read and summed up: cells, spread, ties, and everything that can be missing."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.measures import matrices
from cat_bench.results.measures.figures import GROUPS, HEADLINE, figures
from cat_bench.results.measures.metrics import METRICS
from cat_bench.results.measures.subjects import Subject
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables import formats
from cat_bench.results.tables.formats import group_tables, headline, latex, markdown, summary_table, text_of
from cat_bench.results.tables.summary import Row, Summary, Value, summarise


def test_a_run_is_read_whole(small_run: Path) -> None:
    run = Run.open(small_run)
    assert run.sequence == "faces5"
    assert run.methods == ("lora", "cat")
    assert [cell.name for cell in run.troubled] == ["cat, order 0, seed 1"]
    assert run.troubled[0].status == "oom"
    assert set(run.scores["method"]) == {"base", "other_noise", "real", "lora", "cat"}
    assert run.reference(run.concepts[0]) is not None
    assert run.base_image("nobody") is None


def test_summary_equals_the_definitions_cell_by_cell(small_run: Path) -> None:
    run = Run.open(small_run)
    row = next(r for r in summarise(run).rows if r.name == "lora")
    squares = [Subject.of(run, cell).matrix("clip_i").to_numpy()[1:] for cell in run.of("lora")]
    each = [matrices.forgetting(R) for R in squares]
    value = row.values["clip_i_forgetting"]
    assert value.mean == pytest.approx(np.mean(each))
    assert value.std == pytest.approx(np.std(each, ddof=1))
    assert value.n == 2
    assert row.values["seconds_train"].mean == pytest.approx(sum(9.5 + 0.1 * t for t in (1, 2, 3)))
    assert row.values["bytes_carried"].mean == pytest.approx(3.0)


def test_retention_is_null_with_the_concepts_that_were_never_learned(small_run: Path, tmp_path: Path) -> None:
    row = next(r for r in summarise(Run.open(small_run)).rows if r.name == "lora")
    assert 0 < (row.values["clip_i_retention"].mean or 0) < 1
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    for path in folder.glob("lora/*/*-tolbek/scores.parquet"):
        table = pd.read_parquet(path)
        table.loc[(table["metric"] == "clip_i") & (table["concept"] == "tolbek"), "value"] = -0.5
        table.to_parquet(path)
    changed = next(r for r in summarise(Run.open(folder)).rows if r.name == "lora").values
    assert changed["clip_i_retention"].mean is None
    assert str(changed["clip_i_retention"].reason).startswith(
        "never learned (a rise above 0.02 is needed): tolbek by −"
    )
    assert changed["concept_accuracy_retention"] == row.values["concept_accuracy_retention"]
    assert row.values["concept_accuracy_retention"].n + row.values["clip_i_retention"].n > 0


def test_floor_and_ceiling_are_in_every_table(small_run: Path) -> None:
    summary = summarise(Run.open(small_run))
    for table in (headline(summary), *group_tables(summary)):
        assert table.roles[0] == "floor"
        assert table.roles[-1] == "ceiling"
        assert table.rows[0][0].text == "floor: base model"
        kept = any("KPS" in column for column in table.columns)
        assert ("noise" in table.roles) == kept
    noise = next(row for row in summary.rows if row.role == "noise")
    assert summary.rows[0].values["kps_class"].mean < noise.values["kps_class"].mean < 1
    assert noise.values["clip_i_average"].reason == "only the preservation prompts are drawn from other noise"
    floor, ceiling = summary.rows[0], summary.rows[-1]
    assert floor.values["clip_i_average"].mean < ceiling.values["clip_i_average"].mean
    assert ceiling.values["kps"].mean == 1.0
    assert floor.values["clip_i_forgetting"] == Value(None, None, 0, "nothing is learned")


def test_where_one_number_stands_it_is_of_class_and_other(small_run: Path) -> None:
    for row in summarise(Run.open(small_run)).rows:
        both = [row.values[f"kps_{stratum}"].mean for stratum in ("class", "other")]
        assert row.values["kps_class_other"].mean == pytest.approx(sum(both) / 2)
    assert not [f.id for f in figures(("class", "unknown")) if f.id == "kps_class_other"]


def test_the_headline_has_what_is_read_only_where_something_was(small_run: Path) -> None:
    summary = summarise(Run.open(small_run))
    assert not any("parts" in column or "scene" in column for column in headline(summary).columns)
    assert any("parts average" in column for t in group_tables(summary) for column in t.columns)
    rows = [replace(r, values={**r.values, "part_accuracy_average": Value(0.5, None, 1)}) for r in summary.rows]
    assert "parts average ↑" in headline(replace(summary, rows=tuple(rows))).columns


def test_a_lost_cell_lowers_n_and_is_said(small_run: Path) -> None:
    table = summary_table(small_run)
    cat = next(row for row in table.rows if row[0].text == "cat")
    assert cat[1].text == "1 of 2"
    assert "±" not in cat[2].text
    assert table.columns[2].endswith("↑")
    assert "n = 1" in table.note


def test_a_method_without_any_whole_cell_is_shown_with_its_reason(make_run: Callable[..., Path]) -> None:
    failed = [("clora", 0, 0, "failed", "loss is NaN at step 3")]
    folder = make_run(methods=("lora", "clora"), concepts=("marivi", "tolbek"), failed=failed, pictures=False)
    table = summary_table(folder)
    row = next(row for row in table.rows if row[0].text == "clora")
    assert {entry.text for entry in row[2:]} == {"–"}
    assert "clora, all figures: failed: loss is NaN at step 3" in table.gaps


def test_references_stand_apart_and_are_never_the_best(small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    run = Run.open(folder)
    first = summarise(run)
    figure = first.figure("clip_i_average")
    best = next(name for name, mark in first.best(figure).items() if mark == "best")
    info = json.loads((folder / "run.json").read_text())
    info["methods"] = {name: {"carries": "one adapter", "reference": name == best} for name in run.methods}
    (folder / "run.json").write_text(json.dumps(info))
    summary = summarise(Run.open(folder))
    roles = [row.role for row in summary.rows]
    others = len(run.methods) - 1
    assert roles == ["floor", "noise", *["method"] * others, "reference", "ceiling"]
    assert best not in summary.best(figure) and best not in [row.name for row in summary.methods]
    row = next(row for row in summary.rows if row.role == "reference")
    assert row.title == f"reference: {best}" and row.values["clip_i_average"].mean is not None
    shown = formats.table(summary, "t", "T", [figure])
    learning = ", ".join(row.name for row in summary.learning)
    assert f"Carried from concept to concept: one adapter ({learning})." in shown.note
    assert f"References, not ranked: {best}." in shown.note
    assert latex([shown]).count("\\midrule") == 4, "below the head, and between floor, methods, references, ceiling"


def test_missing_unreadable_and_foreign_things_become_statuses(small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    info = json.loads((folder / "run.json").read_text())
    info["spec"]["methods"].append("ortho")
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "lora" / "order0-seed0" / "02-tolbek" / "scores.parquet").write_bytes(b"")
    (folder / "lora" / "order0-seed1" / "cell.json").unlink()
    (folder / "lora" / "order0-seed1" / ".03-x.partial").mkdir()
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "base" / "scores.parquet").unlink()
    run = Run.open(folder)
    statuses = {(cell.method, cell.seed): cell.status for cell in run.cells}
    assert statuses[("ortho", 0)] == "missing"
    assert statuses[("lora", 0)] == "unreadable"
    assert statuses[("lora", 1)] == "interrupted"
    assert run.concepts == ("marivi", "tolbek", "sanora")
    summary = summarise(run)
    assert "base/scores.parquet is missing" in str(summary.rows[0].values["clip_i_average"].reason)


def test_the_hundredth_stage_comes_after_the_ninety_ninth(small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    place = tmp_path / "run" / "lora" / "order0-seed0"
    for old, new in (("01-marivi", "98-marivi"), ("02-tolbek", "99-tolbek"), ("03-sanora", "100-sanora")):
        (place / old).rename(place / new)
    cell = Run.open(tmp_path / "run").cells[0]
    assert [(stage.number, stage.concept) for stage in cell.stages] == [
        (98, "marivi"),
        (99, "tolbek"),
        (100, "sanora"),
    ]


def test_no_run_and_nothing_scored_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="there is no run at"):
        Run.open(tmp_path / "none")
    with pytest.raises(ResultError, match=r"nothing in .* was scored yet"):
        Run.open(tmp_path)


def test_a_run_scored_by_an_earlier_program_says_what_its_tables_lack(small_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    for path in folder.rglob("scores.parquet"):
        pd.read_parquet(path).drop(columns="seen").assign(schema_version=1).to_parquet(path)
    with pytest.raises(ResultError, match=r"scored by an earlier version of cat-bench \(table schema 1"):
        Run.open(folder)


def row(name: str, *values: float) -> Row:
    """A method whose cells have these values, of order 0 and seed 0, order 1 and seed 1 …"""
    value = Value.of({(n, n): (value, None) for n, value in enumerate(values)}, "nothing")
    return Row(name, "method", len(values), len(values), {"kps": value})


def test_ties_are_marked_as_ties() -> None:
    kps = next(f for f in figures() if f.id == "kps")
    rows = (row("a", 0.90, 0.86, 0.94), row("b", 0.88, 0.86, 0.91), row("c", 0.80, 0.765, 0.84), row("d"))
    assert Summary((kps,), rows).best(kps) == {"a": "best", "b": "tie"}, "c spreads as much, but with a"
    assert Summary((kps,), (row("a", 0.9), row("b", 0.89))).best(kps) == {"a": "best"}
    alike = (row("a", 0.9), row("b", 0.90001), row("c", 0.5))
    assert Summary((kps,), alike).best(kps) == {"b": "best", "a": "tie"}
    assert Summary((kps,), (row("a", 0.9, 0.8, 1.0), row("b", 0.8, 0.95, 0.9))).best(kps) == {}
    assert Summary((kps,), rows[:1]).best(kps) == {}
    more = (row("a", 0.80, 0.80, 0.80), row("b", 0.82, 0.82, 0.8201, 0.70, 0.70), row("c", 0.1, 0.1, 0.11))
    assert Summary((kps,), more).best(kps) == {"a": "best", "b": "tie"}, "b is better wherever both were measured"


def test_text_of_values() -> None:
    kps = next(f for f in figures() if f.id == "kps")
    assert text_of(Value(0.5, 0.01, 3, half=0.025), kps, row("a", 0, 0, 0)) == "0.500 ± 0.025"
    assert text_of(Value(-0.0001, None, 1), kps, row("a", 0)) == "0.000"
    assert text_of(Value(-0.5, None, 1), kps, row("a", 0, 0)) == "−0.500 (n=1)"
    assert Value.of({(0, 0): (math.nan, "why"), (0, 1): (1.0, None)}, "x") == Value(1.0, None, 1, "why")
    assert Value.of({(0, 0): (0.5, None), (0, 1): (0.7, None)}, "x").half == pytest.approx(12.706 * 0.1, rel=1e-4)


def test_declared_figures_have_unique_ids_groups_formulas_and_sources() -> None:
    declared = figures(("class", "other"), METRICS)
    ids = [f.id for f in declared]
    assert len(ids) == len(set(ids))
    assert set(HEADLINE) <= set(ids)
    assert {f.group for f in declared} == set(GROUPS)
    assert all(f.formula and f.source and f.title for f in declared)


def test_an_optional_metric_has_all_figures_of_its_like_in_a_run_that_has_it_and_none_elsewhere(
    small_run: Path, make_run: Callable[..., Path]
) -> None:
    dino = summarise(Run.open(make_run(methods=("lora",), concepts=("marivi", "tolbek"), pictures=False, dino=True)))
    without = summarise(Run.open(small_run))
    assert not [f.id for f in without.figures if "dino" in f.id]
    assert not [t.id for t in group_tables(without) if "dino" in t.id]
    own = {f.id.replace("clip_i", "dino_i"): f.id for f in dino.figures if f.id.startswith("clip_i")}
    assert set(own) == {f.id for f in dino.figures if f.id.startswith("dino_i")} and len(own) == 9
    for row in dino.rows:
        for name, twin in own.items():  # the same features are the same figures
            assert row.values[name].mean == pytest.approx(row.values[twin].mean)
            assert row.values[name].reason == row.values[twin].reason
    assert {"fidelity_dino", "other_fidelity_dino"} <= {t.id for t in group_tables(dino)}


def test_markdown_and_latex(small_run: Path) -> None:
    summary = summarise(Run.open(small_run))
    tables = (headline(summary), *group_tables(summary))
    text = markdown(tables, ["cat, order 0, seed 1: oom"])
    assert "| floor: base model | 1 |" in text
    assert "- cat, order 0, seed 1: oom" in text
    tex = latex(tables)
    assert tex.count("\\begin{tabular}") == tex.count("\\end{tabular}") == len(tables)
    assert "↑" not in tex
    assert "A\\_mmd" in tex
