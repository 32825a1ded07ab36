"""Claims: declared of figures and methods that there are, decided by the intervals alone, written without PyTorch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cat_bench.benchmark.studies.claims import judged, page
from cat_bench.benchmark.studies.claims.declared import CHANGE, CLAIMS, PAPERS, Claim
from cat_bench.benchmark.studies.claims.judged import LAST_TO_FIRST, Finding, Verdict, findings, verdict_of
from cat_bench.methods.registry import methods
from cat_bench.results.errors import ResultError
from cat_bench.results.measures.figures import figures
from cat_bench.results.measures.subjects import Subject
from cat_bench.results.records.packed import pack
from cat_bench.results.records.run_folder import Run

CONCEPTS = ("marivi", "tolbek", "sanora")
MARGIN = 0.01


@pytest.fixture(scope="module")
def folder(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four methods, six replicates."""
    folder = tmp_path_factory.mktemp("claims") / "faces5"
    names = ("lora", "cat", "clora", "merge")
    for r in range(6):
        run = make_run(methods=names, concepts=CONCEPTS, orders=(r,), seeds=(r,), pictures=False)
        shutil.copytree(run, folder, dirs_exist_ok=True)
    info = json.loads((folder / "run.json").read_text())
    info["spec"] |= {"orders": [], "seeds": []}  # its cells are those that are found
    (folder / "run.json").write_text(json.dumps(info))
    return folder


def test_every_claim_is_of_a_figure_and_of_methods_that_there_are() -> None:
    known = {figure.id: figure for figure in figures(("class", "other"))}
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS) > 12
    assert {claim.paper for claim in CLAIMS} == set(PAPERS)
    for claim in CLAIMS:
        assert claim.figure in known or claim.figure == CHANGE, claim.id
        assert {claim.method, *claim.against} <= set(methods.names()) and claim.method not in claim.against
        assert claim.direction != "not lower" or known[claim.figure].direction == "higher"
        assert claim.text.endswith(".") and (not claim.reading or claim.reading.endswith("."))


def decided(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    differences: list[float],
    direction: str,
    figure: str = "clip_i_average",
    margin: float | None = MARGIN,
) -> Finding:
    """A claim of cat against lora where their figures differ by so much, replicate by replicate."""
    base = {"lora": 0.5, "cat": 0.5}

    def values(run: Run, method: str, figure: object) -> dict[tuple[int, int], tuple[float, np.ndarray]]:
        more = differences if method == "cat" else [0.0] * len(differences)
        return {(r, r): (base[method] + d, np.full(3, base[method] + d)) for r, d in enumerate(more)}

    monkeypatch.setattr(judged, "values_of", values)
    monkeypatch.setattr(judged, "margin", lambda run, figure: margin)
    claim = Claim("c", "cat", "Text.", figure, "cat", ("lora",), direction)  # type: ignore[arg-type]
    (found,) = findings(Run.open(folder), claim)
    return found


def spread(mean: float, sd: float, n: int = 6) -> list[float]:
    d = np.random.default_rng(1).normal(size=n)
    return list(mean + sd * (d - d.mean()) / d.std(ddof=1))


@pytest.mark.parametrize(
    ("mean", "sd", "direction", "verdict", "why"),
    [
        (0.1, 0.05, "higher", "supported", "the interval lies above 0"),
        (0.1, 0.05, "lower", "contradicted", "the other way round"),
        (-0.1, 0.05, "lower", "supported", "the interval lies below 0"),
        (0.005, 0.001, "higher", "supported", "though by less than two scorings of the same adapters differ"),
        (0.0, 0.005, "higher", "contradicted", "no difference beyond ±0.010, the noise of scoring"),
        (0.03, 0.05, "higher", "undecided", "the interval has 0 in it; about"),
        (0.0, 0.005, "not lower", "supported", "there is no loss beyond ±0.010"),
        (-0.004, 0.001, "not lower", "supported", "there is no loss beyond ±0.010"),
        (0.1, 0.05, "not lower", "supported", "there is no loss"),
        (-0.1, 0.05, "not lower", "contradicted", "something is lost"),
        (0.02, 0.05, "not lower", "undecided", "a loss of more than 0.010 cannot be ruled out; about 18 more"),
        (-0.02, 0.05, "not lower", "undecided", "cannot be ruled out, and no smaller one was seen; about"),
    ],
)
def test_a_comparison_is_decided_by_its_interval(
    monkeypatch: pytest.MonkeyPatch, folder: Path, mean: float, sd: float, direction: str, verdict: Verdict, why: str
) -> None:
    found = decided(monkeypatch, folder, spread(mean, sd), direction)
    assert found.verdict == verdict and why in found.why
    low, high = stats.ttest_1samp(spread(mean, sd), 0).confidence_interval(0.95)
    assert found.compared is not None and (found.compared.low, found.compared.high) == pytest.approx((low, high))


