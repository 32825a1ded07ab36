"""Learned triggers as textual-inversion files that stock diffusers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cat_bench.benchmark.artifacts.learned import Learned
from cat_bench.benchmark.backbones.folders import backbone_folder


@dataclass(frozen=True)
class Token:
    """A learned embedding (1, d): `word` stands for it in prompts, `file` holds it."""

    trigger: str
    word: str
    file: str
    parts: Mapping[str, Tensor]

    @property
    def two(self) -> bool:
        """Whether it is for two text encoders."""
        return len(self.parts) > 1


def learned_tokens(learned: Learned) -> list[Token]:
    """Each learned trigger as a textual-inversion file: its key is the word; `clip_l`, `clip_g` for two encoders."""
    if not learned.tokens:
        return []
    _, folder = backbone_folder(learned.run.spec.backbone)
    vocabulary = _vocabulary(folder)
    width = json.loads((folder / "text_encoder" / "config.json").read_text("utf-8"))["hidden_size"]
    ids = {concept.trigger: concept.id for concept in learned.concepts}
    found = []
    for trigger, tensor in learned.tokens.items():
        # diffusers refuses a word that the tokenizer has a piece for; one in angle brackets is never among those.
        word = f"<{trigger}>" if trigger in vocabulary else trigger
        parts = {word: tensor}
        if tensor.shape[1] > width:
            parts = {"clip_l": tensor[:, :width].contiguous(), "clip_g": tensor[:, width:].contiguous()}
        found.append(Token(trigger, word, f"tokens/{ids[trigger]}.safetensors", parts))
    return found


def _vocabulary(folder: Path) -> set[str]:
    from transformers import CLIPTokenizer

    parts = [folder / name for name in ("tokenizer", "tokenizer_2") if (folder / name).is_dir()]
    return {word for part in parts for word in CLIPTokenizer.from_pretrained(part, local_files_only=True).get_vocab()}
