"""Byte-pair tokenizers in CLIP's format, learned from the world's captions."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from cat_bench.benchmark.pretrain.pictures.rendered import caption, draw_entry
from cat_bench.benchmark.pretrain.team import leads, wait_for_all

ONSETS, VOWELS = "bdfghjklmnpqrstvwxyz", "aeiou"
END = "</w>"


def caption_corpus(seed: str, captions: int = 20_000) -> Iterator[str]:
    """Random captions, nobody named."""
    rng = Random(seed)
    for _ in range(captions):
        entry = draw_entry(rng)
        yield caption(type(entry)(entry.picture, None), rng, full=rng.random() < 0.3)


def learn_tokenizer(corpus: Iterable[str], size: int, context: int) -> CLIPTokenizer:
    """A CLIPTokenizer of about `size` tokens, `context` tokens long.

    Open syllables ("ka", "ro") are merged before anything else, and the rest is learned from the corpus. So a name of
    open syllables splits into these, whether the corpus knew it or not, and all names consist of equally common tokens.
    Any lower-case text can be spelled out in letters. The end-of-text token has the highest id, for CLIP's pooling.
    """
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    syllables = [(onset, vowel) for onset in ONSETS for vowel in VOWELS]
    # A syllable takes the place of a single letter while the rest is learned: such pairs never overlap, so whichever
    # order they are merged in, the outcome is the same.
    stand_in = {onset + vowel: chr(0xE000 + i) for i, (onset, vowel) in enumerate(syllables)}
    alphabet = [*letters, *stand_in.values()]
    # Without numbers of their own, last letters are numbered in the chance order of a hash table, and ties between
    # equally frequent pairs are broken by those numbers: as "special" tokens they come first, in this order.
    trainer = BpeTrainer(
        vocab_size=size - 2,
        initial_alphabet=alphabet,
        special_tokens=[letter + END for letter in alphabet],
        end_of_word_suffix=END,
        min_frequency=2,
        show_progress=False,
    )
    learner = Tokenizer(BPE(end_of_word_suffix=END))
    learner.pre_tokenizer = Split(" ", "removed")
    pair = re.compile(f"[{ONSETS}][{VOWELS}]")
    lines = (" ".join(pair.sub(lambda m: stand_in[m[0]], w) for w in _words(line)) for line in corpus)
    learner.train_from_iterator(lines, trainer)
    spelled = {mark: syllable for syllable, mark in stand_in.items()}

    def spell(token: str) -> str:
        return "".join(spelled.get(letter, letter) for letter in token)

    learned = [tuple(spell(half) for half in pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    merges = [*syllables, *((onset, vowel + END) for onset, vowel in syllables), *learned]
    words = [*letters, *(letter + END for letter in letters), *("".join(pair) for pair in merges)]
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=merges, model_max_length=context)


def kept_tokenizer(folder: Path, learn: Callable[[], CLIPTokenizer]) -> CLIPTokenizer:
    """The one in the folder, learned once: token numbers are part of what a text encoder has learned."""
    if leads() and not folder.exists():
        beside = folder.with_name(f".{folder.name}.part")
        learn().save_pretrained(beside)
        beside.rename(folder)
    wait_for_all()
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _words(line: str) -> list[str]:
    """Words and punctuation apart, as CLIP's own pre-tokenizer separates them."""
    for mark in ",.-":
        line = line.replace(mark, f" {mark} ")
    return line.lower().split()
