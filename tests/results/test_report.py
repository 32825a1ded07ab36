"""The report as a whole: all files, repeatable to the byte, self-contained, and honest about what is missing."""

import io
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cat_bench.results.errors import ResultError
from cat_bench.results.pictures import tradeoffs
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report.report import ReportPaths, _remove_others, write_report
from cat_bench.results.tables.summary import summarise


@pytest.fixture(scope="module")
def report(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    return write_report(small_run, tmp_path_factory.mktemp("report"))


def test_everything_is_there(report: ReportPaths) -> None:
    names = {str(path.relative_to(report.folder)) for path in report.folder.rglob("*") if path.is_file()}
    assert {"report.html", "scores.parquet", "scores.csv", "stages.csv"} <= names
    assert {"summary.csv", "summary.md", "summary.tex", "R-clip_i.csv", "R-mmd.csv"} <= names
    assert {"verdicts.csv", "verdicts.md", "verdicts.tex"} <= names
    for plot in (
        "curves-clip_i",
        "heatmap-concept_accuracy",
        "plasticity-forgetting",
        "kps-fidelity",
        "kps",
        "cost",
        "confusion",
    ):
        assert {f"plots/{plot}.svg", f"plots/{plot}.png"} <= names
    assert {"grids/grid-comparison.png", "grids/grid-lora.png", "grids/grid-cat.png"} <= names


def test_twice_is_byte_identical_and_stale_pictures_go(report: ReportPaths, small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "grid-gone.png").write_bytes(b"of an earlier report")
    (tmp_path / "R-dino_i.csv").write_bytes(b"of an earlier report")
    (tmp_path / "report.html").write_bytes(b"of an earlier report")
    again = write_report(small_run, tmp_path)
    first = {p.relative_to(report.folder): p.read_bytes() for p in report.folder.rglob("*") if p.is_file()}
    second = {p.relative_to(again.folder): p.read_bytes() for p in again.folder.rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_a_report_goes_where_nothing_of_others_is(small_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "summary.csv").write_text("mine")
    (tmp_path / "file").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, says in (
        (run, "is a part of the run"),
        (run / "base", "is a part of the run"),
        (tmp_path / "thesis", "holds other files"),
        (tmp_path / "file", "is a file"),
    ):
        with pytest.raises(ResultError, match=says):
            write_report(run, out)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_files_of_others_in_the_folder_stay(report: ReportPaths, small_run: Path, tmp_path: Path) -> None:
    theirs = {tmp_path / name for name in ("plots/photo.png", "plots/my-curves.svg", "grids/mine.png", "R-code.csv")}
    ours = {tmp_path / p.relative_to(report.folder) for p in (*report.plots, *report.grids, *report.matrices)}
    for path in (*theirs, *ours):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of before")
    _remove_others(tmp_path, ())
    assert all(path.exists() for path in theirs)
    assert not [path for path in ours if path.exists()], "whatever a report writes, a later one takes away"


def test_page_is_self_contained_and_says_what_failed(report: ReportPaths) -> None:
    page = report.html.read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [link for link in links if not link.startswith(("data:image/png;base64,", "data:,", "#"))] == []
    assert "@import" not in page and "default-src 'none'" in page
    urls = re.findall(r"url\(([^#)][^)]{15})", page)
    assert urls and set(urls) == {"data:image/webp;"}
    assert "cat, order 0, seed 1: oom, 1 of 3 stages finished: out of memory at step 12" in page
    for words in (
        "floor: base model",
        "ceiling: real images",
        "Chaudhry",
        "prefers-color-scheme",
        "@media print",
        "abc123",
    ):
        assert words in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r"url\(#([^)]+)\)", page):
        assert target in ids


def test_tables_that_mix_versions_or_gpus_say_so(report: ReportPaths, small_run: Path, tmp_path: Path) -> None:
    assert "not made alike" not in report.html.read_text(encoding="utf-8")
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    path = folder / "lora" / "order0-seed0" / "02-tolbek" / "stage.json"
    info = json.loads(path.read_text())
    info["made"]["sample"] = {"torch": "2.15.0", "gpu": "NVIDIA H100"}
    path.write_text(json.dumps(info))
    paths = write_report(folder)
    line = "torch: 2.14.1 made cat, lora; 2.15.0 made lora"
    assert "not made alike" in paths.html.read_text(encoding="utf-8") and line in paths.html.read_text(encoding="utf-8")
    assert f"- {line}\n- gpu: NVIDIA H100 made lora; none made cat, lora" in paths.summary[1].read_text(
        encoding="utf-8"
    )


def test_pictures_are_valid(report: ReportPaths) -> None:
    for path in (*report.plots, *report.grids):
        if path.suffix == ".svg":
            ElementTree.fromstring(path.read_text(encoding="utf-8"))
        else:
            with Image.open(path) as image:
                assert np.asarray(image.convert("L")).std() > 5


def test_matrix_csv_is_the_long_table_averaged(report: ReportPaths) -> None:
    scores, table = pd.read_csv(report.scores[1]), pd.read_csv(report.folder / "R-clip_i.csv")
    line = table[(table["method"] == "lora") & (table["seed"] == 1) & (table["stage"] == 2)].iloc[0]
    rows = scores.query("method == 'lora' and seed == 1 and stage == 2 and metric == 'clip_i' and concept == 'marivi'")
    assert line["marivi"] == pytest.approx(rows["value"].mean())
    assert pd.isna(line["sanora"])


def test_grid_enlarges_without_smoothing(report: ReportPaths, small_run: Path) -> None:
    run = Run.open(small_run)
    stored = run.of("lora")[0].stages[0].image("marivi")
    assert stored is not None
    with (
        Image.open(io.BytesIO(stored.read_bytes())) as small,
        Image.open(report.folder / "grids" / "grid-lora.png") as grid,
    ):
        tile = np.asarray(small.convert("RGB").resize((128, 128), Image.Resampling.NEAREST))
        sheet = np.asarray(grid.convert("RGB"))
    left = sheet.shape[1] - (3 * 134 + 6) + 6
    assert (sheet[42 + 2 * 134 : 42 + 2 * 134 + 128, left : left + 128] == tile).all()


def test_orders_strangers_and_a_run_without_pictures(make_run: Callable[..., Path]) -> None:
    methods, concepts = ("lora", "my_method"), ("marivi", "tolbek", "sanora")
    paths = write_report(make_run(methods=methods, concepts=concepts, orders=(0, 1), pictures=False))
    assert "my_method" in paths.html.read_text(encoding="utf-8")


def test_a_second_opinion_has_matrix_plots_and_its_extractor(
    make_run: Callable[..., Path], report: ReportPaths
) -> None:
    paths = write_report(make_run(methods=("lora",), concepts=("marivi", "tolbek"), pictures=False, dino=True))
    names = {path.name for path in (*paths.matrices, *paths.plots)}
    assert {"R-dino_i.csv", "curves-dino_i.svg", "heatmap-dino_i.svg"} <= names
    page = paths.html.read_text(encoding="utf-8")
    assert "<td>owner/dino</td>" in page and "<td>eye</td>" in page
    assert set(pd.read_csv(paths.scores[1])["extractor"]) == {"eye", "owner/dino"}
    elsewhere = report.html.read_text(encoding="utf-8")
    assert "<td>eye</td>" in elsewhere and "dino" not in elsewhere.lower()
    assert not [path for path in (*report.matrices, *report.plots) if "dino" in path.name]


def test_one_drawn_metric_is_enough(make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(make_run(methods=("lora", "cat"), concepts=("marivi", "tolbek"), pictures=False))
    monkeypatch.setattr(tradeoffs, "drawn_metrics", lambda run: ("clip_i",))
    shown = summarise(run)
    assert tradeoffs.plasticity_forgetting(run, shown) and tradeoffs.preservation_fidelity(run, shown)


def test_base_alone_gives_a_report(small_run: Path, tmp_path: Path) -> None:
    for name in ("base", "references"):
        shutil.copytree(small_run / name, tmp_path / "run" / name)
    shutil.copy(small_run / "run.json", tmp_path / "run" / "run.json")
    paths = write_report(tmp_path / "run")
    page = paths.html.read_text(encoding="utf-8")
    assert "nothing to plot" in page
    assert "4 of 4 cells give no figures" in page
