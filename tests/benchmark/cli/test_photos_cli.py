"""check-data, new-sequence and run --data as they are typed: exit codes, one line for each error, nothing written."""

from __future__ import annotations

import errno
import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from photo_samples import BAD, good, picture
from run_fakes import FakeEngine

from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.planning.events import Ended, Message, StageEnded
from cat_bench.benchmark.planning.identity import Identity, Model
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos import new_sequence

SEQUENCE = """
id = "mine"
version = "1"
title = "Mine"
license = "mine"
citation = "me"
prompts = { all = ["a {}"] }
preservation = { class = ["a dog"], other = ["a tree"] }
[[concept]]
id = "dog"
folder = "dog"
noun = "dog"
trigger = "sks"
[[concept]]
id = "cat"
folder = "cat"
noun = "cat"
trigger = "zwz"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty, beside `photos`, which has the good folders dog and cat."""
    good(tmp_path / "photos" / "dog")
    good(tmp_path / "photos" / "cat", first=100)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("what", BAD)
def test_bad_photos_are_one_line_and_exit_code_2_and_nothing_is_written(
    what: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = here.parent / "photos"
    make, file, says = BAD[what]
    make(photos / "dog")
    (here.parent / "mine.toml").write_text(SEQUENCE, "utf-8")
    before = files(here.parent)

    assert call(monkeypatch, "check-data", photos) == 2
    line, total = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error  {photos / file}: ") and says in line and "; " in line
    assert total == "1 error: nothing was written"

    for command in (
        ("run", "--sequence", here.parent / "mine.toml", "--data", photos),
        ("new-sequence", photos),
    ):
        assert call(monkeypatch, *command) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.splitlines() == [f"cat-bench: {line.removeprefix('error  ')}"]
    assert files(here.parent) == before and files(here) == []


def test_all_errors_are_told_at_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = here.parent / "photos"
    (photos / "dog" / "09.jpg").write_bytes(b"")
    (photos / "dog" / "09.txt").write_bytes(b"\xff")
    (photos / "cat" / "metadata.jsonl").write_text("{\n", "utf-8")
    assert call(monkeypatch, "check-data", photos) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "3 errors: nothing was written"
    (here.parent / "mine.toml").write_text(SEQUENCE, "utf-8")
    assert call(monkeypatch, "run", "--sequence", here.parent / "mine.toml", "--data", photos) == 2
    assert "(and 1 more: cat-bench check-data shows all)" in capsys.readouterr().err


def test_what_is_there_is_shown_and_becomes_a_page(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = here.parent / "photos"
    picture(50).convert("CMYK").save(photos / "dog" / "04 <b>.tif")
    (photos / "dog" / "00.txt").write_text("a <dog> & a bone", "utf-8")
    assert call(monkeypatch, "check-data", photos) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "cat  4 images (2 to train, 2 held out), 96 × 64, no captions" in out
    assert "dog  5 images (3 to train, 2 held out), 96 × 64, captions for 1 of 3" in out
    assert f"note   {photos / 'dog' / '04 <b>.tif'}: CMYK; converted to RGB" in out
    assert out.endswith("every photo as it will be seen: check-data.html\n")
    page = (here / "check-data.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 9 and page.count('class="held"') == 4
    assert "a &lt;dog&gt; &amp; a bone" in page and "<b>" not in page
    assert "http" not in page.replace("https://", "").replace("http-equiv", "") and "<script" not in page
    assert files(here) == ["check-data.html"]

    assert call(monkeypatch, "check-data", photos / "cat", "--out", "cat.html") == 0
    assert (here / "cat.html").read_text("utf-8").count("data:image/jpeg;base64,") == 4
    monkeypatch.chdir(photos / "cat")
    assert call(monkeypatch, "check-data", ".", "--out", here / "dot.html") == 0
    assert "<h1>cat</h1>" in (here / "dot.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check-data", "gone"], "gone: there is no such folder; give a folder of images"),
        (["check-data", "../photos/dog/00.png"], "00.png: is not a folder; give a folder of images"),
        (["check-data", "."], "holds no images"),
        (["check-data", "../photos", "--out", "page.jpg"], "--out page.jpg: the page is an .html file"),
        (["check-data", "../photos", "--out", "none/page.html"], "none/page.html cannot be written"),
        (["new-sequence", "gone"], "gone: there is no such folder"),
        (["new-sequence", "../photos", "--id", "faces5"], "'faces5' is the name of a sequence that ships"),
        (["run", "--sequence", "dreambooth10"], "say where they are with --data FOLDER"),
        (["run", "--sequence", "dreambooth10", "--data", "../photos"], "colorful_sneaker: this folder is not there"),
        (["run", "--sequence", "dreambooth10", "--data", "gone"], "gone: there is no such folder"),
        (["run", "--data", "../photos"], "faces5 draws its own pictures: leave --data out"),
    ],
)
def test_what_a_user_gets_wrong(
    arguments: list[str], says: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    assert says in capsys.readouterr().err.splitlines()[0]
    assert files(here) == []


def test_a_name_that_is_not_utf8_is_one_line_and_leaves_what_is_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = here.parent / "photos"
    assert call(monkeypatch, "check-data", photos) == 0
    before = (here / "check-data.html").read_bytes()
    odd = photos.rename(here.parent / os.fsdecode(b"ph\xff"))
    capsys.readouterr()
    for command, page in (("check-data", "check-data.html"), ("new-sequence", "photos.toml")):
        monkeypatch.chdir(here)
        assert call(monkeypatch, command, odd, "--out", page) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"cat-bench: {here.parent}/ph\\xff: this is not UTF-8")
        monkeypatch.chdir(odd)
        assert call(monkeypatch, command, ".", "--out", here / page) == 2
        out, err = capsys.readouterr()
        assert out == "" and "ph\\udcff: this is not UTF-8" in err and len(err.splitlines()) == 1
    assert files(here) == ["check-data.html"] and (here / "check-data.html").read_bytes() == before


