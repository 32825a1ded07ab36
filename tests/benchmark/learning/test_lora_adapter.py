from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.errors import AdapterError
from cat_bench.benchmark.learning.adapter_state import carried_bytes
from cat_bench.benchmark.learning.lora import LoraAdapter
from cat_bench.benchmark.planning.seeds import generator
from cat_bench.methods.base import Adapter

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


def make(backbone: Backbone, rank: int = 2, alpha: float | None = None, token: bool = False) -> LoraAdapter:
    return LoraAdapter(backbone, rank, alpha, TARGETS, generator(0, "init"), token)


@pytest.fixture
def adapter(tiny: Backbone) -> Iterator[LoraAdapter]:
    adapter = make(tiny, alpha=3.0)
    yield adapter
    adapter.close()


@torch.no_grad()
def learn(adapter: LoraAdapter, seed: int) -> None:
    """Stand in for training: B becomes something."""
    stream = torch.Generator().manual_seed(seed)
    for B in adapter.B.values():
        B.copy_(0.2 * torch.randn(B.shape, generator=stream))


def answer(backbone: Backbone) -> Tensor:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    predicted: Tensor = backbone.unet(latents, 300, backbone.encode_prompts(["a hat", "a person"]).context).sample
    return predicted.detach()


def merged(folder: Path, deltas: dict[str, Tensor]) -> Tensor:
    """The oracle: a freshly loaded model whose weights were changed for good."""
    fresh = Backbone.load(folder, device="cpu")
    for name, delta in deltas.items():
        fresh.unet.get_submodule(name).weight.data += delta
    return answer(fresh)


def test_it_is_what_the_methods_expect(adapter: LoraAdapter) -> None:
    protocol: Adapter = adapter  # checked by mypy; at run time by its attributes:
    assert all(hasattr(protocol, name) for name in vars(Adapter) if not name.startswith("_"))
    linear = [n for n, m in adapter.host.network.named_modules() if n.endswith(TARGETS) and ".attn" in n]
    assert list(adapter.names) == linear and len(linear) == 7 * 2 * 4  # blocks, self and cross, q k v out
    for name in adapter.names:
        assert adapter.A[name].requires_grad and adapter.B[name].requires_grad
        assert adapter.A[name].shape[0] == adapter.B[name].shape[1] == adapter.rank == 2
    assert adapter.scaling == 1.5
    assert {id(p) for p in adapter.parameters()} == {
        id(p) for p in adapter.host.network.parameters() if p.requires_grad
    }


def test_a_fresh_adapter_starts_as_pefts_own(tiny: Backbone, adapter: LoraAdapter) -> None:
    for name in adapter.names:
        bound = adapter.A[name].shape[1] ** -0.5  # peft: Kaiming uniform with a = √5, that is U(±1/√in)
        assert 0.5 * bound < adapter.A[name].abs().max() <= bound
        assert not adapter.B[name].any() and not adapter.delta(name).any() and not adapter.past(name).any()
    with adapter.use("on"):
        on = answer(tiny)
    with adapter.use("off"):
        assert torch.equal(on, answer(tiny))
    adapter.close()
    again = make(tiny)
    assert all(torch.equal(again.A[name], adapter.A[name]) for name in adapter.names)
    again.close()


def test_on_off_and_previous_are_the_models_they_say(tiny: Backbone, adapter: LoraAdapter) -> None:
    learn(adapter, 1)
    adapter.fold()  # the first concept
    learn(adapter, 2)  # what the second leaves unfolded
    adapter.enter(generator(0, "init", "third"))
    entered = adapter.deltas()
    learn(adapter, 3)
    expected = {"on": adapter.deltas(), "off": {}, "previous": entered}
    for mode, deltas in expected.items():
        with adapter.use(mode):  # type: ignore[arg-type]  # a plain str
            torch.testing.assert_close(answer(tiny), merged(tiny.folder, deltas), atol=1e-5, rtol=1e-5)
    with adapter.use("previous"):
        before = answer(tiny)
    adapter.fold()  # "previous" stays what it was, whatever the method does to the past
    with adapter.use("previous"):
        assert torch.equal(answer(tiny), before)


