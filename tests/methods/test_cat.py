"""CAT's term against a computation by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cat_bench.methods.base import Batch, MethodError
from cat_bench.methods.cat import CAT
from cat_bench.methods.lora import LoRA
from cat_bench.methods.testing.toy import SHAPE, ToyAdapter, learn, vector


def forward(adapter: ToyAdapter, prompts: tuple[str, ...], noisy: Tensor, on: bool) -> Tensor:
    """The toy network written out again, with W0 + alpha/r · B A where `on`."""
    h = torch.stack([sum(vector(w, 12) for w in p.split()) / len(p.split()) ** 0.5 for p in prompts]) + noisy.flatten(1)
    for name, W in adapter.base.items():
        h = torch.tanh(h @ (W + adapter.scaling * adapter.B[name] @ adapter.A[name] if on else W).T)
    return h.reshape(-1, *SHAPE)


def gradients(loss: Tensor, adapter: ToyAdapter) -> list[Tensor]:
    return list(torch.autograd.grad(loss, adapter.parameters(), retain_graph=True))


def test_equals_three_forwards_by_hand(make: Any, concepts: Any, answer: Any, scatter: Any) -> None:
    method, adapter = make(CAT, weight=6.0, alpha=5)
    method.begin(concepts[0], adapter)
    scatter(adapter)
    batch, noisy, predicted = answer(method, adapter, concepts[0])
    learned = forward(adapter, batch.prompt, noisy, on=True)
    kept = forward(adapter, batch.prompt_without_trigger, noisy, on=True)
    with torch.no_grad():
        original = forward(adapter, batch.prompt_without_trigger, noisy, on=False)
    expected = ((learned - batch.target) ** 2).mean() + 6.0 * ((kept - original) ** 2).mean()

    loss = method.loss(batch, predicted, adapter)

    torch.testing.assert_close(loss, expected)
    for mine, by_hand in zip(gradients(loss, adapter), gradients(expected, adapter), strict=True):
        torch.testing.assert_close(mine, by_hand)


def test_term_and_its_gradient_are_zero_while_the_adapter_is(make: Any, concepts: Any, answer: Any) -> None:
    method, adapter = make(CAT, weight=6.0)
    naive, _ = make(LoRA)
    method.begin(concepts[0], adapter)
    batch, _, predicted = answer(method, adapter, concepts[0])
    with_term, without = method.loss(batch, predicted, adapter), naive.loss(batch, predicted, adapter)
    assert with_term.item() == without.item()
    for both, one in zip(gradients(with_term, adapter), gradients(without, adapter), strict=True):
        assert torch.equal(both, one)
    assert not predicted["original"].requires_grad and predicted["keep"].requires_grad


def test_keeps_the_answers_to_captions_without_trigger(make: Any, concepts: Any, answer: Any) -> None:
    drift = {}
    for weight in (0.0, 10.0):
        method, adapter = make(CAT, weight=weight, steps=60, rank=4)
        learn(method, concepts[0], adapter)
        _, _, predicted = answer(method, adapter, concepts[0])
        drift[weight] = (predicted["keep"] - predicted["original"]).square().mean().item()
    assert drift[10.0] < 0.5 * drift[0.0]


@pytest.mark.parametrize(
    ("prompt", "without", "message"),
    [
        ("a <zorvex> person", "a <zorvex> person", "with AND without"),
        ("a zorvex person", "a photo of a Zorvex person", "still in"),
        ("a <zorvex>, person", "a <zorvex> person", "still in"),
        ("a shs person", "a person", "missing from"),
    ],
)
def test_a_trigger_that_was_not_removed_is_an_error(
    make: Any, concepts: Any, prompt: str, without: str, message: str
) -> None:
    method, adapter = make(CAT)
    method.begin(concepts[0], adapter)
    with pytest.raises(MethodError, match=message):
        method.queries(Batch(torch.zeros(1, *SHAPE), (prompt,), (without,), 0))


def test_a_word_that_contains_the_trigger_is_no_trigger(make: Any, concepts: Any) -> None:
    method, adapter = make(CAT)
    method.begin(concepts[0], adapter)
    queries = method.queries(
        Batch(torch.zeros(1, *SHAPE), ("a zorvex person, zorvexian",), ("a person, zorvexian",), 0)
    )
    assert [query.adapter for query in queries.values()] == ["on", "on", "off"]


def test_preserves_the_untouched_backbone_also_at_the_second_concept(make: Any, concepts: Any, answer: Any) -> None:
    method, adapter = make(CAT)
    learn(method, concepts[0], adapter)
    adapter.entry = adapter.deltas()
    method.begin(concepts[1], adapter)
    batch, noisy, predicted = answer(method, adapter, concepts[1])
    expected = forward(adapter, batch.prompt_without_trigger, noisy, on=False)
    torch.testing.assert_close(predicted["original"], expected)
    assert not torch.allclose(predicted["keep"], expected)
