"""The report in a real browser: it says and asks for nothing, sorts, slides, fits, is legible, and prints whole.

They need playwright's Python package and a Chromium, the system's or playwright's own (`nox -s browser`).
"""

import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cat_bench.results.report.report import write_report

METHODS = ("lora", "cat", "cat[weight=0]", "clora")
CONTRAST = """selectors => {
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    }
  };
  return Object.fromEntries(selectors.filter((selector) => document.querySelector(selector)).map((selector) => {
    const element = document.querySelector(selector);
    const [a, b] = [parts(getComputedStyle(element).color).slice(0, 3), behind(element)].map(luminance);
    return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }));
}"""


@dataclass
class Opened:
    """A page, and what it said and asked for since it was opened."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    reason = "needs playwright: pip install --group browser, or nox -s browser"
    pytest.importorskip("playwright.sync_api", reason=reason)
    api = importlib.import_module("playwright.sync_api")
    of_system = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=of_system, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(
                f"needs a Chromium: apt-get install chromium, or playwright install chromium ({error.message[:60]})"
            )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(make_run: Callable[..., Path]) -> Path:
    """Four methods, one a variant and one a reference, five seeds; one cell was lost."""
    failed = [("clora", 0, 4, "oom", "out of memory at step 12")]
    folder = make_run(methods=METHODS, concepts=("marivi", "tolbek", "sanora"), seeds=range(5), failed=failed)
    info = json.loads((folder / "run.json").read_text())
    info["spec"]["seeds"] = list(range(5))
    info["methods"] = {name: {"carries": "one adapter", "reference": name == "clora"} for name in METHODS}
    (folder / "run.json").write_text(json.dumps(info))
    return write_report(folder).html


@pytest.fixture
def opened(chromium: Any, report: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the report: width in pixels, other options of a browser's context."""
    contexts = []

    def see(width: int = 1400, **options: Any) -> Opened:
        context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        shown = Opened(context.new_page())
        shown.page.on("console", lambda message: shown.said.append(message.text))
        shown.page.on("pageerror", lambda error: shown.said.append(str(error)))
        shown.page.on("request", lambda request: shown.asked.append(request.url))
        shown.page.goto(report.as_uri())
        return shown

    yield see
    for context in contexts:
        context.close()


def column(page: Any, table: str, number: int) -> list[str]:
    """First line of each cell of a column, from 1, of the rows that are methods."""
    cells = page.locator(f"{table} tbody tr.method > :nth-child({number})").all()
    return [cell.inner_text().split("\n")[0].strip() for cell in cells]


def test_nothing_is_said_and_nothing_but_the_file_is_asked_for(opened: Callable[..., Opened], report: Path) -> None:
    shown = opened()
    shown.page.locator("#pick-stage").press("ArrowLeft")
    assert shown.said == []
    assert [url for url in shown.asked if not url.startswith("data:")] == [report.as_uri()]
    refused = shown.page.evaluate("fetch('https://example.org/').then(() => 'answered', (error) => error.name)")
    assert refused == "TypeError" and "Content Security Policy" in " ".join(shown.said)


def test_a_table_sorts_best_first_then_worst_then_as_it_was(opened: Callable[..., Opened]) -> None:
    page, table = opened().page, "#table-headline"
    head = page.locator(f"{table} thead th").nth(2)
    assert "accuracy average" in head.inner_text().replace("\n", " ") and head.get_attribute("aria-sort") == "none"
    before, names = column(page, table, 3), column(page, table, 1)
    head.locator("button").click()
    numbers = [float(text) for text in column(page, table, 3)]
    assert head.get_attribute("aria-sort") == "descending" and numbers == sorted(numbers, reverse=True)
    rows = page.locator(f"{table} tbody tr")
    assert "floor" in rows.first.inner_text() and "ceiling" in rows.last.inner_text()
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(page, table, 3)] == numbers[::-1]
    head.locator("button").press("Space")
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, table, 3) == before and column(page, table, 1) == names
    lower = page.locator(f"{table} thead th").filter(has_text="forgetting").first
    lower.locator("button").click()
    assert lower.get_attribute("aria-sort") == "ascending", "less is better, so that comes first"
    assert head.get_attribute("aria-sort") == "none", "one column at a time"


def test_every_difference_can_be_sorted_and_a_missing_one_comes_last(opened: Callable[..., Opened]) -> None:
    page, table = opened().page, "#table-verdicts"
    page.locator(f"details:has({table}) > summary").click()
    button = page.locator(f"{table} thead th").filter(has_text="p (Holm)").locator("button")
    for direction in (1, -1):
        button.click()
        cells = [cell.inner_text() for cell in page.locator(f"{table} tbody tr > :nth-child(6)").all()]
        known = [float(text.replace("< ", "")) for text in cells if text != "–"]
        assert 2 < len(known) < len(cells) and known in (sorted(known), sorted(known, reverse=True))
        assert set(cells[len(known) :]) == {"–"}, direction


