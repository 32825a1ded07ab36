"""The site of three folders, one of them forged: what is on its pages, and that nothing of strangers' can run there."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from handed_in import MANIFEST, RULES, read, sign, write

from cat_bench.benchmark.artifacts.submitted import derived
from cat_bench.results.errors import ResultError
from cat_bench.results.leaderboard import site
from cat_bench.results.leaderboard.site import write_board

SCRIPT = "<script>alert('x')</script>\" onload=\"alert(1)"


class Tags(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def pages(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


@pytest.fixture
def mallory(alice: Path, tmp_path: Path) -> Path:
    """A submission whose scores were changed after it was packed."""
    folder = copied(alice, tmp_path / "mallory")
    path = next(folder.glob("cat/*/02-*/scores.parquet"))
    path.write_bytes(path.read_bytes() + b" ")
    return folder


def test_two_are_shown_together_and_the_forged_one_is_named_with_its_reason(
    alice: Path, bob: Path, mallory: Path, tmp_path: Path
) -> None:
    board = write_board([alice, bob, mallory], tmp_path / "site", RULES)
    assert [one.name for one in board.refused] == ["mallory"]
    (group,) = board.groups
    names = [entry.name for entry in group.entries]
    assert names == ["lora", "cat · alice", "joint", "cat · bob", "merge[rank=4]"]
    assert set(pages(tmp_path / "site")) == {"index.html", f"{group.slug}.html"}
    index, table = (Tags(tmp_path / "site" / name) for name in ("index.html", f"{group.slug}.html"))
    assert "mallory: cat/order0-seed" in index.text and "is not the file that was packed" in index.text
    assert "mallory" not in table.text
    rows = [attributes for attributes in table.all("tr") if attributes.get("data-method")]
    assert sorted(str(row["data-method"]) for row in rows) == sorted(names)
    assert [row["data-method"] for row in rows if row["class"] == "reference"] == ["joint"]
    assert len(table.all("img")) == 5
    for fact in ("code digest", "settings", "commit", "abc123", "b" * 64, "e" * 64, "faces5.v2", "seeds"):
        assert fact in table.text


def test_the_same_folders_give_the_same_bytes_and_old_pages_go(alice: Path, bob: Path, tmp_path: Path) -> None:
    write_board([alice, bob], tmp_path / "one", RULES)
    write_board([alice, bob], tmp_path / "two", RULES)
    assert pages(tmp_path / "one") == pages(tmp_path / "two")
    (tmp_path / "one" / "mine.html").write_text("<p>of somebody else</p>", encoding="utf-8")
    other = copied(bob, tmp_path / "other")
    info = read(other / "run.json")
    info["machine"]["cores"] = 3
    write(other / "run.json", info)  # not signed, so refused: no group is left
    board = write_board([other], tmp_path / "one", RULES)
    assert not board.groups and set(pages(tmp_path / "one")) == {"index.html", "mine.html"}


def test_texts_of_strangers_are_text(alice: Path, tmp_path: Path) -> None:
    folder = copied(alice, tmp_path / "eve")
    info = read(folder / "run.json")
    info["methods"]["cat"] |= {"title": SCRIPT, "source": SCRIPT, "carries": SCRIPT}
    info["machine"]["processor"] = SCRIPT
    write(folder / "run.json", info)
    manifest = read(folder / MANIFEST)
    write(folder / MANIFEST, manifest | {"packed_by": SCRIPT})
    sign(folder)
    board = write_board([folder], tmp_path / "site", RULES)
    assert not board.refused
    plain = write_board([alice], tmp_path / "plain", RULES)
    page = Tags(tmp_path / "site" / f"{board.groups[0].slug}.html")
    ours = Tags(tmp_path / "plain" / f"{plain.groups[0].slug}.html")
    kept, wanted = ([(tag, set(attributes)) for tag, attributes in p.found if tag != "option"] for p in (page, ours))
    assert kept == wanted  # the filter has one more choice: what is carried
    assert page.text.count("<script>alert('x')</script>") >= 4


@pytest.mark.parametrize("name", ["index.html", None])
def test_a_page_loads_nothing_and_runs_its_own_script_alone(name: str | None, alice: Path, tmp_path: Path) -> None:
    board = write_board([alice], tmp_path / "site", RULES)
    page = Tags(tmp_path / "site" / (name or f"{board.groups[0].slug}.html"))
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    addresses = [a[key] for _, a in page.found for key in ("src", "href", "action", "data", "srcset") if key in a]
    assert all(
        re.match(r"(#|data:image/webp;base64,|index\.html$|faces5\.v2-[\w.-]+\.html$)", str(a)) for a in addresses
    )
    assert not [a for _, a in page.found if any(key.startswith("on") or key == "style" for key in a)]
    assert len(page.all("script")) == 1


def test_results_by_another_judge_have_a_page_of_their_own(alice: Path, tmp_path: Path) -> None:
    """Also where the protocol is the same, so that nobody's page takes the place of another's."""
    other = copied(alice, tmp_path / "other")
    info = read(other / "run.json")
    info["metric_model"]["fingerprint"] = "f" * 64
    for place, keys in info["complete"]["stages"].items():
        keys["embeddings_key"] = derived(info).embeddings[place]
        record = read(other / place / "stage.json")
        write(other / place / "stage.json", record | {"embeddings_key": keys["embeddings_key"]})
    write(other / "run.json", info)
    sign(other)
    board = write_board([alice, other], tmp_path / "site", RULES)
    assert not board.refused
    assert len({group.slug for group in board.groups}) == 2 == len(pages(tmp_path / "site")) - 1


def test_one_that_breaks_the_checks_keeps_no_other_from_being_shown(
    alice: Path, bob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = site.take

    def broken(folder: Path, *arguments: object) -> object:
        if folder.name == "bob":
            raise ZeroDivisionError("what\nnobody thought of")
        return take(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(site, "take", broken)
    board = write_board([alice, bob], tmp_path / "site", RULES)
    (refusal,) = board.refused
    assert refusal.reason == "cannot be checked (ZeroDivisionError: what\\nnobody thought of)"
    assert board.groups[0].submissions[0].name == "alice"


def test_bad_input_is_said_before_anything_is_written(alice: Path, bob: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folders, out, said in (
        ([tmp_path / "none"], "site", "there is no folder"),
        ([alice, copied(alice, tmp_path / "again" / "alice")], "site", "have one name"),
        ([tmp_path / "again"], "again/alice/site", "is inside of"),
        ([alice], "file", "is a file"),
    ):
        with pytest.raises(ResultError, match=said):
            write_board(folders, tmp_path / out, RULES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "file"]


def test_a_page_of_somebody_else_stays(alice: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ResultError, match="no page of an earlier build"):
        write_board([alice], tmp_path, RULES)
    assert (tmp_path / "index.html").read_text() == "mine"
    (tmp_path / "index.html").unlink()
    write_board([alice], tmp_path, RULES)
    write_board([alice], tmp_path, RULES)
    assert (tmp_path / "index.html").is_file() and (tmp_path / "folder.html").is_dir()


def test_a_folder_whose_own_name_is_no_name_is_refused(alice: Path, tmp_path: Path) -> None:
    folder = copied(alice, tmp_path / "<b>x")
    board = write_board([folder], tmp_path / "site", RULES)
    assert [one.reason for one in board.refused] == [
        "its folder's name is not of letters, digits and . _ - alone, 60 at most"
    ]
    assert not Tags(tmp_path / "site" / "index.html").all("b")
