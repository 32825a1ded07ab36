"""Prompts to what the UNet is told, with learned trigger tokens where a method has some."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from cat_bench.benchmark.backbones.conditioning import Conditioning

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A frozen CLIP text model and its tokenizer. `penultimate`: its last layer but one speaks, as in SDXL."""

    network: Any  # CLIPTextModel, or CLIPTextModelWithProjection, which also gives an embedding of the whole prompt
    tokenizer: CLIPTokenizer
    penultimate: bool = False

    @property
    def table(self) -> Tensor:
        """The token embeddings (vocabulary, d)."""
        table: Tensor = self.network.get_input_embeddings().get_parameter("weight").detach()
        return table

    def token_ids(self, prompt: str, triggers: Sequence[str] = ()) -> tuple[list[int], list[int], bool]:
        """Ids of the full length, at each place the number of the learned trigger there or −1, and: was it cut?"""
        body: list[int] = []
        places: list[int] = []
        for text, trigger in _split(prompt, triggers):
            # The id under a learned token is never looked at, as its embedding is replaced; any valid one will do.
            ids = [0] if trigger >= 0 else self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            body += ids
            places += [trigger] * len(ids)
        special = self.tokenizer
        room = int(special.model_max_length) - 2
        padding = room - len(body)
        ids = [special.bos_token_id, *body[:room], special.eos_token_id, *[special.pad_token_id] * padding]
        return ids, [-1, *places[:room], -1, *[-1] * padding], padding < 0

    def encode(self, ids: Tensor, places: Tensor, learned: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """(n, L, d) and, of a model with projection, (n, p); `learned` (1, d) stand where `places` has their number."""
        mask = None
        if getattr(self.network.config, "use_attention_mask", False):
            mask = (ids != self.tokenizer.pad_token_id).long()
        with _replaced(self.network.get_input_embeddings(), places, learned):
            answer = self.network(ids, attention_mask=mask, output_hidden_states=self.penultimate)
        hidden = answer.hidden_states[-2] if self.penultimate else answer.last_hidden_state
        return hidden, getattr(answer, "text_embeds", None)


class PromptEncoder:
    """Encodes prompts as the Stable Diffusion pipelines do: each text encoder at its full length, side by side.

    A prompt is encoded alone, never beside others, so that its embedding does not depend on its neighbours (a batch of
    another size may round differently), and kept: the text encoders are frozen. Learned tokens stand in for the word of
    their trigger by replacing what the embedding layers return; the shared embedding tables are never touched.
    """

    def __init__(
        self, encoders: Sequence[TextEncoder], device: torch.device, sizes: tuple[int, ...] | None = None
    ) -> None:
        """`sizes` are the six numbers that Stable Diffusion XL is told with every prompt; None for other models."""
        self.encoders = tuple(encoders)
        self.device = device
        self.sizes = sizes
        self._cache: dict[str, Conditioning] = {}
        self._cut: set[str] = set()  # said once each

    def cached(self, prompts: Sequence[str], triggers: Sequence[str] = ()) -> bool:
        """Whether these prompts can be given without asking a text encoder."""
        return all(prompt in self._cache and not _names(prompt, triggers) for prompt in prompts)

    def __call__(self, prompts: Sequence[str], token: Mapping[str, Tensor] | None = None) -> Conditioning:
        """What n prompts say to the UNet.

        `token` gives learned embeddings by trigger: (1, d), those of several text encoders side by side. Prompts that
        name such a trigger are encoded anew, with gradient to the embedding where it is asked for; all others come from
        the cache, without gradient.
        """
        tokens = dict(token or {})
        learned = [p for p in dict.fromkeys(prompts) if _names(p, tuple(tokens))]
        encoded: dict[str, Conditioning] = {}
        if learned and torch.is_grad_enabled() and any(t.requires_grad for t in tokens.values()):
            together = self._encode(learned, tokens)
            encoded.update((prompt, together.rows([i])) for i, prompt in enumerate(learned))
        else:
            with torch.no_grad():
                encoded.update((p, self._encode([p], tokens)) for p in learned)
        for prompt in prompts:
            if prompt not in encoded:
                encoded[prompt] = self._cached(prompt)
        found = [encoded[prompt] for prompt in prompts]
        context = torch.cat([one.context for one in found])
        pooled = [one.pooled for one in found if one.pooled is not None]
        sizes = None if self.sizes is None else torch.tensor([self.sizes] * len(prompts), device=context.device)
        return Conditioning(context, torch.cat(pooled) if pooled else None, sizes)

    def _cached(self, prompt: str) -> Conditioning:
        if prompt not in self._cache:
            with torch.no_grad():
                self._cache[prompt] = self._encode([prompt], {})
        return self._cache[prompt]

    def _encode(self, prompts: Sequence[str], tokens: Mapping[str, Tensor]) -> Conditioning:
        triggers = list(tokens)
        contexts, pooled = [], None
        start = 0
        for encoder in self.encoders:
            rows = [encoder.token_ids(prompt, triggers) for prompt in prompts]
            for prompt, (_, _, cut) in zip(prompts, rows, strict=True):
                if cut and prompt not in self._cut:
                    self._cut.add(prompt)
                    length = int(encoder.tokenizer.model_max_length)
                    logger.warning("prompt cut to the text encoder's %d tokens: %r", length, prompt)
            ids = torch.tensor([row for row, _, _ in rows], device=self.device)
            places = torch.tensor([place for _, place, _ in rows], device=self.device)
            width = encoder.table.shape[1]
            learned = [tokens[trigger][:, start : start + width] for trigger in triggers]
            start += width
            context, of_all = encoder.encode(ids, places, learned)
            contexts.append(context)
            pooled = of_all if self.sizes is not None else None
        return Conditioning(torch.cat(contexts, dim=-1), pooled)


def word(trigger: str) -> re.Pattern[str]:
    """Finds a trigger as a whole word, whatever its case."""
    return re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)


def _names(prompt: str, triggers: Sequence[str]) -> bool:
    return any(word(trigger).search(prompt) for trigger in triggers)


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
