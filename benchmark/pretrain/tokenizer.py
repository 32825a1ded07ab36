"""Byte-pair tokenizers in CLIP's format, learned from the world's captions."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator
from random import Random

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from cat_bench.benchmark.pretrain.pictures import caption, draw_entry
from cat_bench.tasks.avatars.inhabitants import draw_name

END = "</w>"


def caption_corpus(seed: str, captions: int = 20_000, names: int = 6_000) -> Iterator[str]:
    """Random captions, and random names one to a line.

    So syllables become tokens and whole names do not, and a new name splits as a known one does.
    """
    rng = Random(seed)
    for _ in range(captions):
        entry = draw_entry(rng)
        yield caption(type(entry)(entry.picture, None), rng, full=rng.random() < 0.3)
    for _ in range(names):
        yield draw_name(rng)


def learn_tokenizer(corpus: Iterable[str], size: int, context: int) -> CLIPTokenizer:
    """A CLIPTokenizer of about `size` tokens, `context` tokens long.

    Any lower-case text can be spelled out in letters. The end-of-text token has the highest id, for
    CLIP's pooling.
    """
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    # Without numbers of their own, last letters are numbered in the chance order of a hash table, and ties between
    # equally frequent pairs are broken by those numbers: as "special" tokens they come first, in this order.
    trainer = BpeTrainer(
        vocab_size=size - 2,
        initial_alphabet=letters,
        special_tokens=[letter + END for letter in letters],
        end_of_word_suffix=END,
        min_frequency=2,
        show_progress=False,
    )
    learner = Tokenizer(BPE(end_of_word_suffix=END))
    learner.pre_tokenizer = Split(" ", "removed")
    learner.train_from_iterator((" ".join(_words(line)) for line in corpus), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    words = [*letters, *(letter + END for letter in letters), *("".join(pair) for pair in merges)]
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=merges, model_max_length=context)


def _words(line: str) -> list[str]:
    """Words and punctuation apart, as CLIP's own pre-tokenizer separates them."""
    for mark in ",.-":
        line = line.replace(mark, f" {mark} ")
    return line.lower().split()
