"""Two runs compared: paired where they share noise, Welch's interval (by scipy) where they do not, and said."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cat_bench.benchmark.cli import main
from cat_bench.benchmark.studies.reference import check
from cat_bench.results.errors import ResultError
from cat_bench.results.records import packed
from cat_bench.results.records.packed import pack
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.between import between
from cat_bench.results.tables.sentences import sentence
from cat_bench.results.verdicts.comparison import compare, figure_of, values_of
from cat_bench.results.verdicts.verdict import holm

CONCEPTS = ("marivi", "tolbek", "sanora")
FIGURE = "clip_i_average"


@pytest.fixture(scope="module")
def runs(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of three methods and six replicates, and parts of it as runs of their own."""
    place = tmp_path_factory.mktemp("two")
    methods = ("lora", "cat", "clora")
    for r in range(6):
        run = make_run(methods=methods, concepts=CONCEPTS, orders=(r,), seeds=(r,), pictures=False)
        shutil.copytree(run, place / "whole", dirs_exist_ok=True)
    said(place / "whole", methods)
    for name, kept in {"ours": ("cat",), "theirs": ("lora", "clora")}.items():
        shutil.copytree(place / "whole", place / name)
        for other in set(methods) - set(kept):
            shutil.rmtree(place / name / other)
        said(place / name, kept)
    for name, gone in {"early": (3, 4, 5), "late": (0, 1)}.items():
        shutil.copytree(place / "whole", place / name)
        for r in gone:
            for cell in (place / name).glob(f"*/order{r}-seed{r}"):
                shutil.rmtree(cell)
    return {path.name: path for path in place.iterdir()}


def said(folder: Path, methods: tuple[str, ...], **changes: Any) -> None:
    info = json.loads((folder / "run.json").read_text())
    info["spec"] |= {"orders": [], "seeds": [], "methods": list(methods)}  # its cells are those that are found
    (folder / "run.json").write_text(json.dumps({**info, "protocol": "p1", **changes}))


def cells_of(folder: Path, method: str) -> np.ndarray:
    run = Run.open(folder)
    return np.array([value for value, _ in values_of(run, method, figure_of(run, FIGURE)).values()])


def test_replicates_of_two_runs_are_paired_as_if_they_were_one(runs: dict[str, Path]) -> None:
    (found,) = between(runs["ours"], runs["theirs"], ("mine", "base"), [FIGURE]).found
    (expected, _) = compare(Run.open(runs["whole"]), FIGURE)
    assert expected.method == "cat" and found.differences == expected.differences
    for name in ("n", "effect", "low", "high", "wide_low", "wide_high", "error", "df", "p", "margin", "apart"):
        assert getattr(found, name) == getattr(expected, name), name
    assert (found.method, found.against) == ("cat (mine)", "lora (base)")  # the other run's first
    assert sentence(found).startswith("cat (mine) ")
    assert found.holm_p == found.p  # it is the only one here


def test_what_both_runs_have_is_compared_with_itself(runs: dict[str, Path]) -> None:
    made = between(runs["early"], runs["whole"], ("a", "b"), [FIGURE])
    assert [(c.method, c.against) for c in made.found] == [(f"{m} (a)", f"{m} (b)") for m in ("lora", "cat", "clora")]
    assert all((c.n, c.effect, c.low, c.high, c.apart) == (3, 0.0, 0.0, 0.0, None) for c in made.found)
    assert any("Fewer than 5 replicates" in note for note in made.notes)