def test_folding_changes_nothing_that_is_sampled(tiny: Backbone, adapter: LoraAdapter) -> None:
    learn(adapter, 1)
    before, deltas = {}, adapter.deltas()
    with adapter.use("on"):
        before["on"] = answer(tiny)
    old = {name: A.detach().clone() for name, A in adapter.A.items()}
    adapter.fold()
    for name in adapter.names:
        torch.testing.assert_close(adapter.past(name), deltas[name])
        assert torch.equal(adapter.factors[0][name][0], old[name])  # a copy: training on cannot reach it
        assert not torch.equal(adapter.A[name], old[name]) and not adapter.B[name].any()
    with adapter.use("on"):
        torch.testing.assert_close(answer(tiny), before["on"], atol=1e-5, rtol=1e-5)
    for name, delta in adapter.deltas().items():
        torch.testing.assert_close(delta, deltas[name])


def test_a_past_that_outweighs_its_sum_becomes_the_sum_and_stays_as_large(tiny: Backbone) -> None:
    """Fifty concepts: the weights are those of factors kept one by one, bit for bit; what is carried stops growing."""
    adapters, sizes, pasts = [], [], []
    for keeps in (True, False):
        adapter = make(tiny, rank=8, alpha=4.0)
        for stage in range(50):
            adapter.enter(generator(0, "init", str(stage)), keeps_factors=keeps)
            entered = adapter.deltas()
            learn(adapter, stage)
            assert all(torch.equal(delta, entered[name]) for name, delta in adapter.entered().items())
            adapter.fold()
            assert all(torch.equal(delta, entered[name]) for name, delta in adapter.entered().items())
            sizes.append(sum(tensor.numel() for tensor in adapter.state_dict().values()))
        pasts.append({name: adapter.past(name) for name in adapter.names})
        adapters.append(adapter)
        adapter.close()
    for name, past in pasts[0].items():
        assert torch.equal(past, pasts[1][name])
    assert len(adapters[0].factors) == 50 and len(adapters[1].factors) == 1 and adapters[1].dense
    kept, compact = sizes[:50], sizes[50:]
    assert compact[:2] == kept[:2]  # thin still
    assert compact[9] == compact[49] < kept[9] < kept[49]


def test_replacing_makes_the_past_exactly_what_is_given(adapter: LoraAdapter) -> None:
    learn(adapter, 1)
    adapter.fold()
    learn(adapter, 2)
    dense = {name: torch.randn(adapter.past(name).shape) for name in adapter.names}
    adapter.replace(dense)
    assert adapter.factors == []
    for name in adapter.names:
        assert torch.equal(adapter.past(name), dense[name]) and torch.equal(adapter.deltas()[name], dense[name])
    learn(adapter, 3)
    adapter.fold()
    name = adapter.names[0]
    A, B = adapter.factors[0][name]
    torch.testing.assert_close(adapter.past(name), dense[name] + B @ A)


def test_a_given_start_is_taken(adapter: LoraAdapter) -> None:
    given = {name: torch.full_like(A, 0.25) for name, A in adapter.A.items()}
    adapter.reset(given)
    assert all(torch.equal(adapter.A[name], given[name]) for name in adapter.names)
    with pytest.raises(AdapterError, match="must be"):
        adapter.reset({name: torch.zeros(1, 1) for name in adapter.names})
    with pytest.raises(AdapterError, match="must be"):
        adapter.replace({name: torch.zeros(1, 1) for name in adapter.names})
    with pytest.raises(AdapterError, match="each adapted layer"):
        adapter.replace({})


@pytest.mark.parametrize("token", [False, True])
def test_a_stored_adapter_is_the_same_adapter(tiny: Backbone, tmp_path: Path, token: bool) -> None:
    adapter = make(tiny, token=token)
    adapter.replace({name: torch.randn(adapter.past(name).shape) for name in adapter.names})
    for seed in (1, 2):
        learn(adapter, seed)
        adapter.fold()
    learn(adapter, 3)
    state = adapter.state_dict({"fisher.x": torch.ones(3)})
    save_file(state, tmp_path / "adapter.safetensors")
    adapter.close()

    other = LoraAdapter(tiny, 2, None, TARGETS, generator(9, "init"), token)
    extra = other.load_state_dict(load_file(tmp_path / "adapter.safetensors"))
    assert extra.keys() == {"fisher.x"}
    again = other.state_dict(extra)
    assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)
    assert all(torch.equal(other.deltas()[name], adapter.deltas()[name]) for name in adapter.names)
    other.close()


