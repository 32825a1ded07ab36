"""What the hub hands over for the readings: answers of the reader, truths of the concepts, reasons for none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from run_fakes import FakeConcept

from cat_bench.benchmark.extractors import part_reader
from cat_bench.benchmark.text_to_image.readings import NO_PARTS, NO_READER, of_prompts, of_references, readings
from cat_bench.results.scoring import reading_rows
from cat_bench.results.scoring.reading_rows import share_obeyed, share_right
from cat_bench.results.scoring.scores import Reading
from cat_bench.tasks.avatars.drawing import Picture
from cat_bench.tasks.avatars.questions import facts, heads
from cat_bench.tasks.sequence import load_sequence

VADORO: Any = load_sequence("smoke2").concepts[0]


def reader(said: Mapping[str, Sequence[str]]) -> Any:
    return SimpleNamespace(read=lambda vectors: said)


def perfect(pictures: Sequence[Picture]) -> dict[str, list[str]]:
    """What a reader without fault says."""
    true = [facts(picture) for picture in pictures]
    return {head.name: [one.get(head.name, "not readable") for one in true] for head in heads()}


def test_a_perfect_reader_reads_every_reference_whole() -> None:
    vectors = {VADORO.id: np.zeros((12, 3), dtype=np.float32)}
    found = readings(reader(perfect(VADORO.reference_pictures)), [VADORO], vectors, of_references)[VADORO.id]
    assert isinstance(found, Reading) and found.kind == "person"
    assert share_right(found.said, found.identity, 12).tolist() == [1.0] * 12
    assert share_obeyed(found.said, found.asked).tolist() == [1.0] * 12
    assert all({"background", "person/expression", "person/clothes"} <= set(wanted) for wanted in found.asked)


def test_prompts_ask_for_each_of_their_images() -> None:
    asked = of_prompts(2)(VADORO)
    yellow = {"background": frozenset({"yellow"})}
    assert asked == [{}, {}, yellow, yellow]


def test_reasons_for_no_reading() -> None:
    vectors = {VADORO.id: np.zeros((12, 3), dtype=np.float32), "ada": np.zeros((12, 3), dtype=np.float32)}
    found = readings(None, [VADORO, FakeConcept("ada")], vectors, of_prompts(1))
    assert found == {VADORO.id: NO_READER, "ada": NO_PARTS}
    other = readings(reader({"class": ["person"] * 12}), [VADORO], vectors, of_references)[VADORO.id]
    assert isinstance(other, str) and "no question 'background'" in other and "another edition" in other


def test_both_sides_call_it_not_readable() -> None:
    assert part_reader.NOT_READABLE == reading_rows.NOT_READABLE


def test_who_scores_needs_no_pytorch_to_read() -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.text_to_image import scoring
from cat_bench.benchmark.text_to_image.models import TextToImage
reader = TextToImage().reader(resolve({}))
print(len(reader.read(np.eye(2, reader.weights["hidden.weight"].shape[1], dtype=np.float32))["class"]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "2\n"
