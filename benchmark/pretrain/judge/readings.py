"""The part reader in training: a small network from the metric model's unit vectors to an answer for every question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from cat_bench.benchmark.extractors.part_reader import NOT_READABLE
from cat_bench.benchmark.pretrain.pictures.damage import HIDDEN, ILLEGIBLE, LEGIBLE, SEEN, Damaged
from cat_bench.tasks.avatars.drawing import Picture
from cat_bench.tasks.avatars.questions import facts, heads

HIDDEN_WIDTH = 256
Answers = NDArray[np.int16]


def answers(picture: Picture) -> Answers:
    """Numbers of the answers (heads,), −1 where a question is not asked; `len(head.answers)` is "not readable"."""
    given = facts(picture)
    return np.array([h.answers.index(given[h.name]) if h.name in given else -1 for h in heads()], dtype=np.int16)


def readable(true: Answers, damaged: Damaged) -> Answers:
    """What the reader should say of a damaged picture: the truth, "not readable", or either (−1) in between."""
    sizes = np.array([len(h.answers) for h in heads()], dtype=np.int16)
    if damaged.gone:
        gone = np.array([damaged.gone.get(h.name, 0.0) for h in heads()])
    else:
        low, high = LEGIBLE, ILLEGIBLE
        gone = np.full(len(sizes), HIDDEN if damaged.lost >= high else SEEN if damaged.lost <= low else 0.5)
    said = np.where(gone >= HIDDEN, sizes, np.where(gone <= SEEN, true, -1))
    return np.where(true < 0, -1, said).astype(np.int16)


def seen(true: Answers, gone: Mapping[str, float]) -> Answers:
    """The answers that are still to be seen when shares of some parts' pixels are gone."""
    kept = np.array([gone.get(h.name, 0.0) < HIDDEN for h in heads()])
    return np.where(kept, true, -1).astype(np.int16)


class ReadOut(nn.Module):
    """One hidden layer; the answers of all heads side by side, "not readable" the last of each."""

    columns: torch.Tensor  # (heads, most answers): where each head's answers stand
    absent: torch.Tensor  # the same shape: True where a head has no more answers

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [len(h.answers) + 1 for h in heads()]
        self.scale = width**0.5  # unit vectors have small entries
        self.hidden = nn.Linear(width, HIDDEN_WIDTH)
        self.answer = nn.Linear(HIDDEN_WIDTH, sum(sizes))
        columns = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
        absent = torch.ones(len(sizes), max(sizes), dtype=torch.bool)
        first = 0
        for row, size in enumerate(sizes):
            columns[row, :size] = torch.arange(first, first + size)
            absent[row, :size] = False
            first += size
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("absent", absent, persistent=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, d) to logits (n, heads, most answers), −10⁴ where a head has fewer."""
        logits: torch.Tensor = self.answer(F.relu(self.hidden(self.scale * vectors)))
        return logits[:, self.columns].masked_fill(self.absent, -1e4)

    def loss(self, vectors: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, mean over the questions asked; wanted (n, heads), −1: not asked."""
        asked = wanted >= 0
        return F.cross_entropy(self(vectors)[asked], wanted[asked])


def save_reader(read_out: ReadOut, folder: Path) -> None:
    """Write `part_reader.safetensors` (fp16) and `part_reader.json`, which `extractors.part_reader` reads."""
    about = [
        {"name": h.name, "about": h.about, "class": h.kind, "answers": [*h.answers, NOT_READABLE]} for h in heads()
    ]
    text = json.dumps({"scale": read_out.scale, "heads": about}, indent=1)
    (folder / "part_reader.json").write_text(text + "\n", "utf-8")
    weights = {k: v.detach().cpu().half().contiguous() for k, v in read_out.state_dict().items()}
    save_file(weights, folder / "part_reader.safetensors")
