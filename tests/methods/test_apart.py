"""Methods whose adapters stay apart: isolated, Orthogonal Adaptation, O-LoRA, TIES, CIDM, textual inversion."""

from typing import Any

import pytest
import torch

from cat_bench.methods.base import Method, MethodError, Query
from cat_bench.methods.cidm import CIDM
from cat_bench.methods.isolated import Isolated
from cat_bench.methods.merge import Merge
from cat_bench.methods.olora import OLoRA
from cat_bench.methods.orthoadapt import OrthogonalAdaptation, basis
from cat_bench.methods.testing.toy import answers, batches, learn, vector
from cat_bench.methods.ties import TIES, elected
from cat_bench.methods.token import TextualInversion


def sequence(make: Any, concepts: Any, cls: type[Method], count: int = 3, **settings: Any) -> Any:
    method, adapter = make(cls, **settings)
    for number, concept in enumerate(concepts[:count]):
        learn(method, concept, adapter, number, concepts[:number])
    return method, adapter


def test_an_isolated_concept_is_drawn_by_its_own_adapter_and_none_by_the_backbone(make: Any, concepts: Any) -> None:
    method, adapter = sequence(make, concepts, Isolated)
    assert method.route("a PLIMBA person", concepts[:3]) == [0, 1, 0]
    assert method.route("a zorvex person and a quonda person", concepts[:3]) == [1, 0, 1]
    assert method.route("a person, plimbas", concepts[:3]) == [0, 0, 0]
    noisy = vector("n", 1, 3, 2, 2)

    def route(prompt: str) -> Any:
        return tuple(method.route(prompt, concepts[:3]))

    bare = adapter.predict(Query(("a person",), "off"), noisy, "")
    assert torch.equal(adapter.predict(Query(("a person",)), noisy, "", route), bare)
    own = {n: adapter.factors[1][n][1] @ adapter.factors[1][n][0] for n in adapter.names}
    expected = adapter._forward(("a plimba person",), noisy, "", own)
    torch.testing.assert_close(adapter.predict(Query(("a plimba person",)), noisy, "", route), expected)


def test_an_isolated_concept_trains_as_if_there_were_no_other(make: Any, concepts: Any) -> None:
    _, adapter = sequence(make, concepts, Isolated, 2)
    alone, single = make(Merge)
    learn(alone, concepts[0], single)
    single.factors.clear()
    learn(alone, concepts[1], single, 1)
    for name in adapter.names:
        for mine, other in zip(adapter.factors[1][name], single.factors[0][name], strict=True):
            assert torch.equal(mine, other)


def test_orthogonal_adaptations_deltas_do_not_meet(make: Any, concepts: Any) -> None:
    _, adapter = sequence(make, concepts, OrthogonalAdaptation, rank=3)
    for name in adapter.names:
        rows = torch.cat([factor[name][0] for factor in adapter.factors])
        torch.testing.assert_close(rows @ rows.T, torch.eye(9), atol=1e-5, rtol=0)
        torch.testing.assert_close(rows, basis(rows.shape[1])[:9].float())
        one, other = (factor[name][1] @ factor[name][0] for factor in adapter.factors[:2])
        assert one.any() and (one @ other.T).abs().max() < 1e-6 * one.norm() * other.norm() + 1e-7


def test_orthogonal_adaptation_trains_on_the_backbone_alone_and_samples_the_sum(make: Any, concepts: Any) -> None:
    method, adapter = sequence(make, concepts, OrthogonalAdaptation, 2)
    assert method.route("a zorvex person", concepts[:2]) is None, "sampled with all of them"
    method.earlier = concepts[:2]
    adapter.enter(2)
    method.begin(concepts[2], adapter)
    batch, noisy = next(batches(method, concepts[2], 2))
    predicted = answers(method, concepts[2], adapter, batch, noisy)
    torch.testing.assert_close(predicted["learn"], adapter.predict(Query(batch.prompt, "off"), noisy, ""))
    with pytest.raises(MethodError, match="rank 13 exceeds the inputs"):
        sequence(make, concepts, OrthogonalAdaptation, 1, rank=13)
    config = method.config.model_copy(update={"rank": 16})
    assert OrthogonalAdaptation.foresee(config, {"a": 64, "b": 48}, 3) is None
    assert "only 3 concepts" in str(OrthogonalAdaptation.foresee(config, {"a": 64, "b": 48}, 4))


