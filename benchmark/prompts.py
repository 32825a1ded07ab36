"""Prompts to embeddings, with learned trigger tokens where a method has some."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

logger = logging.getLogger(__name__)


class PromptEncoder:
    """Encodes prompts as Stable Diffusion does: the text encoder's last hidden state at the tokenizer's full length.

    A prompt is encoded alone, never beside others, so that its embedding does not depend on its neighbours (a batch of
    another size may round differently), and kept: the text encoder is frozen. Learned tokens stand in for the word of
    their trigger by replacing what the embedding layer returns; the shared embedding table is never touched.
    """

    def __init__(self, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, device: torch.device) -> None:
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.device = device
        self.length = int(tokenizer.model_max_length)
        self._cache: dict[str, Tensor] = {}
        self._cut: set[str] = set()  # said once each

    def __call__(self, prompts: Sequence[str], token: Mapping[str, Tensor] | None = None) -> Tensor:
        """Embeddings of n prompts: (n, L, d).

        `token` gives learned embeddings (1, d) by trigger. Prompts that name such a trigger are encoded anew, with
        gradient to the embedding where it is asked for; all others come from the cache, without gradient.
        """
        tokens = dict(token or {})
        learned = [p for p in dict.fromkeys(prompts) if any(word(trigger).search(p) for trigger in tokens)]
        encoded: dict[str, Tensor] = {}
        if learned and torch.is_grad_enabled() and any(t.requires_grad for t in tokens.values()):
            encoded.update(zip(learned, self._encode(learned, tokens), strict=True))
        else:
            with torch.no_grad():
                encoded.update((p, self._encode([p], tokens)[0]) for p in learned)
        for prompt in prompts:
            if prompt not in encoded:
                encoded[prompt] = self._cached(prompt)
        return torch.stack([encoded[prompt] for prompt in prompts])

    def _cached(self, prompt: str) -> Tensor:
        if prompt not in self._cache:
            with torch.no_grad():
                self._cache[prompt] = self._encode([prompt], {})[0]
        return self._cache[prompt]

    def _encode(self, prompts: Sequence[str], tokens: Mapping[str, Tensor]) -> Tensor:
        triggers = list(tokens)
        rows = [self.token_ids(prompt, triggers) for prompt in prompts]
        ids = torch.tensor([row for row, _ in rows], device=self.device)
        places = torch.tensor([place for _, place in rows], device=self.device)
        mask = None
        if getattr(self.text_encoder.config, "use_attention_mask", False):
            mask = (ids != self.tokenizer.pad_token_id).long()
        with _replaced(self.text_encoder.get_input_embeddings(), places, [tokens[t] for t in triggers]):
            hidden: Tensor = self.text_encoder(ids, attention_mask=mask).last_hidden_state
        return hidden

    def token_ids(self, prompt: str, triggers: Sequence[str] = ()) -> tuple[list[int], list[int]]:
        """Token ids of length L, and at each place the number of the learned trigger that stands there, or −1."""
        body: list[int] = []
        places: list[int] = []
        for text, trigger in _split(prompt, triggers):
            # The id under a learned token is never looked at, as its embedding is replaced; any valid one will do.
            ids = [0] if trigger >= 0 else self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            body += ids
            places += [trigger] * len(ids)
        room = self.length - 2
        if len(body) > room and prompt not in self._cut:
            self._cut.add(prompt)
            logger.warning("prompt cut to the text encoder's %d tokens: %r", self.length, prompt)
        body, places = body[:room], places[:room]
        padding = room - len(body)
        special = self.tokenizer
        ids = [special.bos_token_id, *body, special.eos_token_id, *[special.pad_token_id] * padding]
        return ids, [-1, *places, -1, *[-1] * padding]


def word(trigger: str) -> re.Pattern[str]:
    """Finds a trigger as a whole word, whatever its case."""
    return re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)


def _split(prompt: str, triggers: Sequence[str]) -> list[tuple[str, int]]:
    """The prompt in pieces of plain text (number −1) and triggers (their number)."""
    pieces = [(prompt, -1)]
    for number, trigger in enumerate(triggers):
        split: list[tuple[str, int]] = []
        for text, owner in pieces:
            parts = [text] if owner >= 0 else word(trigger).split(text)
            for position, part in enumerate(parts):
                split += [(trigger, number)] if position else []
                split += [(part, owner)] if part.strip() else []
        pieces = split
    return pieces


@contextmanager
def _replaced(embedding: nn.Module, places: Tensor, learned: Sequence[Tensor]) -> Iterator[None]:
    """While it lasts, `embedding` returns learned[i] wherever `places` is i."""

    def replace(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        for number, vector in enumerate(learned):
            output = torch.where((places == number)[..., None], vector.to(output.device, output.dtype), output)
        return output

    handle = embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