def test_only_a_page_of_its_own_is_replaced(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, mine = here.parent / "photos", here / "mine.html"
    mine.write_text("<title>mine</title>", "utf-8")
    assert call(monkeypatch, "check-data", photos, "--out", mine) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        f"cat-bench: {mine} is there already, and no page of check-data; choose another with --out"
    ]
    assert mine.read_text("utf-8") == "<title>mine</title>"
    for folder, count in ((photos, 8), (photos / "cat", 4)):
        assert call(monkeypatch, "check-data", folder, "--out", "page.html") == 0
        assert (here / "page.html").read_text("utf-8").count("data:image/jpeg;base64,") == count
    assert files(here) == ["mine.html", "page.html"]


def test_a_sequence_that_finds_no_space_leaves_no_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(new_sequence, "open", Full, raising=False)
    with pytest.raises(TaskError, match="No space left on device"):
        new_sequence.write_sequence(here.parent / "photos")
    assert files(here) == []


def test_new_sequence_says_how_to_run_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "new-sequence", "../photos", "--id", "pets") == 0
    assert "cat-bench run --sequence pets.toml" in capsys.readouterr().out
    assert files(here) == ["pets.toml"]
    assert call(monkeypatch, "new-sequence", "../photos", "--id", "pets") == 2
    assert "is there already" in capsys.readouterr().err


def test_sequences_of_photos_are_listed_and_examined_without_their_photos(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cat_bench.benchmark.cli.doctor import examine

    assert call(monkeypatch, "list", "sequences") == 0
    assert "dreambooth10" in capsys.readouterr().out
    found = {finding.what: finding for finding in examine(here / "runs")}
    assert found["sequence dreambooth10"].trouble is None
    assert found["sequence dreambooth10"].found == "10 concepts made of photos of yours"


def test_a_run_learns_a_changed_photo_again_and_nothing_before_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = here.parent / "photos"
    (here / "mine.toml").write_text(SEQUENCE, "utf-8")
    spec = resolve({"sequence": "mine.toml", "data": str(photos), "methods": ("lora",), "images_per_prompt": 2})

    def go() -> list[str]:
        events = list(runner.run(spec, here / "runs", None, FakeEngine(spec)))
        assert isinstance(events[-1], Ended) and events[-1].troubled == 0
        return [event.origin for event in events if isinstance(event, StageEnded) and event.cell is not None]

    assert go() == ["made", "made"]
    assert go() == []  # all is there, and no engine is asked
    picture(70).save(photos / "cat" / "00.png")
    first, second = go()
    assert first != "made" and second == "made"
    photos.rename(photos.with_name("moved"))
    spec = spec.model_copy(update={"data": str(photos.with_name("moved"))})
    assert "made" not in go()  # what counts is in the files, not where they are


class Shipped(FakeEngine):
    """A model that is called as the one that ships."""

    def identity(self, spec: RunSpec) -> Identity:
        return replace(super().identity(spec), backbone=Model("avatars64.v2", self.fingerprint))


def test_that_the_shipped_model_never_saw_a_photo_is_said(here: Path) -> None:
    (here / "mine.toml").write_text(SEQUENCE, "utf-8")
    spec = resolve({"sequence": "mine.toml", "data": "../photos", "methods": ("lora",), "images_per_prompt": 2})

    def said(engine: FakeEngine) -> list[str]:
        events = runner.run(spec, here / type(engine).__name__, None, engine)
        return [event.text for event in events if isinstance(event, Message)]

    assert said(FakeEngine(spec)) == []
    (line,) = said(Shipped(spec))
    assert line.startswith("avatars64.v2 draws cartoons of ") and "--backbone sd15" in line
