"""Orthogonal initialisation as the paper means it, and as it was released."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cat_bench.methods.base import MethodError
from cat_bench.methods.ortho import Ortho, orthogonal_columns, orthogonal_rows
from cat_bench.methods.testing.toy import learn


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def row_basis(A: Tensor) -> Tensor:
    return torch.linalg.qr(A.double().T).Q.T


def test_new_rows_are_orthogonal_to_every_earlier_row_space(make: Any, concepts: Any) -> None:
    method, adapter = make(Ortho, rank=3, lr=0.1)
    for stage, concept in enumerate(concepts):
        standard = {name: adapter.A[name].norm().item() for name in adapter.names}
        start = {name: adapter.A[name].detach().clone() for name in adapter.names}
        method.begin(concept, adapter)
        for name in adapter.names:
            A = adapter.A[name].detach()
            assert len(adapter.factors) == stage and not adapter.B[name].any()
            assert A.norm().item() == pytest.approx(standard[name], rel=1e-5), "norm of a standard start"
            if stage == 0:
                assert torch.equal(A, start[name])
                continue
            for factor in adapter.factors:
                assert (A @ row_basis(factor[name][0]).float().T).abs().max() < 1e-6
            gram = A @ A.T
            torch.testing.assert_close(gram, torch.eye(3) * gram[0, 0], atol=1e-6, rtol=0)
        adapter_A = {name: adapter.A[name].detach().clone() for name in adapter.names}
        learn(method, concept, adapter)
        trained = adapter.factors[-1]
        assert any(not torch.allclose(trained[n][0], adapter_A[n]) for n in adapter.names), "A itself is trained too"


def test_few_directions_left_are_taken_first_then_the_least_used() -> None:
    """16 inputs, 12 in use, rank 6: four rows are new, two lie where the earlier A's have the least energy."""
    earlier = [random(6, 16, seed=1), 0.01 * random(6, 16, seed=2)]
    rows = orthogonal_rows(random(6, 16, seed=3), earlier).double()
    past = torch.cat(earlier).double()
    assert ((rows @ past.T).abs().amax(1) < 1e-4).sum() == 4
    torch.testing.assert_close(rows @ rows.T / (rows[0] @ rows[0]), torch.eye(6).double(), atol=1e-5, rtol=0)
    assert rows.norm().item() == pytest.approx(random(6, 16, seed=3).norm().item(), rel=1e-5)
    energy = torch.linalg.svdvals(past)
    spent = (rows / rows[0].norm() @ past.T).norm(dim=1).sort().values
    torch.testing.assert_close(spent[-2:], energy[10:].sort().values, rtol=1e-3, atol=1e-6)


def test_says_beforehand_that_directions_run_out() -> None:
    inputs = {"attn1.to_q": 64, "attn2.to_k": 40}
    config = Ortho.configure(overrides={"rank": 16})
    assert Ortho.foresee(config, inputs, 2) is None
    said = Ortho.foresee(config, inputs, 5)
    assert said == (
        "5 concepts of rank 16 need 80 input directions and the narrowest layer has 40: "
        "from concept 3 on, rows of A overlap earlier ones"
    )
    assert Ortho.foresee(Ortho.configure(overrides={"variant": "released"}), inputs, 5) is None


def test_goes_on_when_all_directions_are_used(make: Any, concepts: Any) -> None:
    method, adapter = make(Ortho, rank=6)
    for concept in concepts:
        learn(method, concept, adapter)
    assert len(adapter.factors) == 4 and all(torch.isfinite(w).all() for w in adapter.deltas().values())


def test_linearly_dependent_earlier_rows_use_up_one_direction() -> None:
    rows = orthogonal_rows(random(7, 8), [random(1, 8, seed=1), 2 * random(1, 8, seed=1)])
    assert (rows @ random(1, 8, seed=1).T).abs().max() < 1e-6


def test_a_rank_beyond_the_inputs_is_an_error(make: Any, concepts: Any) -> None:
    method, adapter = make(Ortho, rank=13)
    with pytest.raises(MethodError, match=r"rank 13 exceeds the inputs of layer block\.attn1\.to_q"):
        method.begin(concepts[0], adapter)


def test_released_columns_are_orthogonal_in_rank_space_only() -> None:
    rank, width = 64, 640
    old = random(rank, width) / rank
    new = orthogonal_columns(old)
    assert new.shape == old.shape
    assert (new * old).sum(0).abs().max() < 1e-6, "column j is orthogonal to column j"
    torch.testing.assert_close(new.norm(dim=0), torch.ones(width))
    assert new.norm().item() / old.norm().item() == pytest.approx(8, rel=0.05), "√r times a Gaussian start of std 1/r"
    assert (new[-1].square().sum() / new.square().sum()).item() > 0.95, "nearly all in one rank row"
    overlap = (row_basis(new) @ row_basis(old).T).square().sum().item() / rank
    assert overlap == pytest.approx(rank / width, rel=0.3), "input subspaces overlap as random ones do"


def test_released_merge_has_cross_terms(make: Any, concepts: Any, scatter: Any) -> None:
    method, adapter = make(Ortho, variant="released", alpha=6)
    trained = []
    for stage, concept in enumerate(concepts[:2]):
        method.begin(concept, adapter)
        if stage:
            for name in adapter.names:
                assert (adapter.A[name] * trained[0][name][0]).sum(0).abs().max() < 1e-6
        scatter(adapter, stage)
        trained.append({n: (adapter.A[n].detach().clone(), 2 * adapter.B[n].detach()) for n in adapter.names})
        method.end(concept, adapter)
    for name in adapter.names:
        (A1, B1), (A2, B2) = (stage[name] for stage in trained)
        torch.testing.assert_close(adapter.past(name), B1 @ A1 + B2 @ A2 + B1 @ A2 + B2 @ A1)
    again = Ortho(method.config)
    again.load(method.state())
    assert all(torch.equal(again.state()[key], value) for key, value in method.state().items())


def test_released_needs_two_ranks(make: Any, concepts: Any) -> None:
    method, adapter = make(Ortho, variant="released", rank=1)
    with pytest.raises(MethodError, match="needs rank ≥ 2"):
        method.begin(concepts[0], adapter)
