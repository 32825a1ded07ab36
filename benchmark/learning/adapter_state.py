"""What an adapter carries from stage to stage, as plain tensors, and how it lies in `adapter.safetensors`.

| key | tensor |
| --- | --- |
| `A.<layer>`, `B.<layer>` | the trainable adapter (r, in), (out, r) |
| `factors.<i>.<layer>.A`, `.B` | the i-th adapter of the past; its scaling is inside B |
| `dense.<layer>` | the full-rank part of the past (out, in) |
| `tokens.<concept>` | the embedding (1, d) learned for its trigger, where one is learned |
| `extra.<key>` | what the method itself carries |
| `kept.<key>` | items of earlier concepts that its pools carry |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from cat_bench.benchmark.errors import AdapterError

Factor = Mapping[str, tuple[Tensor, Tensor]]  # by layer: A (r, in), B (out, r); ΔW = B A


@dataclass(frozen=True)
class AdapterState:
    """ΔW of a layer = dense + Σ B_i A_i of the factors + scaling · B A; the scaling is a setting, not a state."""

    A: Mapping[str, Tensor]
    B: Mapping[str, Tensor]
    factors: tuple[Factor, ...] = ()  # of earlier stages, oldest first
    dense: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    kept: Mapping[str, Tensor] = field(default_factory=dict)

    def pack(self) -> dict[str, Tensor]:
        """Copies on the CPU by the keys above, none sharing memory with another, as safetensors wants them."""
        flat: dict[str, Tensor] = {}
        for name in self.A:
            flat[f"A.{name}"], flat[f"B.{name}"] = self.A[name], self.B[name]
            for number, factor in enumerate(self.factors):
                flat[f"factors.{number}.{name}.A"], flat[f"factors.{number}.{name}.B"] = factor[name]
        flat |= {f"dense.{name}": value for name, value in self.dense.items()}
        flat |= {f"tokens.{concept}": value for concept, value in self.tokens.items()}
        flat |= {f"extra.{key}": value for key, value in self.extra.items()}
        flat |= {f"kept.{key}": value for key, value in self.kept.items()}
        return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in flat.items()}

    @classmethod
    def unpack(cls, flat: Mapping[str, Tensor]) -> AdapterState:
        """The inverse. Raises KeyError where half of a pair is missing."""

        def below(start: str) -> dict[str, Tensor]:
            return {key.removeprefix(start): value for key, value in flat.items() if key.startswith(start)}

        A = below("A.")
        factors: list[Factor] = []
        while part := below(f"factors.{len(factors)}."):
            factors.append({name: (part[f"{name}.A"], part[f"{name}.B"]) for name in A})
        return cls(
            A,
            {name: flat[f"B.{name}"] for name in A},
            tuple(factors),
            below("dense."),
            below("tokens."),
            below("extra."),
            below("kept."),
        )


def carried_bytes(flat: Mapping[str, Tensor]) -> int:
    """Bytes of a packed state that the next concept cannot do without.

    A fresh adapter (every B is zero: after a merge) says nothing and could be drawn again.
    """
    fresh = all(not value.any() for key, value in flat.items() if key.startswith("B."))
    kept = [value for key, value in flat.items() if not (fresh and key.startswith(("A.", "B.")))]
    return sum(value.numel() * value.element_size() for value in kept)


def check_fit(flat: Mapping[str, Tensor], own: AdapterState, token: Tensor | None) -> None:
    """Raises AdapterError unless a packed state has the layers, rank and shapes of an adapter whose state is `own`.

    token: what it learns for a trigger; None if it does not.
    """
    count = len({key.split(".")[1] for key in flat if key.startswith("factors.")})
    shapes: dict[str, tuple[int, ...] | None] = {}
    for name in own.A:
        shapes |= {f"A.{name}": tuple(own.A[name].shape), f"B.{name}": tuple(own.B[name].shape)}
        for i in range(count):  # an earlier adapter may have had any rank
            shapes |= {f"factors.{i}.{name}.A": None, f"factors.{i}.{name}.B": None}
        if any(key.startswith("dense.") for key in flat):
            shapes[f"dense.{name}"] = (own.B[name].shape[0], own.A[name].shape[1])
    if token is not None:
        shapes |= {key: tuple(token.shape) for key in flat if key.startswith("tokens.")}
    for key in sorted(shapes.keys() ^ {key for key in flat if not key.startswith(("extra.", "kept."))}):
        side = "lacks" if key in shapes else "has, against this backbone and these settings,"
        raise AdapterError(f"the stored adapter {side} {key}")
    for key, shape in shapes.items():
        if shape is not None and tuple(flat[key].shape) != shape:
            raise AdapterError(f"the stored {key} is {tuple(flat[key].shape)}; here it must be {shape}")
