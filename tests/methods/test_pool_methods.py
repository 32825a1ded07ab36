"""DreamBooth, rehearsal, generative replay and joint training: their losses by hand, and their limits."""

from typing import Any

import pytest
import torch

from cat_bench.methods.base import Everything, Generated, Kept, mse
from cat_bench.methods.dreambooth import DreamBooth
from cat_bench.methods.genreplay import GenerativeReplay
from cat_bench.methods.joint import Joint
from cat_bench.methods.lora import LoRA
from cat_bench.methods.replay import Replay
from cat_bench.methods.testing.toy import answers, batches, fill_pools, learn


def second(make: Any, concepts: Any, scatter: Any, cls: Any, **settings: Any) -> Any:
    """(method, adapter, batch, predictions) of a later concept's first step, after arbitrary training."""
    method, adapter = make(cls, **settings)
    learn(method, concepts[0], adapter)
    learn(method, concepts[1], adapter, seed=1, earlier=concepts[:1])
    method.earlier = concepts[:2]
    adapter.enter(2)
    pools = fill_pools(method, concepts[2], adapter, 2)
    method.begin(concepts[2], adapter)
    scatter(adapter)
    batch, noisy = next(batches(method, concepts[2], 2, pools))
    return method, adapter, batch, answers(method, concepts[2], adapter, batch, noisy, 2)


def trained(make: Any, concepts: Any, cls: Any, **settings: Any) -> dict[str, torch.Tensor]:
    method, adapter = make(cls, **settings)
    for number, concept in enumerate(concepts[:3]):
        learn(method, concept, adapter, number, concepts[:number])
    found: dict[str, torch.Tensor] = adapter.deltas()
    return found


@pytest.mark.parametrize(("cls", "pool"), [(DreamBooth, "class"), (Replay, "earlier"), (GenerativeReplay, "earlier")])
def test_the_loss_is_two_errors_and_the_second_has_the_pools_target(
    make: Any, concepts: Any, scatter: Any, cls: Any, pool: str
) -> None:
    method, adapter, batch, predicted = second(make, concepts, scatter, cls, weight=0.7)
    own = ((predicted["learn"] - batch.target) ** 2).mean()
    other = ((predicted[pool] - batch.pools[pool].target) ** 2).mean()
    loss = method.loss(batch, predicted, adapter)
    torch.testing.assert_close(loss, own + 0.7 * other)
    assert other > 0 and predicted[pool].requires_grad
    mine = torch.autograd.grad(loss, adapter.parameters(), retain_graph=True)
    by_hand = torch.autograd.grad(own + 0.7 * other, adapter.parameters())
    for one, expected in zip(mine, by_hand, strict=True):
        torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("cls", [DreamBooth, Replay, GenerativeReplay])
def test_weight_zero_is_naive_lora_bit_for_bit(make: Any, concepts: Any, cls: Any) -> None:
    naive, other = trained(make, concepts, LoRA), trained(make, concepts, cls, weight=0)
    assert all(torch.equal(naive[name], other[name]) for name in naive)


def test_what_each_asks_for(make: Any, concepts: Any) -> None:
    prior, replay, dream, joint = (make(cls)[0] for cls in (DreamBooth, Replay, GenerativeReplay, Joint))
    for method in (prior, replay, dream, joint):
        method.earlier = concepts[:2]
    assert prior.pools(concepts[2]) == {"class": Generated(("a person",), 200)}
    assert replay.pools(concepts[2]) == {"earlier": Kept(1)}
    prompts = ("a zorvex person", "a plimba person")
    assert dream.pools(concepts[2]) == {"earlier": Generated(prompts, 16, "previous")}
    assert joint.pools(concepts[2]) == {"earlier": Everything()} and joint.reference


def test_joint_training_minimises_the_mean_over_all_concepts_so_far(make: Any, concepts: Any, scatter: Any) -> None:
    method, adapter, batch, predicted = second(make, concepts, scatter, Joint)
    own, others = mse(predicted["learn"], batch.target), mse(predicted["earlier"], batch.pools["earlier"].target)
    torch.testing.assert_close(method.loss(batch, predicted, adapter), own / 3 + others * 2 / 3)


def test_the_first_concept_of_joint_training_is_naive_lora(make: Any, concepts: Any) -> None:
    (one, naive), (other, joint) = make(LoRA), make(Joint)
    learn(one, concepts[0], naive)
    learn(other, concepts[0], joint)
    assert all(torch.equal(naive.deltas()[name], joint.deltas()[name]) for name in naive.names)


def test_rehearsal_holds_the_first_concept(make: Any, concepts: Any) -> None:
    lost = {}
    for weight in (0.0, 3.0):
        method, adapter = make(Replay, weight=weight, steps=60, rank=4)
        learn(method, concepts[0], adapter)
        batch, noisy = next(batches(method, concepts[0], 9))
        learn(method, concepts[1], adapter, 1, concepts[:1])
        lost[weight] = mse(adapter.predict(method.queries(batch)["learn"], noisy, ""), batch.target).item()
    assert lost[3.0] < 0.8 * lost[0.0]