@pytest.mark.parametrize("other", ["late", "rescored"])
def test_without_shared_replicates_or_noise_the_interval_is_welchs(
    runs: dict[str, Path], tmp_path: Path, other: str
) -> None:
    if other == "late":  # the same protocol, and one replicate in common
        theirs, expected_note = runs["late"], "fewer than two orders and seeds are in common"
        shutil.copytree(runs["early"], tmp_path / "early")
        for r in (1,):
            shutil.rmtree(tmp_path / "early" / "cat" / f"order{r}-seed{r}")
        ours = tmp_path / "early"
    else:
        ours, theirs, expected_note = runs["early"], tmp_path / "rescored", "do not share the sampler"
        shutil.copytree(runs["whole"], theirs)
        spec = json.loads((theirs / "run.json").read_text())["spec"]
        said(theirs, ("lora", "cat", "clora"), protocol="p2", spec={**spec, "sampler": {"steps": 5}})
    made = between(ours, theirs, ("a", "b"), [FIGURE], "cat", "lora")
    (c,) = made.found
    one, two = cells_of(ours, "cat"), cells_of(theirs, "lora")
    expected = stats.ttest_ind(one, two, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert (c.effect, c.low, c.high) == pytest.approx((one.mean() - two.mean(), low, high), abs=1e-9)
    assert (c.p, c.df) == pytest.approx((expected.pvalue, expected.df))
    assert c.apart == (len(one), len(two)) and c.n == min(c.apart) and c.wide_low is None
    assert f"{len(one)} and {len(two)} replicates, not paired" in made.sentences[0]
    assert any(expected_note in note for note in made.notes)


def test_cells_of_orders_and_seeds_are_not_called_replicates(
    runs: dict[str, Path], make_run: Callable[..., Path]
) -> None:
    grid = make_run(methods=("lora",), concepts=CONCEPTS, orders=(7, 8), seeds=(0, 1), pictures=False)
    (made,) = between(runs["whole"], grid, ("a", "b"), [FIGURE], "cat", "lora").sentences
    assert made.endswith("6 and 4 cells, not paired; no verdict: fewer than 5 replicates")


def test_p_is_adjusted_for_the_methods_of_a_figure(runs: dict[str, Path]) -> None:
    found = between(runs["whole"], runs["theirs"], ("a", "b"), [FIGURE], to="clora").found
    mine = [c for c in found if c.p is not None]
    assert [c.holm_p for c in mine] == holm([c.p for c in mine])  # type: ignore[misc]
    both = between(runs["whole"], runs["theirs"], ("a", "b"), [FIGURE, "kps_class"], to="clora").found
    assert [c.holm_p for c in both if c.figure.id == FIGURE] == [c.holm_p for c in found]


def test_a_packed_run_is_compared_as_the_run_itself(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Run.open(runs["theirs"])
    pack(run.folder, run.info, run.cells, tmp_path / "faces5")
    whole = between(runs["ours"], runs["theirs"], ("mine", "base"))
    small = between(runs["ours"], tmp_path / "faces5", ("mine", "base"))
    assert whole.sentences == small.sentences and whole.table == small.table
    assert len(whole.found) == len({c.figure.id for c in whole.found}) > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "cta"}, r"--method cta: .* has no such method; did you mean 'cat'\?"),
        ({"to": "cat"}, r"--to cat: .* has no such method; there are: lora, clora"),
        ({"chosen": ["clip_i_averag"]}, r"has no figure 'clip_i_averag': did you mean 'clip_i_average'\?"),
    ],
)
def test_what_is_not_there_is_said(runs: dict[str, Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultError, match=message):
        between(runs["ours"], runs["theirs"], ("mine", "base"), **changes)


def test_the_command_says_it_in_sentences_and_a_table(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = runs["ours"].parent
    arguments = ["compare", "ours", "theirs", "--runs", str(place), "--figure", f"{FIGURE},kps_class"]
    monkeypatch.setattr(sys, "argv", ["cat-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    made = between(runs["ours"], runs["theirs"], ("ours", "theirs"), [FIGURE, "kps_class"])
    assert tuple(lines[:2]) == made.sentences
    assert lines[2].split()[:3] == ["figure", "method", "against"]
    assert lines[3].startswith("CLIP-I ↑") and "cat (ours)" in lines[3] and "lora (theirs)" in lines[3]
    assert lines[-len(made.notes) :] == list(made.notes)


def test_reference_results_that_do_not_ship_are_said(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packed, "SHIPPED", tmp_path)
    monkeypatch.setattr(sys, "argv", ["cat-bench", "compare", str(runs["ours"]), "--against", "reference"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2 and "no reference results of faces5 ship" in capsys.readouterr().err
    run = Run.open(runs["theirs"])
    pack(run.folder, run.info, run.cells, tmp_path / "faces5")
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code and "lora (reference)" in capsys.readouterr().out


def test_a_check_against_reference_results_refuses_another_protocol(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["whole"], tmp_path / "other")
    said(tmp_path / "other", ("lora", "cat", "clora"), protocol="p2", computed={"precision": "bf16"})
    reference, other = Run.open(runs["whole"]), Run.open(tmp_path / "other")
    with pytest.raises(ResultError, match="is of another protocol: precision changed since"):
        list(check.held(reference, other, "lora"))
    found = list(check.held(reference, Run.open(runs["early"]), "lora"))
    assert len(found) > 20 and not any(one.moved for one in found)
    assert not {one.figure.id for one in found} & {"seconds_train", "peak_memory_bytes"}
    with pytest.raises(ResultError, match=r"has no method ortho; there are: lora, cat, clora"):
        check.spec_of(reference, "ortho", 1)


def test_two_folders_of_one_name_are_called_by_what_tells_them_apart() -> None:
    assert main._apart(Path("/a/old/faces5"), Path("/b/new/faces5")) == ("old/faces5", "new/faces5")
    assert main._apart(Path("/a/one"), Path("/a/two")) == ("one", "two")
    assert main._apart(Path("/faces5"), Path("/x/faces5")) == ("/faces5", "x/faces5")


def test_a_run_is_called_by_its_folder_from_inside_of_it_as_well(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs["whole"])
    monkeypatch.setattr(packed, "SHIPPED", runs["whole"].parent)
    monkeypatch.setattr(packed, "reference_folder", lambda sequence: runs["theirs"])
    assert main._two_runs(".", None, "reference", Path("nowhere"))[2] == ("whole", "reference")
