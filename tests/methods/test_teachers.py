"""LwF and CAT for several concepts: the teacher's term by hand, and what is left without it."""

from typing import Any

import pytest
import torch

from cat_bench.methods.base import mse
from cat_bench.methods.cat import CAT
from cat_bench.methods.catmulti import CATMulti
from cat_bench.methods.lora import LoRA
from cat_bench.methods.lwf import LwF
from cat_bench.methods.testing.toy import learn


@pytest.mark.parametrize(("cls", "knob"), [(LwF, "weight"), (CATMulti, "memory")])
def test_the_teacher_is_the_model_as_it_entered_asked_about_an_earlier_trigger(
    make: Any, concepts: Any, answer: Any, scatter: Any, cls: Any, knob: str
) -> None:
    method, adapter = make(cls, **{knob: 0.7})
    learn(method, concepts[0], adapter)
    method.earlier = concepts[:1]
    adapter.enter(1)
    entry = adapter.deltas()
    method.begin(concepts[1], adapter)
    scatter(adapter)
    batch, noisy, predicted = answer(method, adapter, concepts[1])
    asked = tuple(prompt.replace("plimba", "zorvex") for prompt in batch.prompt)
    assert method.queries(batch)["now"].prompt == method.queries(batch)["then"].prompt == asked
    assert torch.equal(predicted["then"], adapter._forward(asked, noisy, "", entry).detach())
    base = mse(predicted["learn"], batch.target)
    if cls is CATMulti:
        base = base + method.config.weight * mse(predicted["keep"], predicted["original"])
    expected = base + 0.7 * ((predicted["now"] - predicted["then"]) ** 2).mean()
    loss = method.loss(batch, predicted, adapter)
    torch.testing.assert_close(loss, expected)
    assert not predicted["then"].requires_grad and mse(predicted["now"], predicted["then"]) > 0
    mine = torch.autograd.grad(loss, adapter.parameters(), retain_graph=True)
    for one, by_hand in zip(mine, torch.autograd.grad(expected, adapter.parameters()), strict=True):
        torch.testing.assert_close(one, by_hand)


@pytest.mark.parametrize(("cls", "knob", "plain"), [(LwF, "weight", LoRA), (CATMulti, "memory", CAT)])
def test_without_the_teacher_it_is_the_method_below(make: Any, concepts: Any, cls: Any, knob: str, plain: Any) -> None:
    found = []
    for method, adapter in (make(cls, **{knob: 0}), make(plain)):
        for number, concept in enumerate(concepts[:3]):
            learn(method, concept, adapter, number, concepts[:number])
        found.append(adapter.deltas())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_every_earlier_concept_has_its_turn(make: Any, concepts: Any) -> None:
    method, adapter = make(LwF)
    asked = []
    queries = method.queries
    method.queries = lambda batch: asked.append(queries(batch)["now"].prompt[0]) or queries(batch)
    learn(method, concepts[3], adapter, earlier=concepts[:3])
    assert [next(c.trigger for c in concepts if c.trigger in text) for text in asked] == [
        "zorvex", "plimba", "quonda", "zorvex",
    ]  # fmt: skip
