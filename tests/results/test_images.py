"""A stage's images in one file: what goes in comes out, the same bytes each time, and other programs read it."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cat_bench.results.errors import ResultError
from cat_bench.results.records import images as module
from cat_bench.results.records.images import ROWS, Row, StageImages, write_images

ROWS_OF_TWO = [
    Row(f"{concept}/{prompt:02d}-{number}.png", "concept", concept, prompt, number, f"a {concept}", 2**62 + number)
    for concept in ("ada", "bob")
    for prompt in range(5)
    for number in range(4)
] + [Row("preservation/class/00-0.png", "preservation", "class", 0, 0, "a person", 7)]


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PNGS = [png(number) for number in range(len(ROWS_OF_TWO))]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_images(tmp_path / "images.parquet", ROWS_OF_TWO, PNGS)
    return tmp_path / "images.parquet"


def test_what_goes_in_comes_out(written: Path) -> None:
    found = StageImages(written)
    assert len(found) == 41 and found.rows == tuple(ROWS_OF_TWO)
    for start, stop in ((0, 41), (0, 1), (15, 17), (16, 32), (40, 41), (3, 3)):
        assert found.pngs(start, stop) == PNGS[start:stop]
    one = found.find("bob", 3, 2)
    assert one is not None and one.read_bytes() == PNGS[20 + 3 * 4 + 2]
    assert found.find("bob", 5, 0) is None and found.find("class", 0, 0) is None
    assert found.find("class", 0, 0, "preservation") is not None


def test_the_same_images_give_the_same_bytes(written: Path) -> None:
    before = written.read_bytes()
    write_images(written, ROWS_OF_TWO, iter(PNGS))
    assert written.read_bytes() == before and not list(written.parent.glob(".*"))


def test_one_image_is_read_without_the_others(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, list[str]]] = []
    real = pq.ParquetFile.read_row_groups

    def noting(self: pq.ParquetFile, groups: list[int], columns: list[str], **more: object) -> object:
        asked.append((len(groups), columns))
        return real(self, groups, columns, **more)

    monkeypatch.setattr(module.pq.ParquetFile, "read_row_groups", noting)
    one = StageImages(written).find("ada", 1, 1)
    assert one is not None and one.read_bytes()
    assert asked == [(3, ["kind", "concept", "prompt", "number"]), (1, ["image.bytes"])]
    assert ROWS == 16 and pq.read_metadata(written).row_group(0).num_rows == 16


def test_it_is_the_form_of_image_datasets(written: Path) -> None:
    table = pq.read_table(written)
    first = table.column("image")[0].as_py()
    assert first == {"bytes": PNGS[0], "path": "ada/00-0.png"}
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}}
    assert table.column("noise").to_pylist()[:2] == [2**62, 2**62 + 1]
    picked = pq.read_table(written, columns=["image"], filters=[("concept", "=", "bob"), ("number", "=", 0)])
    assert len(picked) == 5


def test_a_damaged_file_is_one_clear_line(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-9])
    with pytest.raises(ResultError, match=r"images\.parquet cannot be read .*: delete its folder and run again"):
        StageImages(written)
    pq.write_table(pq.read_table(io.BytesIO(_other())), written)
    with pytest.raises(ResultError, match="lacks the columns concept, image, kind"):
        StageImages(written)


def _other() -> bytes:
    import pyarrow as pa

    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": [1]}), buffer)
    return buffer.getvalue()


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StopIteration):
        write_images(tmp_path / "images.parquet", ROWS_OF_TWO, PNGS[:20])
    assert not list(tmp_path.iterdir())
