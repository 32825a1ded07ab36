"""The low-rank adapter that learns: peft's LoRA layers in a frozen network, and what earlier concepts left there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from cat_bench.benchmark.errors import AdapterError
from cat_bench.benchmark.learning.adapter_state import AdapterState, check_fit
from cat_bench.benchmark.learning.host import Host, linear_layers
from cat_bench.benchmark.learning.lean import inject
from cat_bench.benchmark.learning.past import Past, Weights
from cat_bench.benchmark.learning.swap import Swap, folded, module_swap, parameter_swap, swapped

Mode = Literal["on", "off", "previous"]


class LoraAdapter:
    """A trainable adapter on a frozen past on the untouched backbone: W0 + past + scaling · B A.

    Implements `cat_bench.methods.base.Adapter`. Outside of `use` the network's base weights are always W0 itself, so
    that nothing can drift. Only one adapter at a time can be in a network; `close` takes it out again.
    """

    def __init__(
        self,
        host: Host,
        rank: int,
        alpha: float | None,
        targets: tuple[str, ...],
        generator: torch.Generator,
        token: bool = False,
    ) -> None:
        """`targets` are endings of linear layers' names, such as "to_q" or "attn2.to_k"; `alpha` None means `rank`.

        `generator` (on the CPU) draws the first A; token: whether one is learned. Raises AdapterError where a target
        fits no linear layer.
        """
        self.host = host
        self.rank = rank
        self.scaling = (rank if alpha is None else alpha) / rank
        self.generator = generator
        self._past = Past()
        fresh = torch.zeros(1, host.token_width, device=host.device)
        self.token = nn.Parameter(fresh) if token else None
        self._entry: tuple[Past, dict[str, tuple[Tensor, Tensor]]] | None = None  # as this stage was entered
        self._swaps: dict[tuple[Mode, torch.dtype | None, Weights | None], list[Swap]] = {}
        self.kept: dict[str, Tensor] = {}  # items of earlier concepts, carried along for the trainer's pools
        self.tokens: dict[str, Tensor] = {}  # (1, d) learned, by concept

        network = host.network
        if any(isinstance(module, LoraLayer) for module in network.modules()):
            raise AdapterError(f"backbone {host.id} already carries an adapter; close() it first")
        self._base = linear_layers(network, targets)
        self.names = tuple(self._base)
        self.A, self.B = inject(network, self.names, rank, self.scaling)
        self.reset()

    @property
    def factors(self) -> list[dict[str, tuple[Tensor, Tensor]]]:
        """The folded adapters, oldest first."""
        return self._past.factors

    @property
    def dense(self) -> dict[str, Tensor]:
        """The part of the past that is not low-rank."""
        return self._past.dense

    def past(self, name: str, weights: Weights | None = None) -> Tensor:
        """ΔW (out, in) in fp32 of earlier concepts: dense + Σ w_i B_i A_i (None: w_i = 1). Frozen; do not write."""
        return self._past.of(name, self._base[name].weight, weights)

    def delta(self, name: str) -> Tensor:
        """What trains now, scaling · B A (out, in), differentiable."""
        return self.scaling * (self.B[name] @ self.A[name])

    @torch.no_grad()
    def deltas(self) -> dict[str, Tensor]:
        """Everything learned so far, past + delta (out, in) in fp32: what is folded into W0 to sample."""
        return {name: self.past(name) + self.delta(name) for name in self.names}

    def named(self) -> dict[str, nn.Parameter]:
        """What an optimiser trains, by its stored name: A and B of each layer in module order, then a learned token."""
        own = {f"{key}.{name}": part[name] for name in self.names for key, part in (("A", self.A), ("B", self.B))}
        return own if self.token is None else {**own, "token": self.token}

    def parameters(self) -> list[nn.Parameter]:
        """The same without names."""
        return list(self.named().values())

    @torch.no_grad()
    def reset(self, A: Mapping[str, Tensor] | None = None) -> None:
        """A fresh trainable adapter: B = 0; A as given, else as peft draws it (Kaiming uniform, a = √5).

        All draws are from `generator`.
        """
        for name in self.names:
            own = self.A[name]
            if A is None:
                fresh = nn.init.kaiming_uniform_(torch.empty(own.shape), a=math.sqrt(5), generator=self.generator)
            else:
                fresh = A[name]
            if fresh.shape != own.shape:
                raise AdapterError(f"A of {name} must be {tuple(own.shape)}, not {tuple(fresh.shape)}")
            own.copy_(fresh)
            self.B[name].zero_()

    @torch.no_grad()
    def fold(self) -> None:
        """The trainable adapter joins the past as it is, and a fresh one takes its place."""
        self._set_past(Past([*self.factors, self.current()], self.dense))
        self.reset()

    @torch.no_grad()
    def current(self) -> dict[str, tuple[Tensor, Tensor]]:
        """A copy of what trains, as it would be folded: scaling inside B."""
        return {name: (self.A[name].detach().clone(), self.scaling * self.B[name].detach()) for name in self.names}

    @torch.no_grad()
    def replace(self, dense: Mapping[str, Tensor]) -> None:
        """The past becomes exactly `dense` (out, in) by layer, and a fresh trainable adapter takes its place."""
        if set(dense) != set(self.names):
            raise AdapterError("replace() needs one matrix for each adapted layer, and no others")
        for name, base in self._base.items():
            if dense[name].shape != base.weight.shape:
                raise AdapterError(f"ΔW of {name} must be {tuple(base.weight.shape)}, not {tuple(dense[name].shape)}")
        own = {name: dense[name].detach().to(self.host.device, torch.float32, copy=True) for name in self.names}
        self._set_past(Past(dense=own))
        self.reset()

    def _set_past(self, past: Past) -> None:
        """Everything computed from the former one is forgotten."""
        self._past, self._swaps = past, {}

    @torch.no_grad()
    def enter(self, generator: torch.Generator, keeps_factors: bool = True) -> None:
        """Begin a stage: take its `init` stream, remember the state now as "previous", and train all of it.

        A token that is learned is drawn anew: normal, with the mean and the spread of the embedding table.
        keeps_factors False: the factors become one dense sum once they outweigh it.
        """
        self.generator = generator
        weights = {name: layer.weight for name, layer in self._base.items()}
        self._set_past(self._past if keeps_factors else self._past.compact(weights))
        trained = {name: (self.A[name].detach().clone(), self.B[name].detach().clone()) for name in self.names}
        self._entry = self._past, trained
        if self.token is not None:
            self.token.copy_(self.host.random_token(generator))
        for parameter in self.parameters():
            parameter.requires_grad_(True)

    @torch.no_grad()
    def entered(self, weights: Weights | None = None) -> dict[str, Tensor]:
        """What `deltas` was when this stage was entered, computed anew. Raises AdapterError before the first."""
        if self._entry is None:
            raise AdapterError('"previous" was asked for before a stage was entered')
        past, trained = self._entry
        return {n: past.of(n, self._base[n].weight, weights) + self.scaling * (B @ A) for n, (A, B) in trained.items()}

    @contextmanager
    def use(self, mode: Mode, dtype: torch.dtype | None = None, weights: Weights | None = None) -> Iterator[None]:
        """While it lasts the network is W0 + past + delta ("on"), W0 ("off"), or the state at this stage's entry.

        `dtype` is what changed weights are cast to, for a caller that has cast all others; `weights` as in `past`.
        """
        key = (mode, dtype, weights)
        if key not in self._swaps:
            self._swaps[key] = self._make_swaps(mode, dtype, weights)
        with swapped(self._swaps[key]):
            yield

    def _make_swaps(self, mode: Mode, dtype: torch.dtype | None, weights: Weights | None) -> list[Swap]:
        change: Mapping[str, Tensor] = {}
        if mode == "on" and self._past:
            change = {name: self.past(name, weights) for name in self.names}
        elif mode == "previous":
            change = self.entered(weights)
        swaps = [
            parameter_swap(self._base[name], "weight", folded(self._base[name], change[name], dtype)) for name in change
        ]
        if mode != "on":
            swaps += [module_swap(self.host.network, name, base) for name, base in self._base.items()]
        return swaps

    def close(self) -> None:
        """Take the LoRA layers out of the network again: it is what it was before."""
        for name, base in self._base.items():
            table, child, _ = module_swap(self.host.network, name, base)
            table[child] = base
        if hasattr(self.host.network, "peft_config"):
            del self.host.network.peft_config

    def state_dict(self, extra: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What is carried to the next stage, flat (see adapter_state), for safetensors; `extra` is the method's own."""
        return self._state(extra or {}).pack()

    def _state(self, extra: Mapping[str, Tensor]) -> AdapterState:
        return AdapterState(self.A, self.B, tuple(self.factors), self.dense, self.tokens, extra, self.kept)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Become what `state_dict` described; returns the method's own. Raises AdapterError, changing nothing, if it
        does not fit.
        """
        check_fit(state, self._state({}), self.token)
        held = AdapterState.unpack({k: v.detach().to(self.host.device, copy=True) for k, v in state.items()})
        for name in self.names:
            self.A[name].copy_(held.A[name])
            self.B[name].copy_(held.B[name])
        self._set_past(Past([dict(factor) for factor in held.factors], dict(held.dense)))
        self.kept, self.tokens = dict(held.kept), dict(held.tokens)
        return dict(held.extra)
