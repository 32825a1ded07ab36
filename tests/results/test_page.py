"""What a page is made of: images once and within their size, answers in order, variants beside their parents, bands."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cat_bench.results.measures.figures import figures
from cat_bench.results.pictures.curves import mean_half
from cat_bench.results.pictures.style import looks
from cat_bench.results.records.labels import parent, settings, together
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report import tiles
from cat_bench.results.report.report import shown_cells, write_report
from cat_bench.results.report.tiles import Squares, Tiles, coded, spread
from cat_bench.results.tables.answers import ablations, answers, glance
from cat_bench.results.tables.formats import latex
from cat_bench.results.tables.sentences import number
from cat_bench.results.tables.summary import summarise
from cat_bench.results.tables.verdicts import verdicts
from cat_bench.results.verdicts.comparison import Comparison, compare
from cat_bench.results.verdicts.layout import Layout

KNOWN = {f.id: f for f in figures(("class", "other"))}
DRAWN = Layout((tuple((r, r) for r in range(10)),))


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Run:
    return Run.open(
        make_run(methods=("lora", "cat", "merge", "cat[weight=0]"), concepts=("marivi", "tolbek", "sanora"))
    )


def test_each_image_is_there_once_and_exact(run: Run) -> None:
    found = Tiles.of(run, shown_cells(run))
    assert found is not None and found.side == 16 and found.stages == (1, 2, 3) and len(found.sheets) == 1
    cell, sheet = found.cells[1], found.sheets[0][1]
    picture = np.asarray(opened(sheet.uri).convert("RGB"))
    assert picture.shape == (48, 48, 3) and opened(sheet.uri).format == "WEBP"
    stored = cell.stages[2].image("tolbek")
    assert stored is not None
    with Image.open(io.BytesIO(stored.read_bytes())) as exact:
        assert (picture[32:48, 16:32] == np.asarray(exact.convert("RGB"))).all()
    assert sheet.there == ((True, False, False), (True, True, False), (True, True, True))
    assert found.word(cell, 1, 2) == "not learned yet" and found.turns(cell) == [1, 2, 3]
    assert found.names == ("reference", "base model") and found.still[0].there == ((True,) * 3,) * 2
    R = run.summed(cell).mean["clip_i", 3, "tolbek"]
    assert f"CLIP-I {R:.2f}" in found.scores[1][2][1].split("\n")


class Noise:
    """A picture of 32 by 32 that no coding makes small."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def read_bytes(self) -> bytes:
        buffer = io.BytesIO()
        pixels = np.random.default_rng(self.seed).integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


def test_images_that_are_too_large_are_coded_with_loss_then_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[list[Squares]] = [[[[Noise(4 * p + k) for k in range(4)]]] for p in range(2)]
    sides, prompts_shown, sizes = [], [], []
    for most in (30_000, 15_000, 8_000, 1_500, 10):
        monkeypatch.setattr(tiles, "MOST", most)
        side, sheets = coded(prompts, 32)
        size = sum(len(base64.b64decode(sheet.uri.partition(",")[2])) for made in sheets for sheet in made)
        assert size <= most or most == 10, "the smallest is there whatever it takes"
        assert opened(sheets[0][0].uri).size == (4 * side, side) and sheets[0][0].there == ((True,) * 4,)
        sides.append(side)
        prompts_shown.append(len(sheets))
        sizes.append(size)
    assert sides == [32, 32, 32, 16, 8] and prompts_shown[:3] == [2, 1, 2] and prompts_shown[-1] == 1
    assert sizes == sorted(sizes, reverse=True)


def test_of_many_some_are_shown_evenly_spread() -> None:
    assert spread(range(20)) == list(range(20))
    some = spread(range(100))
    assert len(some) == 20 and (some[0], some[-1]) == (0, 99) and set(np.diff(some)) <= {5, 6}


def test_a_run_without_pictures_has_a_page_without_tiles(make_run: Callable[..., Path]) -> None:
    folder = make_run(methods=("lora",), concepts=("marivi", "tolbek"), pictures=False)
    run = Run.open(folder)
    assert Tiles.of(run, shown_cells(run)) is None
    page = write_report(folder).html.read_text(encoding="utf-8")
    assert 'id="viewer"' not in page and "so there are no images" in page


def test_the_page_names_its_one_script_by_its_hash(run: Run, tmp_path: Path) -> None:
    page = write_report(run.folder, tmp_path).html.read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page or f"script-src 'sha256-{digest}'" in page
    assert re.findall(r"<[a-z][^>]* on[a-z]+=", page) == [], "nor has any element a script of its own"


