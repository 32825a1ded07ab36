"""The site in a real browser: nothing is fetched, nothing is complained of, filters and sorting do what they say."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handed_in import RULES

from cat_bench.results.leaderboard.site import write_board

WIDTHS, SCHEMES = (360, 1400), ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install --group browser, or nox -s browser"
    )
    api = importlib.import_module("playwright.sync_api")
    of_system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with api.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=of_system, args=["--no-sandbox", "--disable-gpu"])
        except api.Error as error:
            why = error.message[:60]
            pytest.skip(f"needs a Chromium: apt-get install chromium, or playwright install chromium ({why})")
        yield started
        started.close()


@pytest.fixture(scope="module")
def site(alice: Path, bob: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three folders, one forged: index.html and the page of the two others."""
    folder = tmp_path_factory.mktemp("board")
    mallory = Path(shutil.copytree(bob, folder / "mallory"))
    (mallory / "cat" / "order0-seed0" / "cell.json").write_text("{}", encoding="utf-8")
    write_board([alice, bob, mallory], folder / "site", RULES)
    return folder / "site"


class Page:
    """A page that is open, and what went wrong or was asked for meanwhile."""

    def __init__(self, browser: Any, path: Path, width: int = 1400, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.trouble, self.asked = self.context.new_page(), [], []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri(), timeout=120_000)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def names(self) -> list[str]:
        """The entries that are to be seen, from top to bottom."""
        rows = self.page.locator("#entries tbody.entries tr:visible")
        return [row.get_attribute("data-method") for row in rows.all()]

    def place(self, head: str) -> int:
        """The number of the column whose head begins so."""
        heads = [" ".join(text.split()) for text in self.page.locator("#entries thead th").all_text_contents()]
        return next(number for number, text in enumerate(heads) if text.startswith(head))

    def column(self, head: str) -> list[float]:
        """The numbers of a column, from top to bottom."""
        cells = self.page.locator(f"#entries tbody.entries td:nth-child({self.place(head) + 1})").all_inner_texts()
        return [float(text.split("±")[0].replace("−", "-")) for text in cells]


def table_of(site: Path) -> Path:
    (path,) = (path for path in site.iterdir() if path.name != "index.html")
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_fetch_nothing_and_are_quiet(width: int, scheme: str, browser: Any, site: Path) -> None:
    for path in sorted(site.iterdir()):
        with Page(browser, path, width, scheme) as shown:
            shown.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            shown.page.wait_for_timeout(200)
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
            assert all(image.evaluate("one => one.naturalWidth") > 0 for image in shown.page.locator("img").all())
            assert shown.trouble == []
            assert [url for url in shown.asked if not url.startswith("data:")] == [path.as_uri()]
            paper = shown.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}[scheme]


def test_filters_show_what_they_say(browser: Any, site: Path) -> None:
    with Page(browser, table_of(site)) as shown:
        page, count = shown.page, shown.page.locator("#count")
        assert sorted(shown.names()) == ["cat · alice", "cat · bob", "joint", "lora", "merge[rank=4]"]
        page.fill("#by-method", "CAT")
        assert sorted(shown.names()) == ["cat · alice", "cat · bob"] and count.inner_text() == "2 of 5 entries"
        page.fill("#by-method", "")
        page.uncheck("#by-references")
        assert "joint" not in shown.names() and count.inner_text() == "4 of 5 entries"
        page.check("#by-references")
        page.select_option("#by-carries", "all images")
        assert shown.names() == ["joint"]
        page.select_option("#by-carries", "")
        assert len(shown.names()) == 5
        assert shown.page.locator("#entries tbody.still tr:visible").count() >= 2
        assert shown.trouble == []


def test_a_click_on_a_head_sorts_and_another_turns_it_round(browser: Any, site: Path) -> None:
    with Page(browser, table_of(site)) as shown:
        for head, best_first in (("CLIP-I average", True), ("n", False)):
            button = shown.page.locator(f"#entries thead th:nth-child({shown.place(head) + 1}) button")
            button.click()
            first = shown.column(head)
            assert first == sorted(first, reverse=best_first)
            button.click()
            assert shown.column(head) == sorted(first, reverse=not best_first)
        shown.page.locator("#entries thead th:nth-child(1) button").click()
        titles = shown.page.locator("#entries tbody.entries th a").all_inner_texts()
        assert titles == sorted(titles) and titles[-1] == "reference: joint"
        assert shown.trouble == []


def test_a_name_leads_to_where_it_comes_from_and_the_index_to_the_table(browser: Any, site: Path) -> None:
    with Page(browser, site / "index.html") as shown:
        assert "mallory" in shown.page.locator("#refused").inner_text()
        shown.page.locator("table.index tbody a").first.click()
        shown.page.wait_for_url(table_of(site).as_uri())
        link = shown.page.locator("#entries tbody.entries tr[data-method=joint] th a")
        link.click()
        opened = shown.page.locator(f"{link.get_attribute('href')}[open]")
        opened.locator("img").wait_for(state="visible")
        assert "code digest" in opened.inner_text()
        assert shown.trouble == []