def test_the_slider_goes_through_the_stages_by_keyboard(opened: Callable[..., Opened]) -> None:
    page = opened().page
    slider, stage = page.locator("#pick-stage"), page.locator("#stage")
    page.locator("#pick-concept").select_option(label="tolbek")
    tiles = page.locator("#strip figure[data-method] .tile")
    assert stage.inner_text() == "3 of 3, sanora just learned" and tiles.count() == len(METHODS)
    place = "e => getComputedStyle(e).backgroundPosition"
    last = tiles.first.evaluate(place)
    slider.press("ArrowLeft")
    assert stage.inner_text() == "2 of 3, tolbek just learned"
    assert slider.get_attribute("aria-valuetext") == "stage 2, tolbek just learned"
    assert tiles.first.evaluate(place) != last and "framed" in (tiles.first.get_attribute("class") or "")
    assert (tiles.first.get_attribute("aria-label") or "").startswith("lora, tolbek: accuracy ")
    slider.press("Home")
    assert stage.inner_text() == "1 of 3, marivi just learned"
    assert tiles.first.inner_text() == "not learned yet" and tiles.first.get_attribute("role") is None
    assert page.locator("#strip figure").first.inner_text() == "reference"


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_never_scrolls_sideways(opened: Callable[..., Opened], width: int) -> None:
    page = opened(width).page
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#table-headline .scroll").evaluate("e => e.scrollWidth > e.clientWidth") == (width < 1400)
    assert page.locator("#table-headline .scroll").get_attribute("tabindex") == "0", "or no key scrolls it"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_legible_light_and_dark(opened: Callable[..., Opened], scheme: str) -> None:
    page = opened(color_scheme=scheme).page
    selectors = ("p", ".lead", "a", "td.best", "td.best small", "figcaption", "tr.floor th", "td.better", "td.worse")
    contrast = page.evaluate(CONTRAST, [*selectors, "#stage", ".tile.none", ".alarm", ".badge", "details > summary"])
    assert {name: ratio for name, ratio in contrast.items() if ratio < 4.5} == {} and len(contrast) > 12
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(ground)
    assert (before == "rgb(255, 255, 255)") == (scheme == "light")
    page.locator("#theme").click()
    assert page.evaluate(ground) != before
    ink = page.evaluate("getComputedStyle(document.querySelector('.plot svg text, .plot svg use')).fill")
    page.locator("#theme").click()
    assert page.evaluate(ground) == before and ink != page.evaluate(
        "getComputedStyle(document.querySelector('.plot svg text, .plot svg use')).fill"
    )


def test_methods_can_be_left_out_and_come_back(opened: Callable[..., Opened]) -> None:
    page = opened().page
    of_cat = page.locator('main [data-method="cat"]')
    kinds = {"tr": 'tr[data-method="cat"]', "g": 'svg g[data-method="cat"]', "figure": '#strip [data-method="cat"]'}
    assert all(page.locator(f"main {kind}").count() for kind in kinds.values())
    page.locator("#choose > summary").click()
    page.locator("#choose input[value=cat]").uncheck()
    assert page.locator("#chosen").inner_text() == "3 of 4"
    assert all(part.is_hidden() for part in of_cat.all())
    assert page.locator('#table-headline tr[data-method="cat[weight=0]"]').is_visible()
    page.locator("#pick-stage").press("Home")
    assert page.locator('#strip [data-method="cat"]').is_hidden(), "what the slider draws anew as well"
    page.locator("#all").click()
    assert page.locator("#chosen").inner_text() == "all 4"
    assert page.locator('#table-headline tr[data-method="cat"]').is_visible()


def test_print_shows_all_and_has_no_controls(opened: Callable[..., Opened], tmp_path: Path) -> None:
    page = opened(color_scheme="dark").page
    page.locator("#choose > summary").click()
    page.locator("#choose input[value=cat]").uncheck()
    page.emulate_media(media="print")
    for part in ("nav", "#choose", "#viewer"):
        assert page.locator(part).is_hidden(), part
    assert page.locator("#table-verdicts").is_visible() and page.locator("details .tile").first.is_visible()
    assert page.locator('#table-headline tr[data-method="cat"]').is_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    sheet = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert sheet.startswith(b"%PDF") and page.locator("details[open]").count() == 1, "as it was before"


def test_without_scripts_nothing_is_missing_but_the_controls(opened: Callable[..., Opened]) -> None:
    page = opened(java_script_enabled=False).page
    assert page.locator("#table-headline").is_visible() and page.locator("th button").count() == 0
    assert page.locator("table.grid .tile").first.is_visible()
    assert page.locator("#viewer").is_hidden() and page.locator("#theme").is_hidden()
