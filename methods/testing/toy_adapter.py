"""A backbone small enough to check a method on in a second: eight linear layers under a text and noise input."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from cat_bench.methods.base import Method, MethodError, Query

WIDTH, SHAPE = 12, (3, 2, 2)  # of a prompt's embedding; of one item's prediction, 12 numbers as well
LAYERS = {
    f"{block}.{layer}": (12, 16) if layer in ("to_k", "to_out.0") else (16, 12)  # (out, in)
    for block in ("attn1", "attn2")
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
}


def vector(text: str, *shape: int) -> Tensor:
    """A fixed random normal tensor for each text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Weights = tuple[float, ...] | None  # of the factors; None: the whole past
Route = Callable[[str], Weights]


class ToyAdapter:
    """The Adapter Protocol in plain torch, on a frozen network of `LAYERS`."""

    def __init__(self, config: Method.Config, seed: int = 0) -> None:
        self.base = {f"block.{name}": vector(name, *size) / size[1] ** 0.5 for name, size in LAYERS.items()}
        self.names = tuple(n for n in self.base if any(n.endswith("." + target) for target in config.targets))
        if not self.names:
            raise MethodError(f"targets {config.targets} name no layer; there are: {', '.join(LAYERS)}")
        self.rank = config.rank
        self.scaling = (config.alpha or config.rank) / config.rank
        self.generator = torch.Generator().manual_seed(seed)
        self.A = {name: Parameter(torch.zeros(self.rank, self.base[name].shape[1])) for name in self.names}
        self.B = {name: Parameter(torch.zeros(self.base[name].shape[0], self.rank)) for name in self.names}
        self.token = Parameter(torch.zeros(1, WIDTH)) if config.token else None
        self.tokens: dict[str, Tensor] = {}  # learned, by concept
        self.factors: list[dict[str, tuple[Tensor, Tensor]]] = []
        self.dense: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}  # items of earlier concepts, for pools
        self.entry: dict[str, Tensor] = {}  # past + delta as this stage began
        self.entered: dict[str, Tensor] = {}  # the delta alone
        self.reset()

    def past(self, name: str, weights: Weights = None) -> Tensor:
        start = self.dense[name] if name in self.dense else torch.zeros_like(self.base[name])
        if weights is None:
            return sum((factor[name][1] @ factor[name][0] for factor in self.factors), start)
        if len(weights) != len(self.factors):
            raise MethodError(
                f"route() gave {len(weights)} weights for {len(self.factors)} folded adapters: give one for "
                "each of `concepts`, and fold() each concept's adapter in end()"
            )
        pairs = zip(weights, self.factors, strict=True)
        return sum((weight * factor[name][1] @ factor[name][0] for weight, factor in pairs if weight), start)

    def delta(self, name: str) -> Tensor:
        return self.scaling * self.B[name] @ self.A[name]

    @torch.no_grad()
    def reset(self, A: Mapping[str, Tensor] | None = None) -> None:
        for name in self.names:
            bound = self.A[name].shape[1] ** -0.5
            drawn = torch.empty_like(self.A[name]).uniform_(-bound, bound, generator=self.generator)
            start = drawn if A is None else A[name]
            if start.shape != self.A[name].shape:
                raise MethodError(f"reset: A of {name} is {tuple(start.shape)}, not {tuple(self.A[name].shape)}")
            self.A[name].copy_(start)
            self.B[name].zero_()

    @torch.no_grad()
    def fold(self) -> None:
        self.factors.append({n: (self.A[n].detach().clone(), self.scaling * self.B[n].detach()) for n in self.names})
        self.reset()

    @torch.no_grad()
    def replace(self, dense: Mapping[str, Tensor]) -> None:
        for name in dense:
            if name not in self.names or dense[name].shape != self.base[name].shape:
                raise MethodError(f"replace: {name} {tuple(dense[name].shape)} is no adapted layer's (out, in)")
        self.dense, self.factors = {name: weight.detach().clone() for name, weight in dense.items()}, []
        self.reset()

    @torch.no_grad()
    def enter(self, seed: int) -> None:
        """Begin a stage: its own stream, this state as "previous", and all of it trained."""
        self.generator.manual_seed(seed)
        if self.token is not None:
            self.token.normal_(generator=self.generator)
        self.entry, self.entered = self.deltas(), {name: self.delta(name) for name in self.names}
        for parameter in self.parameters():
            parameter.requires_grad_(True)

    @torch.no_grad()
    def deltas(self) -> dict[str, Tensor]:
        """{name: (out, in)} past + delta: what would be sampled now."""
        return {name: self.past(name) + self.delta(name) for name in self.names}

    def named(self) -> dict[str, Parameter]:
        own = {f"{key}.{name}": part[name] for key, part in (("A", self.A), ("B", self.B)) for name in self.names}
        return own if self.token is None else {**own, "token": self.token}

    def parameters(self) -> list[Parameter]:
        return list(self.named().values())

    @torch.no_grad()
    def state_dict(self) -> dict[str, Tensor]:
        flat: dict[str, Tensor] = {}
        flat |= {f"A.{n}": self.A[n] for n in self.names} | {f"B.{n}": self.B[n] for n in self.names}
        flat |= {f"dense.{n}": weight for n, weight in self.dense.items()}
        for i, factor in enumerate(self.factors):
            flat |= {f"factors.{i}.{k}.{n}": w for n, pair in factor.items() for k, w in zip("AB", pair, strict=True)}
        flat |= {f"tokens.{concept}": token for concept, token in self.tokens.items()}
        flat |= {f"kept.{key}": value for key, value in self.kept.items()}
        return {key: value.detach().clone() for key, value in flat.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name in self.names:
            self.A[name].copy_(state[f"A.{name}"])
            self.B[name].copy_(state[f"B.{name}"])
        self.dense = {key.removeprefix("dense."): w for key, w in state.items() if key.startswith("dense.")}
        count = len({key.split(".")[1] for key in state if key.startswith("factors.")})
        self.factors = [
            {n: (state[f"factors.{i}.A.{n}"], state[f"factors.{i}.B.{n}"]) for n in self.names} for i in range(count)
        ]
        self.kept = {key.removeprefix("kept."): value for key, value in state.items() if key.startswith("kept.")}
        self.tokens = {key.removeprefix("tokens."): value for key, value in state.items() if key.startswith("tokens.")}

    def predict(self, query: Query, noisy: Tensor, trigger: str, route: Route = lambda _: None) -> Tensor:
        """(n, *SHAPE) the network's answer to one query on noisy latents (n, *SHAPE), each prompt by its own route."""
        rows: dict[Weights, list[int]] = {}
        for row, prompt in enumerate(query.prompt):
            rows.setdefault(None if query.adapter == "off" else route(prompt), []).append(row)
        if len(rows) == 1:
            return self._routed(query.adapter, query.prompt, noisy, trigger, next(iter(rows)))
        answers: list[Tensor] = [noisy] * len(noisy)
        for weights, chosen in rows.items():
            prompts = tuple(query.prompt[row] for row in chosen)
            for row, answer in zip(
                chosen, self._routed(query.adapter, prompts, noisy[chosen], trigger, weights), strict=True
            ):
                answers[row] = answer
        return torch.stack(answers)

    def _routed(self, mode: str, prompts: tuple[str, ...], noisy: Tensor, trigger: str, weights: Weights) -> Tensor:
        if mode == "on":
            change = {n: self.past(n, weights) + self.delta(n) for n in self.names}
            return self._forward(prompts, noisy, trigger, change)
        change = self.entry if mode == "previous" else {}
        if mode == "previous" and weights is not None:
            change = {n: self.past(n, weights) + self.entered[n] for n in self.names}
        with torch.no_grad():
            return self._forward(prompts, noisy, trigger, change)

    def _forward(self, prompts: Sequence[str], noisy: Tensor, trigger: str, change: Mapping[str, Tensor]) -> Tensor:
        h: Tensor = torch.stack([self._embed(prompt, trigger) for prompt in prompts]) + noisy.flatten(1)
        for name, weight in self.base.items():
            h = torch.tanh(h @ (weight + change[name] if name in change else weight).T)
        return h.reshape(-1, *SHAPE)

    def _embed(self, prompt: str, trigger: str) -> Tensor:
        learned = self.token
        words = [learned[0] if learned is not None and w == trigger else vector(w, WIDTH) for w in prompt.split()]
        embedding: Tensor = torch.stack(words).sum(0) / len(words) ** 0.5
        return embedding