def test_oloras_term_is_the_sum_of_magnitudes(make: Any, concepts: Any, answer: Any, scatter: Any) -> None:
    method, adapter = make(OLoRA, weight=0.3)
    for seed in (1, 2):
        scatter(adapter, seed)
        adapter.fold()
    method.begin(concepts[2], adapter)
    scatter(adapter, 3)
    batch, _, predicted = answer(method, adapter, concepts[2])
    expected = sum(
        abs(float(row @ other))
        for factor in adapter.factors
        for name in adapter.names
        for row in factor[name][0]
        for other in adapter.A[name].detach()
    )
    loss, plain = method.loss(batch, predicted, adapter), Method(method.config).loss(batch, predicted, adapter)
    torch.testing.assert_close(loss - plain, torch.tensor(0.3 * expected), rtol=1e-4, atol=1e-4)
    name = adapter.names[0]
    gradient = torch.autograd.grad(loss - plain, adapter.A[name], retain_graph=True)[0]
    by_hand = sum(((f[name][0] @ adapter.A[name].T).sign().T @ f[name][0]) for f in adapter.factors)
    torch.testing.assert_close(gradient, 0.3 * by_hand, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", [OLoRA])
def test_without_its_term_it_is_merging(make: Any, concepts: Any, cls: Any) -> None:
    (_, one), (_, other) = sequence(make, concepts, cls, weight=0), sequence(make, concepts, Merge)
    assert all(torch.equal(one.deltas()[name], other.deltas()[name]) for name in one.names)


def test_ties_trims_elects_and_means() -> None:
    one = {"l": torch.tensor([[4.0, -3.0, 0.5, 2.0]])}
    other = {"l": torch.tensor([[2.0, 5.0, -0.1, -0.4]])}
    # Half of each is kept: [4 −3 0 0] and [2 5 0 0]; signs of the sums + and +; means of those that agree.
    merged = elected([one, other], TIES.Config(density=0.5, scale=2.0))
    assert merged["l"].tolist() == [[2 * 3.0, 2 * 5.0, 0.0, 0.0]]
    assert elected([one], TIES.Config(density=1.0))["l"].tolist() == one["l"].tolist()


def test_ties_trains_apart_and_carries_every_adapter(make: Any, concepts: Any) -> None:
    method, adapter = sequence(make, concepts, TIES, 2, density=1.0)
    _, merged = sequence(make, concepts, Isolated, 1)
    for name in adapter.names:
        for mine, other in zip(method.adapters[0][name], merged.factors[0][name], strict=True):
            assert torch.equal(mine, other)
    deltas = [{n: B @ A for n, (A, B) in one.items()} for one in method.adapters]
    expected = elected(deltas, method.config)
    assert all(torch.equal(adapter.past(name), expected[name]) for name in adapter.names)
    again = TIES(method.config)
    again.load(method.state())
    assert [sorted(one) for one in again.adapters] == [sorted(one) for one in method.adapters]


def test_cidm_weighs_by_the_tokens_of_the_concepts_that_are_named(make: Any, concepts: Any) -> None:
    method, _ = make(CIDM)
    method.tokens = {c.id: torch.tensor([list(v)]) for c, v in zip(concepts, ((1.0, 0), (1, 1), (0, 1)), strict=False)}
    known = concepts[:3]
    assert method.route("a zorvex person", known) == pytest.approx([1 / 1.25, 0.25 / 1.25, 0])
    both = method.route("a zorvex person beside a quonda person", known)
    assert both == pytest.approx([1 / 2.25, 0.25 / 2.25, 1 / 2.25])
    assert method.route("a person", known) == pytest.approx([1 / 3] * 3)
    method.begin(concepts[3], None)
    assert method.route("a marivi person", known) == [0, 0, 0], "learned on the backbone alone"


def test_cidms_term_is_the_mean_overlap_of_outputs(make: Any, concepts: Any, answer: Any, scatter: Any) -> None:
    method, adapter = make(CIDM, weight=0.5)
    for seed in (1, 2):
        scatter(adapter, seed)
        adapter.fold()
    method.begin(concepts[2], adapter)
    method.earlier = concepts[:2]
    scatter(adapter, 3)
    batch, _, predicted = answer(method, adapter, concepts[2])
    means = [
        (adapter.B[n].detach() @ f[n][1].T).abs().sum() / adapter.B[n].shape[0] ** 2
        for f in adapter.factors
        for n in adapter.names
    ]
    loss, plain = method.loss(batch, predicted, adapter), Method(method.config).loss(batch, predicted, adapter)
    torch.testing.assert_close(loss - plain, 0.5 * sum(means) / len(means), rtol=1e-4, atol=1e-6)


def test_textual_inversion_changes_the_word_and_no_weight(make: Any, concepts: Any) -> None:
    method, adapter = make(TextualInversion, lr=0.1)
    learn(method, concepts[0], adapter)
    first = method.tokens[concepts[0].id].clone()
    adapter.enter(0)
    assert not torch.equal(first, adapter.token) and not any(delta.any() for delta in adapter.deltas().values())
    learn(method, concepts[1], adapter, 1, concepts[:1])
    assert torch.equal(method.tokens[concepts[0].id], first), "nothing to forget"


@pytest.mark.parametrize("cls", [TextualInversion, CIDM])
def test_what_needs_a_learned_token_cannot_do_without(cls: Any) -> None:
    with pytest.raises(MethodError, match="token = False: Input should be True"):
        cls.configure(overrides={"token": False})
