"""The part reader: what a picture of the world shows, read off the metric model's vector of it.

Only NumPy: readings follow from stored vectors, with no picture and no model at hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

NOT_READABLE = "not readable"
ABOUT = "part_reader.json"


@dataclass(frozen=True)
class Question:
    """One of the reader's questions: "person/top", asked of its class only, with all answers, the last NOT_READABLE."""

    name: str
    about: str  # "class", "identity" or "scene"
    kind: str | None  # None: asked of every picture
    answers: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class PartReader:
    """A network of one hidden layer on unit vectors of the metric model that it came with."""

    questions: tuple[Question, ...]
    scale: float
    weights: dict[str, NDArray[np.float32]]

    @classmethod
    def beside(cls, folder: Path | None) -> PartReader | None:
        """That of a metric model in this folder, if it has one."""
        return cls.load(folder) if folder is not None and (folder / ABOUT).is_file() else None

    @classmethod
    def load(cls, folder: Path) -> PartReader:
        """From `part_reader.json` and `part_reader.safetensors` in a metric model's folder."""
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text("utf-8"))
        questions = tuple(Question(q["name"], q["about"], q["class"], tuple(q["answers"])) for q in about["heads"])
        weights = {
            name: values.astype(np.float32) for name, values in load_file(folder / "part_reader.safetensors").items()
        }
        return cls(questions, float(about["scale"]), weights)

    def read(self, vectors: NDArray[np.float32], names: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Question → the answers (n) for unit vectors (n, d); all questions, or those named.

        A question about another class than the picture's own is answered NOT_READABLE.
        """
        w = self.weights
        hidden = np.maximum(self.scale * vectors @ w["hidden.weight"].T + w["hidden.bias"], 0)
        logits = hidden @ w["answer.weight"].T + w["answer.bias"]
        found: dict[str, list[str]] = {}
        first = 0
        for question in self.questions:
            best = logits[:, first : first + len(question.answers)].argmax(1)
            found[question.name] = [question.answers[i] for i in best]
            first += len(question.answers)
        for question in self.questions:
            if question.kind is not None:
                pairs = zip(found[question.name], found["class"], strict=True)
                found[question.name] = [a if kind == question.kind else NOT_READABLE for a, kind in pairs]
        return found if names is None else {name: found[name] for name in names}
