from __future__ import annotations

import logging

import pytest
import torch

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.text_encoders import PromptEncoder


@pytest.fixture
def encoder(tiny: Backbone) -> PromptEncoder:
    return PromptEncoder(tiny.text_encoders, tiny.device)


@pytest.mark.parametrize("prompt", ["", "A zorvex person,  with the 3 hats!", "person " * 60])
def test_token_ids_are_the_tokenizers(encoder: PromptEncoder, prompt: str) -> None:
    (text,) = encoder.encoders
    expected = text.tokenizer(prompt, padding="max_length", truncation=True).input_ids
    assert text.token_ids(prompt) == (expected, [-1] * len(expected), prompt.startswith("person person"))


def test_a_prompt_that_is_too_long_is_said(encoder: PromptEncoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoder(["person " * 60])
    assert "cut to the text encoder's 48 tokens" in caplog.text


def test_an_embedding_does_not_depend_on_its_neighbours(encoder: PromptEncoder) -> None:
    together = encoder(["a hat", "a person", "a hat"]).context
    assert torch.equal(together[0], together[2])
    alone = PromptEncoder(encoder.encoders, encoder.device)(["a person"])
    assert torch.equal(together[1], alone.context[0])


def test_a_learned_token_takes_one_place_wherever_its_trigger_stands(encoder: PromptEncoder) -> None:
    (text,) = encoder.encoders
    ids, places, _ = text.token_ids("the Zorvex, zorvexes and zorvex", ["zorvex"])
    plain = text.token_ids("the , zorvexes and")[0]
    assert [place for place in places if place >= 0] == [0, 0]
    padding = text.tokenizer.pad_token_id
    assert [i for i, place in zip(ids, places, strict=True) if place < 0 and i != padding] == [
        i for i in plain if i != padding
    ]


def test_learning_a_words_own_embedding_changes_nothing(encoder: PromptEncoder) -> None:
    """The oracle: "the" is one token; its own row in place of the learned embedding must give the plain encoding."""
    (text,) = encoder.encoders
    row = text.tokenizer("the", add_special_tokens=False).input_ids
    assert len(row) == 1
    own = text.table[row].clone()
    assert torch.equal(encoder(["a hat, the hat"], {"the": own}).context, encoder(["a hat, the hat"]).context)


def test_the_gradient_reaches_the_learned_token_only(encoder: PromptEncoder) -> None:
    width = encoder.encoders[0].table.shape[1]
    token = torch.randn(1, width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    encoded = encoder(["a zorvex", "a hat", "a zorvex"], {"zorvex": token}).context
    assert torch.equal(encoded[1], encoder(["a hat"]).context[0])
    weights = torch.randn(encoded.shape[1:], generator=torch.Generator().manual_seed(1))
    (encoded[0] * weights).sum().backward()
    assert token.grad is not None and token.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in encoder.encoders[0].network.parameters())

    with torch.no_grad():  # by finite differences
        step = torch.zeros(1, width)
        step[0, 3] = 1e-2
        up, down = ((encoder(["a zorvex"], {"zorvex": token + d}).context[0] * weights).sum() for d in (step, -step))
    assert float((up - down) / 2e-2) == pytest.approx(float(token.grad[0, 3]), rel=2e-2)


def test_what_a_learned_token_was_is_not_cached(encoder: PromptEncoder) -> None:
    width = encoder.encoders[0].table.shape[1]
    one, other = torch.full((1, width), 0.5), torch.randn(1, width)
    with torch.no_grad():
        first = encoder(["a zorvex"], {"zorvex": one}).context
        assert not torch.equal(first, encoder(["a zorvex"], {"zorvex": other}).context)
        assert not torch.equal(first, encoder(["a zorvex"]).context)
        assert torch.equal(first, encoder(["a zorvex"], {"zorvex": one}).context)
