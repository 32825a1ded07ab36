"""An adapter as a flat set of tensors, as it lies in `adapter.safetensors`.

| key | tensor |
| --- | --- |
| `A.<layer>`, `B.<layer>` | the trainable adapter (r, in), (out, r) |
| `factors.<i>.<layer>.A`, `.B` | the i-th adapter of the past; its scaling is inside B |
| `dense.<layer>` | the full-rank part of the past (out, in) |
| `token` | the learned token (1, d), where the method learns one |
| `extra.<key>` | what the method itself carries |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cat_bench.benchmark.errors import AdapterError

if TYPE_CHECKING:
    from cat_bench.benchmark.learning.lora import LoraAdapter


def pack(adapter: LoraAdapter, extra: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, none sharing memory with another, as safetensors wants them."""
    state: dict[str, Tensor] = {}
    for name in adapter.names:
        state[f"A.{name}"], state[f"B.{name}"] = adapter.A[name], adapter.B[name]
        for number, factor in enumerate(adapter.factors):
            state[f"factors.{number}.{name}.A"], state[f"factors.{number}.{name}.B"] = factor[name]
    state |= {f"dense.{name}": value for name, value in adapter.dense.items()}
    if adapter.token is not None:
        state["token"] = adapter.token
    state |= {f"extra.{key}": value for key, value in extra.items()}
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in state.items()}


@torch.no_grad()
def unpack(adapter: LoraAdapter, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put a state into an adapter of the same layers and rank (none of it if it does not fit); returns the extras."""
    count = len({key.split(".")[1] for key in state if key.startswith("factors.")})
    out_in = {name: (adapter.B[name].shape[0], adapter.A[name].shape[1]) for name in adapter.names}
    shapes: dict[str, tuple[int, ...] | None] = {}
    for name, (out, into) in out_in.items():
        shapes |= {f"A.{name}": (adapter.rank, into), f"B.{name}": (out, adapter.rank)}
        for i in range(count):  # an earlier adapter may have had any rank
            shapes |= {f"factors.{i}.{name}.A": None, f"factors.{i}.{name}.B": None}
        if any(key.startswith("dense.") for key in state):
            shapes[f"dense.{name}"] = (out, into)
    if adapter.token is not None:
        shapes["token"] = tuple(adapter.token.shape)
    for key in sorted(shapes.keys() ^ {key for key in state if not key.startswith("extra.")}):
        side = "lacks" if key in shapes else "has, against this backbone and these settings,"
        raise AdapterError(f"the stored adapter {side} {key}")
    for key, shape in shapes.items():
        if shape is not None and tuple(state[key].shape) != shape:
            raise AdapterError(f"the stored {key} is {tuple(state[key].shape)}; here it must be {shape}")

    held = {key: value.detach().to(adapter.backbone.device, copy=True) for key, value in state.items()}
    for name in adapter.names:
        adapter.A[name].copy_(held[f"A.{name}"])
        adapter.B[name].copy_(held[f"B.{name}"])
    if adapter.token is not None:
        adapter.token.copy_(held["token"])
    factors = [
        {name: (held[f"factors.{i}.{name}.A"], held[f"factors.{i}.{name}.B"]) for name in adapter.names}
        for i in range(count)
    ]
    adapter.set_past(factors, {key.removeprefix("dense."): v for key, v in held.items() if key.startswith("dense.")})
    return {key.removeprefix("extra."): value for key, value in held.items() if key.startswith("extra.")}
