"""EWC's penalty, and how its Fisher values are summed up."""

from typing import Any

import torch

from cat_bench.methods.ewc import EWC
from cat_bench.methods.lora import LoRA
from cat_bench.methods.testing.toy import learn


def test_the_penalty_and_its_gradient_are_the_formula(make: Any, concepts: Any, answer: Any, scatter: Any) -> None:
    method, adapter = make(EWC, weight=3.0)
    scatter(adapter, 1)
    method.begin(concepts[0], adapter)
    start = {key: value.detach().clone() for key, value in adapter.named().items()}
    method.fisher = {key: torch.rand(value.shape) for key, value in start.items()}
    scatter(adapter, 2)
    batch, _, predicted = answer(method, adapter, concepts[0])
    moved = {key: value.detach() - start[key] for key, value in adapter.named().items()}
    expected = sum((method.fisher[key] * moved[key] ** 2).sum() for key in moved) * 1.5
    plain = LoRA(method.config).loss(batch, predicted, adapter)
    loss = method.loss(batch, predicted, adapter)
    torch.testing.assert_close(loss - plain, expected)
    gradients = torch.autograd.grad(loss, adapter.parameters(), retain_graph=True)
    without = torch.autograd.grad(plain, adapter.parameters())
    for key, one, other in zip(moved, gradients, without, strict=True):
        torch.testing.assert_close(one - other, 3.0 * method.fisher[key] * moved[key], rtol=1e-4, atol=1e-5)


def test_fisher_is_the_mean_square_and_fades(make: Any, concepts: Any) -> None:
    method, adapter = make(EWC, items=2, decay=0.5)
    method.begin(concepts[0], adapter)
    key = next(iter(adapter.named()))
    ones = torch.ones_like(adapter.named()[key])
    for stage, values in enumerate(((1.0, 3.0), (2.0, 4.0))):
        if stage:
            method.begin(concepts[1], adapter)
        for value in values:
            method.surveyed({key: value * ones}, adapter)
        method.end(concepts[stage], adapter)
    torch.testing.assert_close(method.state()[key], (0.5 * (1 + 9) / 2 + (4 + 16) / 2) * ones)


def test_weight_zero_and_the_first_concept_are_naive_lora_bit_for_bit(make: Any, concepts: Any) -> None:
    naive, first, zero = make(LoRA), make(EWC, weight=1e6), make(EWC, weight=0)
    for number, concept in enumerate(concepts[:2]):
        for method, adapter in (naive, zero):
            learn(method, concept, adapter, number, concepts[:number])
        if not number:
            learn(first[0], concept, first[1])
            assert all(torch.equal(first[1].deltas()[n], naive[1].deltas()[n]) for n in naive[1].names)
    assert all(torch.equal(zero[1].deltas()[n], naive[1].deltas()[n]) for n in naive[1].names)


def test_a_great_weight_holds_the_adapter_where_it_matters(make: Any, concepts: Any) -> None:
    moved = {}
    for weight in (0.0, 1e7):
        method, adapter = make(EWC, weight=weight, steps=20)
        learn(method, concepts[0], adapter)
        before = {key: value.detach().clone() for key, value in adapter.named().items()}
        fisher = method.state()
        learn(method, concepts[1], adapter, 1, concepts[:1])
        after = adapter.named()
        moved[weight] = sum((fisher[k] * (after[k].detach() - before[k]) ** 2).sum().item() for k in before)
    assert moved[1e7] < 0.2 * moved[0.0]
