"""A backbone small enough to check a method on in a second: eight linear layers under a text and noise input."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from cat_bench.methods.base import Batch, Concept, Method, MethodError, Query

WIDTH, SHAPE = 12, (3, 2, 2)  # of a prompt's embedding; of one item's prediction, 12 numbers as well
LAYERS = {
    f"{block}.{layer}": (12, 16) if layer in ("to_k", "to_out.0") else (16, 12)  # (out, in)
    for block in ("attn1", "attn2")
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
}


@dataclass(frozen=True)
class ToyConcept:
    id: str
    trigger: str
    noun: str = "person"


def vector(text: str, *shape: int) -> Tensor:
    """A fixed random normal tensor for each text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class ToyAdapter:
    """The Adapter Protocol in plain torch, on a frozen network of `LAYERS`."""

    def __init__(self, config: Method.Config, learns_token: bool = False, seed: int = 0) -> None:
        self.base = {f"block.{name}": vector(name, *size) / size[1] ** 0.5 for name, size in LAYERS.items()}
        self.names = tuple(n for n in self.base if any(n.endswith("." + target) for target in config.targets))
        if not self.names:
            raise MethodError(f"targets {config.targets} name no layer; there are: {', '.join(LAYERS)}")
        self.rank = config.rank
        self.scaling = (config.alpha or config.rank) / config.rank
        self.generator = torch.Generator().manual_seed(seed)
        self.A = {name: Parameter(torch.zeros(self.rank, self.base[name].shape[1])) for name in self.names}
        self.B = {name: Parameter(torch.zeros(self.base[name].shape[0], self.rank)) for name in self.names}
        self.token = Parameter(torch.zeros(1, WIDTH)) if learns_token else None
        self.factors: list[dict[str, tuple[Tensor, Tensor]]] = []
        self.dense: dict[str, Tensor] = {}
        self.entry: dict[str, Tensor] = {}  # past + delta as this stage began
        self.reset()

    def past(self, name: str) -> Tensor:
        start = self.dense[name] if name in self.dense else torch.zeros_like(self.base[name])
        return sum((factor[name][1] @ factor[name][0] for factor in self.factors), start)

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
        if self.token is not None:
            self.token.normal_(generator=self.generator)

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
    def deltas(self) -> dict[str, Tensor]:
        """{name: (out, in)} past + delta: what would be sampled now."""
        return {name: self.past(name) + self.delta(name) for name in self.names}

    def parameters(self) -> list[Parameter]:
        return [*self.A.values(), *self.B.values(), *([] if self.token is None else [self.token])]

    @torch.no_grad()
    def state_dict(self) -> dict[str, Tensor]:
        flat: dict[str, Tensor] = {}
        flat |= {f"A.{n}": self.A[n] for n in self.names} | {f"B.{n}": self.B[n] for n in self.names}
        flat |= {f"dense.{n}": weight for n, weight in self.dense.items()}
        for i, factor in enumerate(self.factors):
            flat |= {f"factors.{i}.{k}.{n}": w for n, pair in factor.items() for k, w in zip("AB", pair, strict=True)}
        if self.token is not None:
            flat["token"] = self.token
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
        if self.token is not None:
            self.token.copy_(state["token"])

    def predict(self, query: Query, noisy: Tensor, trigger: str) -> Tensor:
        """(n, *SHAPE) the network's answer to one query on noisy latents (n, *SHAPE)."""
        if query.adapter == "on":
            return self._forward(query, noisy, trigger, {n: self.past(n) + self.delta(n) for n in self.names})
        with torch.no_grad():
            return self._forward(query, noisy, trigger, self.entry if query.adapter == "previous" else {})

    def _forward(self, query: Query, noisy: Tensor, trigger: str, change: Mapping[str, Tensor]) -> Tensor:
        h: Tensor = torch.stack([self._embed(prompt, trigger) for prompt in query.prompt]) + noisy.flatten(1)
        for name, weight in self.base.items():
            h = torch.tanh(h @ (weight + change[name] if name in change else weight).T)
        return h.reshape(-1, *SHAPE)

    def _embed(self, prompt: str, trigger: str) -> Tensor:
        learned = self.token
        words = [learned[0] if learned is not None and w == trigger else vector(w, WIDTH) for w in prompt.split()]
        embedding: Tensor = torch.stack(words).sum(0) / len(words) ** 0.5
        return embedding


def batches(method: Method, concept: Concept, seed: int = 0) -> Iterator[tuple[Batch, Tensor]]:
    """Every step's batch and its noisy latents; the concept is a fixed direction that the latents hide."""
    captions = ("a {} with a red hat", "a photo of a {}", "a {} on a beach")
    named, noun = f"{concept.trigger} {concept.noun}" if method.uses_noun else concept.trigger, concept.noun
    for step in range(method.config.steps):
        picks = [captions[(step + i) % len(captions)] for i in range(method.config.batch_size)]
        noise = vector(f"noise {seed} {concept.id} {step}", len(picks), *SHAPE)
        batch = Batch(
            target=torch.tanh(0.5 * noise + vector(concept.id, *SHAPE)),
            prompt=tuple(caption.format(named) for caption in picks),
            prompt_without_trigger=tuple(caption.format(noun) for caption in picks),
            step=step,
        )
        yield batch, noise


def learn(
    method: Method, concept: Concept, adapter: ToyAdapter, seed: int = 0, earlier: Sequence[Concept] = ()
) -> list[float]:
    """One stage as the trainer runs it; returns the loss of every step. earlier: the concepts before, oldest first."""
    config, losses = method.config, []
    method.earlier = tuple(earlier)
    adapter.generator.manual_seed(seed)
    adapter.entry = adapter.deltas()
    method.begin(concept, adapter)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    for batch, noisy in batches(method, concept, seed):
        answers = {k: adapter.predict(q, noisy, concept.trigger) for k, q in method.queries(batch).items()}
        loss = method.loss(batch, answers, adapter)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), config.max_grad_norm)
        optimiser.step()
        losses.append(loss.item())
    method.end(concept, adapter)
    return losses
