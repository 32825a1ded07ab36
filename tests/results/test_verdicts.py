"""Verdicts as they are told: sentences, the table, its CSV, the forest plot, the report and its flag."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.figures import figures
from cat_bench.results.pictures.forests import forest
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.page import page
from cat_bench.results.report.report import write_report
from cat_bench.results.tables.sentences import QUESTIONS, asked, few, sentence, sentences
from cat_bench.results.tables.summary import Summary, summarise
from cat_bench.results.tables.verdicts import verdict_frame, verdict_page, verdict_table, verdicts
from cat_bench.results.verdicts.comparison import Comparison
from cat_bench.results.verdicts.layout import Layout

KNOWN = {f.id: f for f in figures(("class", "other"))}
DRAWN = Layout((tuple((r, r) for r in range(10)),))
CAT = Comparison(
    KNOWN["kps_class"], "cat", "lora", 10, 0.12, 0.08, 0.16, margin=0.02, verdict="better", layout=DRAWN
)  # fmt: skip


@pytest.fixture(scope="module")
def seeds(make_run: Callable[..., Path]) -> Path:
    """Three methods, one of them a reference, five seeds of one order."""
    folder = make_run(methods=("lora", "cat", "clora"), concepts=("marivi", "tolbek"), seeds=range(5), pictures=False)
    info = json.loads((folder / "run.json").read_text())
    info["spec"]["seeds"] = list(range(5))
    info["methods"] = {"lora": {}, "cat": {}, "clora": {"reference": True}}
    (folder / "run.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def told(seeds: Path) -> tuple[Run, Summary, tuple[Comparison, ...]]:
    run = Run.open(seeds)
    summary = summarise(run)
    return run, summary, verdicts(run, summary)


def test_one_sentence_for_each_verdict() -> None:
    assert sentence(CAT) == "cat keeps more of the class than lora: +0.120 [0.080, 0.160], 10 replicates"
    worse = replace(CAT, effect=-0.01, low=-0.012, high=-0.008, verdict="worse")
    assert sentence(worse) == (
        "cat keeps less of the class than lora: −0.010 [−0.012, −0.008] (less than two scorings differ by), "
        "10 replicates"
    )
    same = replace(CAT, effect=0.001, low=-0.004, high=0.006, verdict="equivalent")
    assert sentence(same) == (
        "cat and lora are equivalent in KPS class, within ±0.020: +0.001 [−0.004, 0.006], 10 replicates"
    )
    open_ = replace(CAT, effect=0.01, low=-0.02, high=0.04, verdict="undecided", needed=7)
    assert sentence(open_) == (
        "undecided whether cat or lora keeps more of the class: +0.010 [−0.020, 0.040] (about 7 more needed), "
        "10 replicates"
    )
    bound = replace(CAT, method="joint", verdict=None, reason="a reference, not ranked")
    assert sentence(bound) == (
        "joint against lora in KPS class: +0.120 [0.080, 0.160], 10 replicates; no verdict: a reference, not ranked"
    )
    grid = Layout((((0, 0), (0, 1), (0, 2)), ((1, 0), (1, 1), (1, 2))))
    assert sentence(replace(CAT, n=6, layout=grid)).endswith("[0.080, 0.160], 6 cells of 2 orders × 3 seeds")
    assert sentence(replace(CAT, figure=KNOWN["clip_i_bwt"])).startswith("cat is better in clip_i_bwt than lora: ")


def test_all_methods_in_one_sentence_a_question() -> None:
    found = [
        CAT,
        replace(CAT, method="merge", effect=-0.1, low=-0.2, high=-0.05, verdict="worse"),
        replace(CAT, method="ortho", effect=0.01, low=-0.02, high=0.04, verdict="undecided"),
        replace(CAT, method="joint", verdict=None, reason="a reference, not ranked", ranked=False),
    ]
    assert sentences(found) == [
        "Keeps more of the class than lora: cat +0.120 [0.080, 0.160]; keeps less of the class than lora: merge −0.100 "
        "[−0.200, −0.050]; undecided who keeps more of the class, against lora: ortho +0.010 [−0.020, 0.040] (too "
        "small for any number); no verdict in KPS class, against lora: joint +0.120 [0.080, 0.160] (10 replicates)"
    ]
    assert sentences([CAT]) == [sentence(CAT)]
    found[3] = replace(found[3], n=5)
    assert sentences(found)[0].endswith("joint +0.120 [0.080, 0.160] (5 to 10 replicates)")


def test_too_few_replicates_are_one_line() -> None:
    three = replace(CAT, n=3, verdict=None, reason="fewer than 5 replicates", needed=2)
    assert few([three, replace(three, needed=4), replace(three, needed=None)]) == (
        "3 replicates are too few for verdicts, which begin at 5 (--replicates 5): effects only; to decide half of the "
        "questions, about 4 more are likely to be needed."
    )
    assert few([replace(three, n=1, low=None, high=None)]) == (
        "1 replicate is too few for verdicts, which begin at 5 (--replicates 5): effects only."
    )
    assert few([three, CAT]) is None and few([]) is None


def test_every_question_is_a_declared_figure_with_a_direction() -> None:
    assert set(QUESTIONS) <= set(KNOWN)
    assert all(KNOWN[name].direction is not None and len(set(asked(KNOWN[name]))) == 3 for name in QUESTIONS)


def test_the_table_has_every_comparison(told: tuple[Run, Summary, tuple[Comparison, ...]]) -> None:
    _, summary, found = told
    table = verdict_table(found, summary)
    assert table is not None and len(table.rows) == len(found) == 2 * len({c.figure.id for c in found})
    assert table.roles[:2] == ("method", "reference")
    line = dict(zip(table.columns, table.rows[[c.figure.id for c in found].index("kps_class")], strict=True))
    assert (line["method"].text, line["n"].text, line["verdict"].text, line["verdict"].mark) == (
        *("cat", "5", "better", "best"),
    )
    assert line["difference"].text.startswith("+") and line["for new concepts"].text == "–"
    text = verdict_page(found, summary)
    assert text.startswith("## Verdicts\n\n- ") and "\n| figure | method |" in text and table.note in text


def test_the_csv_has_every_number_and_its_checks(told: tuple[Run, Summary, tuple[Comparison, ...]]) -> None:
    run, _, found = told
    line = verdict_frame(found).set_index(["figure", "method"]).loc[("kps_class", "cat")]
    values = {c.method: [c for c in found if c.figure.id == "kps_class"] for c in found}["cat"][0].differences
    assert line["n"] == 5 and line["wins"] == line["wins_n"] == 5 and line["sign_flip_p"] == 2 / 2**5
    assert line["p"] == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)
    assert line["wins_low"] == pytest.approx(stats.binomtest(5, 5).proportion_ci().low)
    assert line["bootstrap_low"] < line["effect"] < line["bootstrap_high"]
    assert run.methods[0] == line["against"]


def test_the_forest_shows_what_has_an_interval(told: tuple[Run, Summary, tuple[Comparison, ...]]) -> None:
    run, _, found = told
    plot = forest(run, found)
    assert plot is not None and plot.title == "Differences from lora" and plot.svg.startswith("<?xml")
    assert forest(run, [replace(c, low=None, high=None) for c in found]) is None and forest(run, ()) is None
    wide = forest(run, [replace(c, margin=0.05) for c in found])
    assert wide is not None and wide.svg != plot.svg


def test_the_page_begins_with_the_verdicts(told: tuple[Run, Summary, tuple[Comparison, ...]], small_run: Path) -> None:
    run, summary, found = told
    html = page(run, summary, found, (), None)
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", html))
    assert html.index("Verdicts against lora") < html.index('<h2 id="summary">')
    assert "Keeps more of the class than lora: cat +" in text and 'id="table-verdicts"' in html
    turned = verdicts(run, summary, "cat")
    assert "Keeps less of the class than cat: lora −" in verdict_page(turned, summary)
    single = Run.open(small_run)
    summary = summarise(single)
    html = page(single, summary, verdicts(single, summary), (), None)
    assert "1 replicate is too few for verdicts" in html and 'id="table-verdicts"' not in html


def test_an_unknown_reference_is_a_one_line_error_and_writes_nothing(seeds: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"--reference cta: .* did you mean 'cat'\?"):
        write_report(seeds, tmp_path / "none", reference="cta")
    assert not (tmp_path / "none").exists()


def test_one_method_has_nothing_to_be_compared_with(told: tuple[Run, Summary, tuple[Comparison, ...]]) -> None:
    run, _, _ = told
    alone = replace(run, methods=("lora",), cells=run.of("lora"))
    summary = summarise(alone)
    assert verdicts(alone, summary) == ()
    assert "There is one method" in verdict_page((), summary) and verdict_table((), summary) is None
    assert verdict_frame(()).empty and "Verdicts against" not in page(alone, summary, (), (), None)