def test_variants_stand_beside_their_parent_in_its_colour(run: Run) -> None:
    assert together(["lora", "cat", "merge", "cat[weight=0]", "lora[a=1]"]) == (
        *("lora", "lora[a=1]", "cat", "cat[weight=0]", "merge"),
    )
    assert (parent("cat[weight=0]"), settings("cat[weight=0]")) == ("cat", "weight=0")
    assert (parent("cat"), settings("cat")) == ("cat", "")
    assert run.methods == ("lora", "cat", "cat[weight=0]", "merge")
    assert [row.name for row in summarise(run).methods] == list(run.methods)
    seen = looks([*run.methods, "cat[weight=2]", "stranger"])
    family = [seen[name] for name in ("cat", "cat[weight=0]", "cat[weight=2]")]
    assert len({look.color for look in family}) == 1 and len({str(look.line) for look in family}) == 3
    assert len({look.marker for look in family}) == 3 and seen["stranger"].color != seen["cat"].color
    assert looks(["cat"])["cat"] == seen["cat"], "whoever else is there"


def test_variants_are_compared_with_their_own_method(run: Run) -> None:
    found = verdicts(run, summarise(run))
    table = ablations(run, found)
    assert table is not None and [row[0].text for row in table.rows] == ["cat[weight=0]"]
    c = next(c for c in compare(run, "kps_class", "cat") if c.method == "cat[weight=0]")
    assert table.rows[0][table.columns.index("KPS class ↑")].text == number(c.effect, c.figure, "+")
    assert all(entry.mark == "" for entry in table.rows[0]), "verdicts are of the questions above"
    assert ablations(replace(run, methods=("lora", "cat[weight=0]")), found) is None


def test_bands_are_t_intervals_and_need_three_cells() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4))
    values[1:, 1], values[:3, 2] = np.nan, np.nan
    mean, half = mean_half(values)
    whole = stats.t.interval(0.95, 4, values[:, 0].mean(), stats.sem(values[:, 0]))
    assert mean[0] - half[0] == pytest.approx(whole[0]) and mean[0] + half[0] == pytest.approx(whole[1])
    assert half[1] == half[2] == 0 and mean[1] == values[0, 1] and mean[2] == pytest.approx(values[3:, 2].mean())
    grid = [(order, seed) for order in range(2) for seed in range(3)]
    crossed, alone = mean_half(np.arange(6.0)[:, None], grid)[1], mean_half(np.arange(6.0)[:, None])[1]
    assert crossed[0] > alone[0] > 0


def test_answers_name_the_clearest_first_and_say_who_is_not_ranked() -> None:
    cat = Comparison(
        KNOWN["kps_class"], "cat", "lora", 10, 0.12, 0.08, 0.16, margin=0.02, verdict="better", layout=DRAWN
    )
    found = [
        replace(cat, method="merge", effect=0.01, low=0.005, high=0.015),
        cat,
        replace(cat, method="ortho", effect=-0.1, low=-0.2, high=-0.05, verdict="worse"),
        replace(cat, method="clora", effect=-0.3, low=-0.4, high=-0.2, verdict="worse"),
        replace(cat, method="joint", verdict=None, reason="a reference, not ranked", ranked=False),
    ]
    (answer,) = answers(found)
    assert (answer.question, answer.counted) == ("KPS class", "10 replicates")
    assert [(verdict, said, [m.method for m in methods]) for verdict, said, methods in answer.parts] == [
        ("better", "keeps more of the class than lora", ["cat", "merge"]),
        ("worse", "keeps less of the class than lora", ["clora", "ortho"]),
        ("none", "not ranked", ["joint"]),
    ]
    assert answer.parts[0][2][0].effect == "+0.120 [0.080, 0.160]"
    assert answer.parts[0][2][1].aside == "less than two scorings differ by"
    table = glance(found)
    assert table is not None and table.columns == ("method", "KPS class ↑") and table.roles[-1] == "reference"
    assert [row[1].text for row in table.rows] == [
        *("▲ +0.010 ± 0.005", "▲ +0.120 ± 0.040", "▼ −0.100 ± 0.075", "▼ −0.300 ± 0.100", "+0.120 ± 0.040"),
    ]
    assert glance([replace(cat, effect=None)]) is None and glance([]) is None


def test_latex_is_ascii_with_intervals_and_no_open_brackets(
    run: Run, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    paths = write_report(
        make_run(methods=("lora", "cat"), concepts=("marivi", "tolbek"), seeds=range(3), pictures=False)
    )
    summary, verdicts = paths.summary[2].read_text(), paths.verdicts[2].read_text()
    assert summary.isascii() and verdicts.isascii() and " $\\pm$ " in summary
    assert (
        re.search(r"& lora|& cat & 3 & [+$-]+[\d.]+ \{\[\}.*\{\]\}", verdicts) and "\\label{tab:verdicts}" in verdicts
    )
    assert latex([]) == "% needs \\usepackage{booktabs}\n"
