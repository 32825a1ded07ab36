"""Methods compared by replicate: which cells belong together, and figures recomputed from the rows by numpy alone."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cat_bench.benchmark.studies.statistics.page import of_run, pools_of
from cat_bench.results.errors import ResultError
from cat_bench.results.measures.figures import figures
from cat_bench.results.measures.subjects import Subject
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.answers import answers
from cat_bench.results.tables.sentences import few
from cat_bench.results.tables.summary import summarise
from cat_bench.results.verdicts import comparison
from cat_bench.results.verdicts.comparison import compare
from cat_bench.results.verdicts.layout import layout
from cat_bench.results.verdicts.margins import margin

METHODS = ("lora", "cat", "clora")
CONCEPTS = ("marivi", "tolbek", "sanora")


@pytest.fixture(scope="module")
def replicates(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, six replicates: order r with seed r."""
    folder = tmp_path_factory.mktemp("replicates") / "faces5"
    for r in range(6):
        run = make_run(methods=METHODS, concepts=CONCEPTS, orders=(r,), seeds=(r,), pictures=False)
        shutil.copytree(run, folder, dirs_exist_ok=True)
    info = json.loads((folder / "run.json").read_text())
    info["spec"] |= {"orders": [], "seeds": []}  # its cells are those that are found
    (folder / "run.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def crossed(make_run: Callable[..., Path]) -> Path:
    """Two methods, two orders with three seeds each."""
    return make_run(methods=METHODS[:2], concepts=CONCEPTS, orders=(0, 1), seeds=(0, 1, 2), pictures=False)


def t_quantile(df: float) -> float:
    """97.5 % of Student's t by bisection over its density, integrated with Gauss and Legendre's 200 nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)

    def half_mass(t: float) -> float:
        # x = tan(u): no tail is left out
        u = math.atan(t) * (nodes + 1) / 2
        density = scale * (1 + np.tan(u) ** 2 / df) ** (-(df + 1) / 2) / np.cos(u) ** 2
        return float((weights * density).sum() * math.atan(t) / 2)

    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if half_mass(middle) < 0.475 else (low, middle)
    return low


def rows_of(folder: Path) -> dict[tuple[str, int, int], pd.DataFrame]:
    """The rows of each cell as they lie on disk."""
    found = {}
    for cell in folder.glob("*/order*-seed*"):
        order, seed = (
            int(part[len(name) :]) for part, name in zip(cell.name.split("-"), ("order", "seed"), strict=True)
        )
        tables = [pd.read_parquet(path) for path in sorted(cell.glob("*/scores.parquet"))]
        found[cell.parent.name, order, seed] = pd.concat(tables, ignore_index=True)
    return found


def matrix(rows: pd.DataFrame, metric: str) -> tuple[np.ndarray, list[str]]:
    """R[t, k] for t, k from 1 by loops, and the concepts in the order of learning."""
    metrics, stage, concept, value = (rows[name].to_numpy() for name in ("metric", "stage", "concept", "value"))
    learned = [
        next(c for c in concept[(stage == t) & (metrics == metric)] if not np.isin(c, concept[stage < t]))
        for t in range(1, stage.max() + 1)
    ]
    R = np.full((len(learned), len(learned)), np.nan)
    for t in range(len(learned)):
        for k in range(t + 1):
            R[t, k] = value[(metrics == metric) & (stage == t + 1) & (concept == learned[k])].mean()
    return R, learned


def average(rows: pd.DataFrame) -> dict[str, float]:
    R, learned = matrix(rows, "clip_i")
    return dict(zip(learned, R[-1], strict=True))


def forgetting(rows: pd.DataFrame) -> dict[str, float]:
    R, learned = matrix(rows, "clip_i")
    return {c: max(R[t, k] for t in range(k, len(R) - 1)) - R[-1, k] for k, c in enumerate(learned[:-1])}


def kept(rows: pd.DataFrame) -> dict[str, float]:
    last = rows[(rows["metric"] == "kps") & (rows["stage"] == rows["stage"].max()) & (rows["concept"] == "class")]
    return {"class": float(last["value"].to_numpy().mean())}


@pytest.mark.parametrize(
    ("figure", "by_hand"), [("clip_i_average", average), ("clip_i_forgetting", forgetting), ("kps_class", kept)]
)
def test_figures_and_intervals_are_those_of_the_rows(
    replicates: Path, figure: str, by_hand: Callable[[pd.DataFrame], dict[str, float]]
) -> None:
    rows, found = rows_of(replicates), compare(Run.open(replicates), figure)
    assert [c.method for c in found] == ["cat", "clora"]
    for c in found:
        values = {m: [np.mean(list(by_hand(rows[m, r, r]).values())) for r in range(6)] for m in (c.method, "lora")}
        d = np.array(values[c.method]) - np.array(values["lora"])
        half = t_quantile(5) * math.sqrt(((d - d.mean()) ** 2).sum() / 5 / 6)
        expected = (d.mean(), d.mean() - half, d.mean() + half)
        assert (c.effect, c.low, c.high) == pytest.approx(expected, abs=1e-9)
        assert (c.n, c.df, c.against, c.layout.crossed) == (6, 5.0, "lora", False)
        if by_hand is kept:
            assert c.wide_low is None and c.wide_high is None
        else:
            assert c.wide_low <= c.low and c.high <= c.wide_high


def test_two_ways_are_those_of_the_rows(crossed: Path) -> None:
    rows, (c,) = rows_of(crossed), compare(Run.open(crossed), "clip_i_average")
    value = {key: np.mean(list(average(table).values())) for key, table in rows.items()}
    d = np.array([[value["cat", o, s] - value["lora", o, s] for s in range(3)] for o in range(2)])
    of_order, of_seed, mean = d.mean(axis=1), d.mean(axis=0), d.mean()
    orders, seeds = 3 * ((of_order - mean) ** 2).sum() / 1, 2 * ((of_seed - mean) ** 2).sum() / 2
    rest = ((d - of_order[:, None] - of_seed + mean) ** 2).sum() / 2
    total = max(orders + seeds - rest, rest)
    df = max(total**2 / (orders**2 / 1 + seeds**2 / 2 + rest**2 / 2), 1)
    half = t_quantile(df) * math.sqrt(total / 6)
    assert (c.effect, c.low, c.high, c.df) == pytest.approx((mean, mean - half, mean + half, df), abs=1e-9)
    assert c.layout.crossed and c.n == 6 and c.wide_high >= c.high


def test_the_interval_for_new_concepts_is_that_of_the_rows(replicates: Path) -> None:
    rows, c = rows_of(replicates), compare(Run.open(replicates), "clip_i_average")[0]
    names = CONCEPTS
    of = {m: np.array([[average(rows[m, r, r])[k] for k in names] for r in range(6)]) for m in ("cat", "lora")}
    d = of["cat"] - of["lora"]
    mean, replicate, concept = d.mean(), d.mean(axis=1), d.mean(axis=0)
    a, b = 3 * ((replicate - mean) ** 2).sum() / 5, 6 * ((concept - mean) ** 2).sum() / 2
    e = ((d - replicate[:, None] - concept + mean) ** 2).sum() / 10
    more = max(b - e, 0.0)
    df = max((a + more) ** 2 / (a**2 / 5 + ((b**2 / 2 + e**2 / 10) if more else 0.0)), 2)
    half = max(t_quantile(df) * math.sqrt((a + more) / 18), t_quantile(5) * math.sqrt(a / 18))
    assert (c.wide_low, c.wide_high) == pytest.approx((mean - half, mean + half), abs=1e-9)


def test_terms_average_to_the_figure(replicates: Path) -> None:
    run = Run.open(replicates)
    subject, declared = Subject.of(run, run.cells[0]), figures()
    with_terms = [f for f in declared if f.by_concept is not None]
    assert {"clip_i_average", "clip_i_forgetting", "concept_accuracy_bwt", "a_mmd", "f_mmd"} <= {
        f.id for f in with_terms
    }
    for figure in with_terms:
        assert figure.by_concept is not None
        value, terms = figure.compute(subject)[0], list(figure.by_concept(subject).values())
        assert np.mean(terms) == pytest.approx(value, nan_ok=True)


def test_verdicts_by_direction_and_adjusted_for_their_number(replicates: Path) -> None:
    run = Run.open(replicates)
    better, worse = compare(run, "kps_class"), compare(run, "clip_i_average")
    assert [c.verdict for c in better] == ["better", "better"] and better[0].effect > 0
    assert worse[1].verdict == "worse", "C-LoRA draws less of what the concepts have"
    forgets = compare(run, "clip_i_forgetting")[1]
    assert forgets.verdict == "better" and forgets.effect < 0, "less is better"
    for found in (better, worse):
        raw = sorted(c.p for c in found)
        assert sorted(c.holm_p for c in found) == pytest.approx([2 * raw[0], max(2 * raw[0], raw[1])])
    against = compare(run, "kps_class", "cat")
    assert [c.method for c in against] == ["lora", "clora"]
    assert against[0].effect == pytest.approx(-better[0].effect) and against[0].verdict == "worse"


def test_references_are_compared_and_not_ranked(replicates: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(replicates, tmp_path / "run"))
    info = json.loads((folder / "run.json").read_text())
    info["methods"] = {"lora": {}, "cat": {"reference": True}, "clora": {"reference": False}}
    (folder / "run.json").write_text(json.dumps(info))
    cat, clora = compare(Run.open(folder), "kps_class")
    assert (cat.verdict, cat.reason, cat.holm_p) == (None, "a reference, not ranked", None) and cat.low > 0
    assert clora.verdict == "better" and clora.holm_p == clora.p, "one comparison is left"
    del info["methods"]["cat"]
    info["earlier_methods"] = {"cat": {"reference": True}}  # the run went on without it
    (folder / "run.json").write_text(json.dumps(info))
    run = Run.open(folder)
    again = [(c.method, c.verdict, c.reason, c.holm_p) for c in compare(run, "kps_class")]
    assert again == [(c.method, c.verdict, c.reason, c.holm_p) for c in (cat, clora)]
    assert {row.name: row.role for row in summarise(run).learning} == {
        "lora": "method",
        "clora": "method",
        "cat": "reference",
    }


def test_a_method_without_a_finished_cell_takes_no_word_from_the_others(replicates: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(replicates, tmp_path / "run"))
    for cell in folder.glob("cat/*/cell.json"):
        cell.write_text(json.dumps({"status": "failed", "reason": "no luck"}))
    info = json.loads((folder / "run.json").read_text())
    info["spec"] |= {"until_decided": 12}
    (folder / "run.json").write_text(json.dumps(info))
    run = Run.open(folder)
    failed, clora = compare(run, "clip_t_average")
    assert failed.n == 0 and failed.always and failed.margin == clora.margin
    (answer,) = answers([failed, replace(clora, ranked=False, verdict=None)])
    assert [part[:2] for part in answer.parts] == [("none", "no verdict")]
    (answer,) = answers([failed, clora])
    assert ("none", "no verdict") in [part[:2] for part in answer.parts]
    assert few(compare(run, "clip_t_average", "cat")) == (
        "Nothing can be compared: cat and another method have no order and seed in common yet."
    )


def test_few_replicates_have_effects_and_no_verdict(small_run: Path, crossed: Path, replicates: Path) -> None:
    (one,) = compare(Run.open(small_run), "kps_class")
    assert (one.n, one.low, one.p, one.verdict, one.needed) == (1, None, None, None, 4) and one.effect is not None
    run = Run.open(replicates)
    few = replace(run, cells=tuple(cell for cell in run.cells if cell.seed < 3))
    for c in compare(few, "kps_class"):
        assert (c.n, c.verdict, c.reason) == (3, None, "fewer than 5 replicates")
        assert c.low is not None and c.needed is not None and c.needed >= 2
    gone = replace(run, cells=tuple(cell for cell in run.cells if cell.method != "cat" or cell.seed > 9))
    none = compare(gone, "kps_class")[0]
    assert (none.n, none.effect, none.verdict) == (0, None, None) and none.reason is not None
    assert compare(Run.open(crossed), "kps_class")[0].n == 6


def test_the_margin_is_the_noise_of_two_scorings(replicates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, known = Run.open(replicates), {f.id: f for f in figures(("class",))}
    assert margin(run, known["clip_i_average"]) is None, "nobody measured the noise of this judge"
    floors = {"clip_i": 0.03, "kps": 0.03}
    monkeypatch.setattr("cat_bench.results.verdicts.margins.noise_floor", lambda metric, model: floors.get(metric))
    assert margin(run, known["clip_i_average"]) == pytest.approx(0.03 * math.sqrt(2 / 3)), "of three concepts"
    assert margin(run, known["kps_class"]) == pytest.approx(0.03 * math.sqrt(2))
    assert margin(run, known["clip_i_retention"]) is margin(run, known["seconds_train"]) is None
    assert compare(run, "kps_class")[0].margin == pytest.approx(0.03 * math.sqrt(2))


def test_unknown_names_are_one_line_errors(replicates: Path) -> None:
    run = Run.open(replicates)
    with pytest.raises(ResultError, match=r"no figure 'kps_clas': did you mean 'kps_class'\?"):
        compare(run, "kps_clas")
    with pytest.raises(ResultError, match=r"--reference loro: .* has no such method; did you mean 'lora'\?"):
        compare(run, "kps_class", "loro")


def test_ties_are_what_the_paired_interval_does_not_tell_apart(replicates: Path) -> None:
    run = Run.open(replicates)
    summary = summarise(run)
    for name in ("kps_class", "clip_i_average", "clip_i_forgetting"):
        marks = summary.best(summary.figure(name))
        best = next((method for method, mark in marks.items() if mark == "best"), None)
        if best is None:
            continue
        for c in compare(run, name, best):
            assert (marks.get(c.method) == "tie") == (c.low <= 0 <= c.high)


def test_a_runs_own_spread_says_how_many_it_needs(replicates: Path) -> None:
    run = Run.open(replicates)
    assert pools_of(run) == {}  # six cells are not two of five
    lines = list(of_run(run, 200))
    line = next(line for line in lines if line.startswith("| kps_class |")).split("|")
    sds = [np.std(c.differences, ddof=1) for c in compare(run, "kps_class")]
    assert float(line[2]) == pytest.approx(np.median(sds), abs=1e-3)
    assert sum(line.startswith("| cat − lora, ") for line in lines) == 4


def test_which_cells_belong_together() -> None:
    drawn = layout([(0, 0), (1, 1), (2, 2)])
    assert not drawn.crossed and drawn.keys == ((0, 0), (1, 1), (2, 2))
    for line in ([(0, 0), (0, 1), (0, 2)], [(0, 0), (1, 0), (2, 0)]):
        assert layout(line).grid == (tuple(line),)
    grid = [(o, s) for o in (0, 3) for s in (1, 2, 5)]
    assert layout(grid).grid == (((0, 1), (0, 2), (0, 5)), ((3, 1), (3, 2), (3, 5)))
    lost = layout(grid[:-1])
    assert lost.crossed and lost.keys == ((0, 1), (0, 2), (3, 1), (3, 2)) and lost.left_out == 1
    more = layout([*((r, r) for r in range(6)), (0, 1)])
    assert not more.crossed and more.keys == tuple((r, r) for r in range(6)) and more.left_out == 1
    assert layout([(2, 7)]).keys == ((2, 7),) and layout([]).keys == ()
    after = layout([*((0, s) for s in range(5)), *((r, r) for r in range(1, 5))])  # seeds first, replicates later
    assert after.keys == tuple((r, r) for r in range(5)) and after.left_out == 4
    more = layout([*((0, s) for s in range(8)), *((r, r) for r in range(1, 5))])
    assert more.keys == after.keys and more.left_out == 7, "five are enough for a verdict"
    few = layout([*((0, s) for s in range(8)), *((r, r) for r in range(1, 4))])
    assert few.keys == tuple((0, s) for s in range(8)) and few.left_out == 3


def test_what_only_the_last_bits_tell_apart_is_no_difference() -> None:
    ours, theirs = {(0, 0): 0.1 + 0.2, (1, 1): 0.7}, {(0, 0): 0.3, (1, 1): 0.7, (2, 2): 0.1}
    assert comparison.paired_differences(ours, theirs) == {(0, 0): 0.0, (1, 1): 0.0}