def test_what_rules_out_a_loss_is_counted_from_the_margin() -> None:
    """0.02 seen, a loss of 0.01 to be ruled out: 0.03 is to be found, of a standard deviation of 0.05."""

    def power(n: int) -> float:
        return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.6 * n**0.5))

    assert power(24) >= 0.8 > power(23)  # 18 more than six


def test_where_lower_is_better_the_claim_still_says_which_way(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for mean, verdict in ((-0.1, "supported"), (0.1, "contradicted")):
        assert decided(monkeypatch, folder, spread(mean, 0.02), "lower", "clip_i_forgetting").verdict == verdict


def test_few_replicates_and_no_margin_decide_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    found = decided(monkeypatch, folder, spread(0.1, 0.01, 4), "higher")
    assert found.verdict == "undecided" and found.why == (
        "4 replicates are too few for a verdict, about 1 more are likely needed"
    )
    assert decided(monkeypatch, folder, spread(0.0, 0.005), "higher", margin=None).verdict == "undecided"
    assert "is too small for any number" in decided(monkeypatch, folder, spread(0.0, 0.9), "higher", margin=None).why


def test_a_claim_of_several_needs_all_of_them_and_p_is_adjusted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def of(*verdicts: Verdict) -> Verdict:
        return verdict_of([Finding("a", "b", verdict, "") for verdict in verdicts])

    assert of("supported", "supported") == "supported" and of("supported", "undecided") == "undecided"
    assert of("supported", "contradicted", "undecided") == "contradicted"
    claim = next(claim for claim in CLAIMS if claim.id == "magmax-least")
    assert [(one.verdict, one.why) for one in findings(Run.open(folder), claim)] == [
        ("undecided", "the run has no magmax")
    ] * 3
    claim = Claim("c", "cat", "Text.", "clip_i_average", "cat", ("lora", "dreambooth", "clora"), "higher")
    lora, absent, clora = findings(Run.open(folder), claim)
    assert absent.why == "the run has no dreambooth" and absent.compared is None
    assert lora.compared is not None and clora.compared is not None
    p = [lora.compared.p, clora.compared.p]
    assert [lora.compared.holm_p, clora.compared.holm_p] == [
        pytest.approx(max(min(1.0, (2 if x == min(p) else 1) * x), min(1.0, 2 * min(p)))) for x in p
    ]


def test_the_last_change_is_a_share_of_the_first(folder: Path) -> None:
    run = Run.open(folder)
    assert LAST_TO_FIRST.compute(Subject.of(run, run.cells[0])) == (1.0, None)  # all of size 1.5
    claim = next(claim for claim in CLAIMS if claim.figure == CHANGE)
    (found,) = findings(run, claim)
    assert found.verdict == "undecided" and found.compared is not None and found.compared.effect == 0.0


def test_the_page_is_the_same_of_the_packed_run_and_needs_no_torch(folder: Path, tmp_path: Path) -> None:
    run = Run.open(folder)
    expected = page.page({"faces5": run})
    for claim in CLAIMS:
        assert f"### `{claim.id}`: {claim.text}" in expected and f"| {claim.text} |" in expected
    assert "`faces5` on `avatars64.v2`, 6 cells of each method" in expected
    assert "| faces5 | `cat` − `dreambooth` | – | – | undecided | the run has no dreambooth |" in expected
    assert "6 replicates |" in expected
    pack(folder, run.info, run.cells, tmp_path / "faces5")
    code = (
        "import sys; from pathlib import Path; from cat_bench.benchmark.studies.claims.page import main; "
        "main([Path(sys.argv[1])], Path(sys.argv[2])); assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "faces5"), str(tmp_path / "claims.md")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "claims.md").read_text() == expected


def test_what_cannot_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "SHIPPED", tmp_path)
    with pytest.raises(ResultError, match="no reference results in"):
        page.opened([])
    with pytest.raises(ResultError, match="two of the folders are called faces5"):
        page.opened([folder, folder])
    with pytest.raises(ResultError, match="there is no run at"):
        page.opened([tmp_path / "nothing"])