def test_a_state_that_does_not_fit_changes_nothing_and_is_one_line(tiny: Backbone, adapter: LoraAdapter) -> None:
    before = adapter.state_dict()
    key = f"A.{adapter.names[0]}"
    for bad in (
        {k: v for k, v in before.items() if k != key},
        before | {"dense.nowhere": torch.zeros(1)},
        before | {key: torch.zeros(1, 1)},
        before | {"tokens.one": torch.zeros(1, 24)},
    ):
        with pytest.raises(AdapterError, match="the stored"):
            adapter.load_state_dict({k: v + 1 for k, v in bad.items()})
        assert all(torch.equal(value, before[name]) for name, value in adapter.state_dict().items())


def test_a_learned_token_is_drawn_like_the_embeddings_and_anew_for_each_concept(tiny: Backbone) -> None:
    adapter = make(tiny, token=True)
    assert adapter.token is not None and adapter.token.shape == (1, 24) and adapter.parameters()[-1] is adapter.token
    adapter.enter(generator(1, "init"))
    first = adapter.token.detach().clone()
    assert 0.3 < float(first.std() / tiny.text_encoders[0].table.std()) < 3
    adapter.fold()
    assert torch.equal(adapter.token, first)
    adapter.enter(generator(2, "init"))
    assert not torch.equal(adapter.token, first)
    adapter.close()


def test_peft_itself_agrees(tiny: Backbone, adapter: LoraAdapter) -> None:
    """The same A and B in a model that peft alone has prepared give the same prediction."""
    learn(adapter, 1)
    fresh = Backbone.load(tiny.folder, device="cpu")
    config = LoraConfig(r=2, lora_alpha=3, target_modules=list(TARGETS))
    inject_adapter_in_model(config, fresh.unet)
    for name in adapter.names:
        layer = fresh.unet.get_submodule(name)
        layer.lora_A["default"].weight.data.copy_(adapter.A[name])
        layer.lora_B["default"].weight.data.copy_(adapter.B[name])
    with adapter.use("on"):
        assert torch.equal(answer(tiny), answer(fresh))


def test_one_adapter_at_a_time_and_only_where_there_is_a_layer(tiny: Backbone, adapter: LoraAdapter) -> None:
    state = torch.get_rng_state()
    with pytest.raises(AdapterError, match=r"already carries an adapter; close\(\) it first"):
        make(tiny)
    adapter.close()
    with pytest.raises(AdapterError, match="'to_nowhere' is the ending of no linear layer"):
        LoraAdapter(tiny, 2, None, ("to_q", "to_nowhere"), generator(0, "init"))
    cross = LoraAdapter(tiny, 2, None, ("attn2.to_k", "attn2.to_v"), generator(0, "init"))
    assert len(cross.names) == 7 * 2 and all(".attn2.to_" in name for name in cross.names)
    cross.close()
    assert not hasattr(tiny.unet, "peft_config")
    assert torch.equal(state, torch.get_rng_state())


def test_bytes_carried_are_those_of_what_was_learned_and_not_of_a_fresh_adapter(tiny: Backbone) -> None:
    adapter = make(tiny, token=True)
    pairs = sum(4 * (adapter.A[name].numel() + adapter.B[name].numel()) for name in adapter.names)  # fp32
    extra, token = {"mask": torch.zeros(10, dtype=torch.bool)}, 4 * tiny.token_width
    assert carried_bytes(adapter.state_dict()) == 0
    learn(adapter, 1)
    adapter.tokens["one"] = torch.zeros(1, tiny.token_width)
    assert carried_bytes(adapter.state_dict(extra)) == pairs + token + 10
    adapter.fold()
    assert carried_bytes(adapter.state_dict(extra)) == pairs + token + 10  # the pair is in the past now, once
    learn(adapter, 2)
    assert carried_bytes(adapter.state_dict()) == 2 * pairs + token
    adapter.close()
