"""Triggers of the shipped sequences stand on equal terms: to the shipped text encoder none is nearer or louder."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.tasks.avatars.inhabitants import inhabitants
from cat_bench.tasks.sequence import Sequence, load_sequence

SEQUENCES = ("faces5", "faces10", "objects5", "twins4", "mixed6", "dev3", "smoke2")


@cache
def shipped() -> Backbone:
    return Backbone.load("avatars64.v2", device="cpu")


def norms(words: list[str]) -> list[np.ndarray]:
    """Of each word's token embeddings."""
    (encoder,) = shipped().text_encoders
    table = encoder.network.get_input_embeddings().weight.detach()
    ids = [encoder.tokenizer(word, add_special_tokens=False).input_ids for word in words]
    return [table[row].norm(dim=1).numpy() for row in ids]


def in_context(sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Cosines (T, T) of the triggers' whole contexts in "a TRIGGER person", and (T,) of each to "a person"."""
    prompts = [f"a {concept.trigger} person" for concept in sequence.concepts]
    context = shipped().encode_prompts([*prompts, "a person"]).context.flatten(1)
    context = torch.nn.functional.normalize(context, dim=1)
    cosines = (context @ context.T).numpy()
    return cosines[:-1, :-1], cosines[:-1, -1]


@pytest.mark.parametrize("name", SEQUENCES)
def test_triggers_are_made_of_tokens_that_names_have_trained(name: str) -> None:
    known = np.concatenate(norms(list(inhabitants())))
    triggers = [concept.trigger for concept in load_sequence(name).concepts]
    for trigger, sizes in zip(triggers, norms(triggers), strict=True):
        assert len(sizes) <= 3, trigger
        assert known.min() <= sizes.min() and sizes.max() <= known.max(), trigger


@pytest.mark.parametrize("name", SEQUENCES)
def test_no_trigger_is_taken_for_another_or_for_the_class(name: str) -> None:
    between, to_class = in_context(load_sequence(name))
    others = between[~np.eye(len(between), dtype=bool)]
    assert others.max() < 0.97
    assert to_class.max() < 0.95 and to_class.max() - to_class.min() < 0.12
