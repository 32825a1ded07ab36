"""Naive LoRA: the same adapter goes on."""

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from cat_bench.methods.lora import LoRA
from cat_bench.methods.testing.toy import SHAPE, ToyAdapter, batches, learn, vector


class Block(nn.Module):
    """The toy backbone's network as ordinary modules, for peft to inject into."""

    def __init__(self, adapter: ToyAdapter) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"attn1": nn.ModuleDict(), "attn2": nn.ModuleDict()})
        for name, weight in adapter.base.items():
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight = nn.Parameter(weight.clone())
            _, attention, layer = name.split(".")[:3]
            self.block[attention][layer] = nn.ModuleList([linear]) if layer == "to_out" else linear
        self.order = list(adapter.base)

    def forward(self, h: Tensor) -> Tensor:
        for name in self.order:
            h = torch.tanh(self.get_submodule(name)(h))
        return h.reshape(-1, *SHAPE)


def test_one_concept_equals_a_plain_peft_run(make: Any, concepts: Any) -> None:
    method, adapter = make(LoRA, rank=3, alpha=6, steps=5, max_grad_norm=0.05)
    network = Block(adapter)
    targets = list(method.config.targets)
    network = inject_adapter_in_model(LoraConfig(r=3, lora_alpha=6, target_modules=targets), network)
    with torch.no_grad():
        for name in adapter.names:
            network.get_submodule(name).lora_A["default"].weight.copy_(adapter.A[name])
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=method.config.lr, weight_decay=method.config.weight_decay)
    for batch, noisy in batches(method, concepts[0]):
        text = [torch.stack([vector(w, 12) for w in p.split()]).sum(0) / len(p.split()) ** 0.5 for p in batch.prompt]
        loss = nn.functional.mse_loss(network(torch.stack(text) + noisy.flatten(1)), batch.target)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, method.config.max_grad_norm)
        optimiser.step()

    learn(method, concepts[0], adapter)

    assert set(adapter.names) == set(adapter.base), "peft and the toy adapter must agree on what the targets name"
    for name, delta in adapter.deltas().items():
        assert delta.abs().max() > 1e-4
        torch.testing.assert_close(delta, network.get_submodule(name).get_delta_weight("default"))


def test_the_next_concept_starts_from_the_same_adapter(make: Any, concepts: Any) -> None:
    method, adapter = make(LoRA)
    learn(method, concepts[0], adapter)
    before = {name: (adapter.A[name].clone(), adapter.B[name].clone()) for name in adapter.names}
    method.begin(concepts[1], adapter)
    for name, (A, B) in before.items():
        assert torch.equal(adapter.A[name], A) and torch.equal(adapter.B[name], B) and B.any()
    assert adapter.factors == [] and adapter.dense == {}
