"""A sequence, a domain and its engine without any network: a run in milliseconds, killed at any moment."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cat_bench.benchmark.planning.engine import Pictures
from cat_bench.benchmark.planning.events import Learning
from cat_bench.benchmark.planning.identity import CLIP, DINO, Identity, Model
from cat_bench.benchmark.planning.items import Item, portions
from cat_bench.benchmark.planning.plan import CellPlan, StagePlan
from cat_bench.benchmark.planning.spec import RunSpec
from cat_bench.benchmark.store.files import write_arrays

SIZE = 8


def numbers(*parts: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Random numbers that depend on the parts alone."""
    seed = int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big")
    return np.random.default_rng(seed).random(shape)


def picture(*parts: Any) -> NDArray[np.uint8]:
    return (numbers(*parts, shape=(SIZE, SIZE, 3)) * 255).astype(np.uint8)


@dataclass(frozen=True)
class FakeConcept:
    id: str
    noun: str = "person"
    prompts: tuple[str, ...] = ("a {} on a hill", "a {} at sea", "a red {}")
    train_captions: tuple[str, ...] = ("a {} one", "a {} two", "a {} three", "a {} four", "a {} five", "a {} six")

    @property
    def trigger(self) -> str:
        return f"{self.id}o"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def learning_fingerprint(self) -> str:
        return hashlib.sha256(repr((self.id, self.noun, self.train_captions)).encode()).hexdigest()

    def fill(self, template: str, form: str) -> str:
        forms = {"trigger": f"{self.trigger} {self.noun}", "noun": self.noun, "token": self.trigger}
        return template.format(forms[form])

    def train_images(self, size: int) -> list[Image.Image]:
        return [Image.fromarray(picture(self.id, "train", i)).resize((size, size)) for i in range(6)]

    def reference_images(self, size: int) -> list[Image.Image]:
        return [Image.fromarray(picture(self.id, "reference", i)).resize((size, size)) for i in range(4)]


@dataclass(frozen=True)
class FakeSequence:
    id: str = "letters3"
    concepts: tuple[FakeConcept, ...] = (FakeConcept("ada"), FakeConcept("bob"), FakeConcept("cy"))
    version: str = "1"
    title: str = "Letters"
    license: str = "CC0-1.0"
    citation: str = "nobody"
    preservation: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"class": ("a person", "two persons"), "other": ("a robot", "a tree", "a star")}
    )

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.concepts, dict(self.preservation))).encode()).hexdigest()

    def check(self) -> None:
        """Nothing is shipped."""

    def ordered(self, order: int, seed: int = 0) -> tuple[FakeConcept, ...]:
        turn = order % len(self.concepts)
        return self.concepts[turn:] + self.concepts[:turn]


@dataclass
class FakeEngine:
    """Domain and engine in one. Each result is a function of the earlier adapter's bytes, the prompt and the seed."""

    spec: RunSpec
    calls: list[str] = field(default_factory=list)
    pause: float = 0.0
    fail: Mapping[str, BaseException] = field(default_factory=dict)  # concept → what goes wrong when it is learned
    fingerprint: str = "backbone"
    metric_id: str = "eye"
    metric_fingerprint: str = "metric"
    batch: int = 4
    opened: int = 0

    def settled(self, spec: RunSpec) -> RunSpec:
        return spec

    def files(self, spec: RunSpec) -> tuple[Path, ...]:
        return (Path(__file__).parent,)

    def identity(self, spec: RunSpec) -> Identity:
        judges = {CLIP: Model(self.metric_id, self.metric_fingerprint)}
        if spec.dino:
            judges[DINO] = Model(spec.dino, f"of {spec.dino}")
        how = {"device": "cpu", "precision": "fp32"}
        return Identity(Model("fake", self.fingerprint), judges, None, SIZE, how)

    def reader(self, spec: RunSpec) -> None:
        """It has no part reader."""

    def inputs(self) -> dict[str, int]:
        return {"block.attn1.to_q": 64, "block.attn2.to_k": 40}

    def open(self, spec: RunSpec) -> FakeEngine:
        self.opened += 1
        return self

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def tokens(self, text: str) -> int:
        return len(text)

    def learn(self, cell: CellPlan, stage: StagePlan, target: Path) -> Generator[Learning, None, dict[str, Any]]:
        assert stage.concept is not None
        self.calls.append(f"learn {cell.cell.path} {stage.concept.id}")
        before = stage.previous.read_bytes().hex() if stage.previous else ""
        for step in range(3):
            time.sleep(self.pause)
            yield Learning(step + 1, 3, 1.0 / (step + 1))
        if stage.concept.id in self.fail:
            raise self.fail[stage.concept.id]
        settings = cell.config.model_dump_json()
        write_arrays(
            target, {"A": numbers(before, stage.concept.id, cell.cell.method, settings, cell.cell.seed, shape=(4,))}
        )
        return {
            "trainable_parameters": 4,
            "bytes_carried": target.stat().st_size,
            "delta_norm": 1.0,
            "change_norm": 0.5,
        }

    def sample(
        self, cell: CellPlan | None, stage: StagePlan, adapter: Path | None, start: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        self.calls.append(f"sample {cell.cell.path if cell else 'base'} {stage.number} from {start}")
        parts = list(portions([item.company for item in stage.items], self.batch))
        assert start in [part.start for part in parts]
        model = adapter.read_bytes().hex() if adapter else ""
        for part in parts:
            if part.start >= start:
                time.sleep(self.pause)
                yield part.start, np.stack([self.draw(model, item, stage.items[part]) for item in stage.items[part]])

    def draw(self, model: str, item: Item, company: Sequence[Item]) -> NDArray[np.uint8]:
        """One picture; company: all that are made at once with it."""
        return picture(model, item.text, item.seed)

    def embed(self, role: str, pictures: Pictures) -> NDArray[np.float32]:
        flat = np.stack([np.asarray(p, dtype=np.float64).reshape(-1) for p in pictures])
        if role == DINO:
            return _unit(flat @ (numbers("dino", shape=(flat.shape[1], 5)) - 0.5))
        return _unit(flat @ numbers("projection", shape=(flat.shape[1], 6)) - flat.mean(axis=1, keepdims=True) * 90)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return _unit(np.stack([numbers(text, shape=(6,)) for text in texts]) - 0.5)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def tables(folder: Path) -> dict[str, bytes]:
    """Everything in a run that must be equal however often it was interrupted."""
    patterns = ("**/scores.parquet", "**/embeddings.safetensors", "**/adapter.safetensors", "**/images.parquet")
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


_TIMES = ("seconds", "peak_memory_bytes", "written", "started", "finished", "complete", "git")


def tree(folder: Path) -> dict[str, Any]:
    """Every file below a folder: its bytes; records without their times and peaks of memory."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        content: Any = path.read_bytes()
        if path.name in ("stage.json", "run.json"):
            content = {key: value for key, value in json.loads(content).items() if key not in _TIMES}
        found[str(path.relative_to(folder))] = content
    return found
