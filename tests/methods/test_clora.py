"""C-LoRA's penalty against its formula, and its tokens."""

from typing import Any

import torch

from cat_bench.methods.base import mse
from cat_bench.methods.clora import CLoRA, penalty
from cat_bench.methods.testing.toy import learn


def test_penalty_is_the_formula_on_given_matrices(make: Any) -> None:
    _, adapter = make(CLoRA, rank=1, alpha=2)
    expected = 0.0
    pair = {}
    for i, name in enumerate(adapter.names):
        out, width = adapter.base[name].shape
        # Earlier ΔW = column · row, now ΔW = 2 · column · row; written out entry by entry below.
        pair[name] = (torch.arange(1.0, width + 1).view(1, -1), torch.linspace(-1, 1 + i, out).view(-1, 1))
        with torch.no_grad():
            adapter.A[name].copy_(torch.linspace(0, 1, width).view(1, -1))
            adapter.B[name].copy_(torch.linspace(-2, 2, out).view(-1, 1))
        for row in range(out):
            for column in range(width):
                past = abs(float(pair[name][1][row, 0]) * float(pair[name][0][0, column]))
                now = 2 * adapter.B[name][row, 0].item() * adapter.A[name][0, column].item()
                expected += (past * now) ** 2
    adapter.factors = [pair]
    torch.testing.assert_close(penalty(adapter), torch.tensor(expected), rtol=1e-5, atol=0)


def test_penalty_sums_the_past_before_taking_magnitudes(make: Any, scatter: Any) -> None:
    """Two earlier concepts that cancel leave nothing to protect: | Σ ΔW |, not Σ |ΔW|."""
    _, adapter = make(CLoRA)
    scatter(adapter)
    one = {n: (adapter.A[n].detach().clone(), adapter.B[n].detach().clone()) for n in adapter.names}
    adapter.factors = [one, {n: (A, -B) for n, (A, B) in one.items()}]
    assert penalty(adapter).item() == 0.0


def test_first_concept_adds_nothing(make: Any, concepts: Any, answer: Any, scatter: Any) -> None:
    method, adapter = make(CLoRA, weight=1e12)
    method.begin(concepts[0], adapter)
    scatter(adapter)
    batch, _, predicted = answer(method, adapter, concepts[0])
    assert torch.equal(method.loss(batch, predicted, adapter), mse(predicted["learn"], batch.target))
    assert penalty(adapter).item() == 0.0


def test_penalty_is_computed_in_fp32_under_autocast(make: Any, concepts: Any, scatter: Any) -> None:
    _, adapter = make(CLoRA)
    scatter(adapter, 1)
    adapter.fold()
    scatter(adapter, 2)
    exact = penalty(adapter)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(penalty(adapter), exact)
    assert exact.dtype == torch.float32 and exact.requires_grad


def test_weight_keeps_the_second_concept_off_the_first_ones_weights(make: Any, concepts: Any) -> None:
    overlap = {}
    for weight in (0.0, 1e5):
        method, adapter = make(CLoRA, weight=weight, steps=40)
        learn(method, concepts[0], adapter)
        first = {name: adapter.past(name) for name in adapter.names}
        learn(method, concepts[1], adapter)
        overlap[weight] = sum((first[n] * (adapter.past(n) - first[n])).square().sum().item() for n in adapter.names)
    assert overlap[1e5] < 0.5 * overlap[0.0]


def test_only_keys_and_values_of_cross_attention_are_adapted(make: Any) -> None:
    _, adapter = make(CLoRA)
    assert adapter.names == ("block.attn2.to_k", "block.attn2.to_v")


def test_each_concept_keeps_its_own_learned_token(make: Any, concepts: Any) -> None:
    method, adapter = make(CLoRA)
    assert method.form == "token" and not method.tokens
    learn(method, concepts[0], adapter)
    first = method.tokens[concepts[0].id].clone()
    adapter.enter(0)
    assert not torch.equal(first, adapter.token), "the token is trained"
    learn(method, concepts[1], adapter, seed=1)
    assert torch.equal(method.tokens[concepts[0].id], first)
    assert not torch.equal(method.tokens[concepts[1].id], first), "the next concept starts from a new random one"


def test_the_noun_and_plain_words_are_settings(make: Any, concepts: Any) -> None:
    method, adapter = make(CLoRA, noun=True, token=False)
    assert method.form == "trigger" and adapter.token is None
    learn(method, concepts[0], adapter)
    assert CLoRA.carried(method.config) == "merged weights" and not method.tokens
    assert CLoRA.carried(CLoRA.Config()) == CLoRA.carries == "merged weights, one embedding a concept"
