"""Photos: what becomes of the pixels, how a folder is split, which captions there are, what the fingerprint covers."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_samples import BAD, good, picture
from PIL import Image, ImageOps

from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos import photo
from cat_bench.tasks.photos.captions import fill, template
from cat_bench.tasks.photos.concept import PhotoConcept, photo_concept
from cat_bench.tasks.photos.folder import examine
from cat_bench.tasks.photos.photo import Unusable, open_photo
from cat_bench.tasks.photos.photo_set import survey
from cat_bench.tasks.photos.search import name_order


def concept(folder: Path, noun: str = "dog", **more: str) -> PhotoConcept:
    return photo_concept(examine(folder), "dog", "sks", noun, ("a {} in the snow",), **more)


def pixels(path: Path, size: int = 64) -> np.ndarray:
    found = open_photo(path)
    assert found is not None
    image = found.image(size)
    assert (image.mode, image.size) == ("RGB", (size, size))
    return np.asarray(image).astype(int)


def notes(folder: Path) -> list[str]:
    findings = examine(folder).findings
    assert all(finding.kind == "note" for finding in findings)
    return [finding.line for finding in findings]


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_one_line_that_names_the_file(what, tmp_path):
    folder = good(tmp_path / "dog")
    make, file, says = BAD[what]
    make(folder)
    (finding,) = examine(folder).errors
    assert finding.line.startswith(f"{tmp_path / file}: {says}") or says in finding.line
    assert finding.line.startswith(f"{tmp_path / file}: ") and "; " in finding.line and "\n" not in finding.line
    with pytest.raises(TaskError) as error:
        concept(folder)
    assert str(error.value) == finding.line


def test_a_file_or_folder_that_may_not_be_read(tmp_path, monkeypatch):
    folder = good(tmp_path / "dog")
    read, listed = Path.read_bytes, os.listdir

    def refuse(path):
        if path.name == "02.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as patch:  # root may read everything, so the file's own mode would not do
        patch.setattr(Path, "read_bytes", refuse)
        (finding,) = examine(folder).errors
    assert finding.line == f"{folder / '02.png'}: cannot be read (Permission denied); mend its permissions or delete it"

    def closed(path="."):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", closed)
    lines = [f.line for f in survey(folder).errors]
    assert lines == [f"{folder}: cannot be opened (Permission denied); mend its permissions"]


def test_turned_by_exif_equals_upright(tmp_path):
    folder = good(tmp_path / "dog")
    upright = picture(40, 120, 80)
    upright.save(folder / "upright.png")
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        undone = {  # what a camera stores so that this orientation shows the upright picture
            2: [Image.Transpose.FLIP_LEFT_RIGHT],
            3: [Image.Transpose.ROTATE_180],
            4: [Image.Transpose.FLIP_TOP_BOTTOM],
            5: [Image.Transpose.TRANSPOSE],
            6: [Image.Transpose.ROTATE_90],
            7: [Image.Transpose.TRANSVERSE],
            8: [Image.Transpose.ROTATE_270],
        }
        stored = upright
        for step in undone[orientation]:
            stored = stored.transpose(step)
        path = folder / f"turned{orientation}.png"
        stored.save(path, exif=exif)
        assert np.array_equal(pixels(path), pixels(folder / "upright.png")), orientation
        found = open_photo(path)
        assert found is not None and (found.width, found.height) == (120, 80)
    assert sum("turned by its EXIF orientation; set upright" in line for line in notes(folder)) == 7


def test_alpha_is_laid_over_white(tmp_path):
    folder = good(tmp_path / "dog")
    colour = np.zeros((64, 64, 4), np.uint8)
    colour[..., 0] = 200
    colour[:, 32:, 3] = 255  # left: transparent red; right: opaque red
    colour[:32, 32:, 3] = 51  # above right: a fifth of it
    Image.fromarray(colour).save(folder / "alpha.png")
    seen = pixels(folder / "alpha.png")
    assert (seen[:, :32] == 255).all()
    assert (seen[32:, 32:] == [200, 0, 0]).all()
    assert np.abs(seen[:32, 32:] - [244, 204, 204]).max() <= 1

    image = picture(1, 64, 64).quantize(8)
    index = np.asarray(image)
    image.save(folder / "palette.png", transparency=0)
    assert (pixels(folder / "palette.png")[index == 0] == 255).all()
    assert [line.split(": ", 1)[1] for line in notes(folder)] == [
        "transparent; laid over white",
        "palette; converted to RGB",
        "transparent; laid over white",
    ]


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    folder = good(tmp_path / "dog")
    ramp = np.broadcast_to(np.linspace(0, 65535, 64).round().astype(np.uint16), (64, 64))
    Image.fromarray(ramp).save(folder / "deep.png")
    Image.fromarray(ramp).save(folder / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        seen = pixels(folder / name)
        assert np.abs(seen[0, :, 0] - np.linspace(0, 255, 64)).max() <= 1
        assert (seen[..., 0] == seen[..., 2]).all()
    assert [line.split(": ", 1)[1] for line in notes(folder)] == ["16-bit; scaled to 8-bit"] * 2


def test_cmyk_looks_as_it_did(tmp_path):
    folder = good(tmp_path / "dog")
    picture(30).convert("CMYK").save(folder / "print.tif")
    picture(30).convert("CMYK").save(folder / "print.jpg", quality=95)
    picture(30).save(folder / "screen.png")
    assert np.abs(pixels(folder / "print.tif") - pixels(folder / "screen.png")).max() <= 2
    assert np.abs(pixels(folder / "print.jpg") - pixels(folder / "screen.png")).mean() < 4
    assert sum("CMYK; converted to RGB" in line for line in notes(folder)) == 2


def test_palette_and_grey_and_the_centre_square(tmp_path):
    folder = good(tmp_path / "dog")
    picture(5).quantize(64).save(folder / "few.png")
    assert np.array_equal(pixels(folder / "few.png"), np.asarray(_fitted(picture(5).quantize(64).convert("RGB"))))
    picture(5).convert("L").save(folder / "grey.png")
    assert np.ptp(pixels(folder / "grey.png"), axis=-1).max() == 0
    wide = np.zeros((64, 256, 3), np.uint8)
    wide[:, 96:160] = picture(6, 64, 64)
    Image.fromarray(wide).save(folder / "wide.png")
    assert np.array_equal(pixels(folder / "wide.png"), np.asarray(picture(6, 64, 64)))  # nothing of the black sides


def _fitted(image: Image.Image) -> Image.Image:
    return ImageOps.fit(image, (64, 64), Image.Resampling.LANCZOS)


def test_thirty_megapixels_are_reduced_while_they_are_decoded(tmp_path, monkeypatch):
    folder = good(tmp_path / "dog")
    large = picture(7, 6200, 5000)
    large.save(folder / "large.jpg", quality=92)
    assert notes(folder) == [f"{folder / 'large.jpg'}: 31 megapixels; reduced while it is decoded"]
    assert np.abs(pixels(folder / "large.jpg") - np.asarray(_fitted(large)).astype(int)).mean() < 2
    content = (folder / "large.jpg").read_bytes()
    assert photo._decode(content, 512).size == (1550, 1250)
    monkeypatch.setattr(photo, "LARGE", 10**9)
    assert photo._decode(content, 512).size == (6200, 5000)


def test_the_header_is_asked_before_anything_is_decoded(tmp_path, monkeypatch):
    from photo_samples import png_header

    (tmp_path / "bomb.png").write_bytes(png_header(12_000, 9_000))  # 108 megapixels: Pillow would only warn
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    monkeypatch.setattr(photo, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(Unusable, match="too large"):
        open_photo(tmp_path / "bomb.png")


def test_a_name_that_is_no_text(tmp_path):
    folder = good(tmp_path / "dog")
    (folder / "03.png").rename(Path(os.fsdecode(bytes(folder) + b"/\xff\n.png")))
    (finding,) = examine(folder).errors
    assert finding.line.endswith("the name has signs that cannot be written down; rename it")
    assert "\\udcff" in finding.line and finding.line.encode()
    folder.rename(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    assert [f.line.encode() for f in survey(tmp_path).errors]


def test_strays_and_odd_names_are_taken_care_of(tmp_path):
    folder = good(tmp_path / "dog")
    for name in (".DS_Store", "Thumbs.db", "model.safetensors", "._00.png", "settings.json", "README.txt"):
        (folder / name).write_bytes(b"\x00\x05rubbish")
    (folder / "old").mkdir()
    os.mkfifo(folder / "pipe")
    picture(11).save(folder / "mein schöner Hund.png")
    picture(12).save(folder / "собака.png")
    picture(14).save(folder / "Screenshot at 10.00\u202fAM \U0001f468\u200d\U0001f467.png")
    picture(13).save(folder / "no-ending", "PNG")
    found = examine(folder)
    assert len(found.train) + len(found.references) == 8
    lines = notes(folder)
    (odd,) = (line for line in lines if "names with spaces or non-Latin letters" in line)
    assert "mein schöner Hund.png" in odd and "собака.png" in odd and odd.endswith("; used as they are")
    (strays,) = (line for line in lines if "not images" in line)
    assert "Thumbs.db" in strays and "pipe" in strays and strays.endswith("; ignored")
    assert any("sub-folders: old; ignored" in line for line in lines)


def test_name_order_is_by_number_and_the_same_everywhere():
    names = ["10.jpg", "9.jpg", "a2.jpg", "A10.jpg", "a1.jpg", "010.jpg", "1.jpg", "²9.jpg", "9" * 30 + ".jpg"]
    expected = ["1.jpg", "9.jpg", "010.jpg", "10.jpg", "9" * 30 + ".jpg", "a1.jpg", "a2.jpg", "A10.jpg", "²9.jpg"]
    names_backwards = names[::-1]
    assert sorted(names, key=name_order) == sorted(names_backwards, key=name_order) == expected


@pytest.mark.parametrize(("count", "held_out"), [(3, 1), (4, 2), (5, 2), (6, 2), (7, 3), (10, 4)])
def test_a_third_is_held_out_the_last_in_name_order(count, held_out, tmp_path):
    found = examine(good(tmp_path / "dog", count))
    names = [p.path.name for p in (*found.train, *found.references)]
    assert len(found.references) == held_out and names == sorted(names)


def test_a_split_can_be_declared(tmp_path):
    folder = good(tmp_path / "dog")
    assert [len(examine(folder, n).references) for n in (1, 2, 3)] == [1, 2, 3]
    (too_many,) = examine(folder, 4).errors
    assert "has 4 images, and the sequence holds out 4; lower `references`" in too_many.line
    for part, names in (("train", ("03", "01")), ("reference", ("00",))):
        (folder / part).mkdir()
        for name in names:
            (folder / f"{name}.png").rename(folder / part / f"{name}.png")
    found = examine(folder)
    assert [p.path.name for p in found.train] == ["01.png", "03.png"]
    assert [p.path.name for p in found.references] == ["00.png"]
    assert any("beside train and reference: 02.png; ignored" in f.line for f in found.findings)
    assert "take `references` out" in examine(folder, 1).errors[0].line


def test_captions_from_metadata_and_text_files(tmp_path):
    folder = good(tmp_path / "dog", 7)
    rows = [
        {"file_name": "00.png", "text": "a {} on grass"},
        {"file_name": "01.png", "text": "a brown Dog beside another dog, hotdogs"},
        {"file_name": "./02.png", "text": "lying  on\n a sofa"},
        {"file_name": "06.png", "text": "a reference"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    (folder / "03.txt").write_bytes("\ufeffphoto of sks dog and a {hat}\n".encode())
    (folder / "02.txt").write_text("never used")
    captions = concept(folder).train_captions
    assert captions == (
        "a {} on grass",
        "a brown {} beside another dog, hotdogs",
        "a photo of {}, lying on a sofa",
        "photo of {} and a {hat}",
    )
    filled = concept(folder)
    assert filled.fill(captions[3], "trigger") == "photo of sks dog and a {hat}"
    assert filled.fill(captions[3], "noun") == "photo of dog and a {hat}"
    assert concept(good(tmp_path / "plain")).train_captions == ("a photo of {}",) * 2
    assert concept(tmp_path / "plain", caption="picture of {}").train_captions == ("picture of {}",) * 2


def test_captions_of_names_with_accents_and_texts_with_odd_ends_of_lines(tmp_path):
    folder = good(tmp_path / "dog", 4)
    (folder / "00.png").rename(folder / unicodedata.normalize("NFD", "00é.png"))
    row = {"file_name": unicodedata.normalize("NFC", "00é.png"), "text": "a {} on\u2028grass"}
    (folder / "metadata.jsonl").write_text(json.dumps(row, ensure_ascii=False), "utf-8")
    assert "a {} on grass" in concept(folder).train_captions
    (folder / "metadata.jsonl").unlink()
    (folder / unicodedata.normalize("NFC", "00é.txt")).write_text("a {} asleep", "utf-8")
    assert "a {} asleep" in concept(folder).train_captions


def test_captions_above_the_folder_and_in_its_parts(tmp_path):
    folder = good(tmp_path / "all" / "dog")
    good(tmp_path / "all" / "cat", first=20)
    rows = [{"file_name": f"{name}/00.png", "text": f"a {name} up there"} for name in ("dog", "cat")]
    (tmp_path / "all" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert concept(folder).train_captions == ("a {} up there", "a photo of {}")
    for part, name in (("train", "00"), ("train", "01"), ("reference", "02"), ("reference", "03")):
        (folder / part).mkdir(exist_ok=True)
        (folder / f"{name}.png").rename(folder / part / f"{name}.png")
    (tmp_path / "all" / "metadata.jsonl").unlink()
    (folder / "train" / "metadata.jsonl").write_text('{"file_name": "01.png", "text": "a dog within"}', "utf-8")
    assert concept(folder).train_captions == ("a photo of {}", "a {} within")


def test_words_take_their_places_and_articles():
    assert template("a photo of <new1> cat, a <new1> cat", "<new1>", "cat") == "a photo of {}, a {}"
    assert template("SKS on grass", "sks", "dog") == "{} on grass"
    assert template("a category", "sks", "cat") == "a photo of {}, a category"
    assert fill("a {} and an {}", "umbrella") == "an umbrella and an umbrella"
    assert fill("An {}", "dog") == "A dog"
    assert fill("a {}", "uwu bear") == "an uwu bear"
    assert fill("a {}, a apple, a use", "unicorn") == "a unicorn, a apple, a use"  # other words are the user's own


def test_the_three_forms_and_a_trigger_that_would_give_itself_away(tmp_path):
    folder = good(tmp_path / "dog")
    found = concept(folder)
    forms = [found.fill("a photo of {}", form) for form in ("trigger", "noun", "token")]
    assert forms == ["a photo of sks dog", "a photo of dog", "a photo of sks"]
    with pytest.raises(TaskError, match="unknown form"):
        found.fill("a {}", "class")
    with pytest.raises(TaskError, match="trigger 'sks' is also a word of 'a photo of Sks hound'"):
        concept(folder, noun="Sks hound")


def test_the_fingerprint_is_of_content_not_of_place(tmp_path):
    folder = good(tmp_path / "dog", 6)
    before = concept(folder).fingerprint
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / "hound")
    assert concept(moved).fingerprint == before
    (moved / "notes.txt").write_text("a stray file")
    os.utime(moved / "00.png")
    assert concept(moved).fingerprint == before

    def changed(change) -> str:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(moved, copy)
        change(copy)
        return concept(copy).fingerprint

    def edit(copy: Path, name: str) -> None:
        image = Image.open(copy / name)
        image.load()
        image.putpixel((0, 0), (1, 2, 3))
        image.save(copy / name)

    others = [
        changed(lambda copy: edit(copy, "00.png")),
        changed(lambda copy: edit(copy, "05.png")),  # a reference
        changed(lambda copy: (copy / "00.txt").write_text("a dog on grass")),
        changed(lambda copy: (copy / "00.png").rename(copy / "99.png")),  # held out now
        photo_concept(examine(moved, 3), "dog", "sks", "dog", ("a {} in the snow",)).fingerprint,
        photo_concept(examine(moved), "dog", "zwz", "dog", ("a {} in the snow",)).fingerprint,
        photo_concept(examine(moved), "dog", "sks", "pup", ("a {} in the snow",)).fingerprint,
        photo_concept(examine(moved), "dog", "sks", "dog", ("a {} on ice",)).fingerprint,
    ]
    assert len({before, *others}) == 1 + len(others)


def test_what_is_learned_from_has_a_fingerprint_of_its_own(tmp_path):
    folder = good(tmp_path / "dog", 6)
    found = concept(folder)
    before = found.learning_fingerprint
    picture(99).save(folder / "05.png")  # a reference
    for judged in (concept(folder), replace(found, prompts=("a {} on ice", "a {} asleep"))):
        assert judged.learning_fingerprint == before and judged.fingerprint != found.fingerprint
    picture(98).save(folder / "00.png")
    captioned = replace(found, train_captions=("a {} on grass", *found.train_captions[1:]))
    for learned in (concept(folder), captioned, replace(found, trigger="zwz"), replace(found, noun="pup")):
        assert learned.learning_fingerprint != before


def test_a_photo_that_changes_under_way_is_noticed(tmp_path):
    folder = good(tmp_path / "dog")
    found = concept(folder)
    assert [image.size for image in found.train_images(48)] == [(48, 48)] * 2
    assert [image.size for image in found.reference_images(48)] == [(48, 48)] * 2
    picture(99).save(folder / "00.png")
    with pytest.raises(TaskError, match="has changed since it was checked"):
        found.train_images(48)
