"""Stages on the toy backbone as the trainer runs them: concepts, batches, pools, steps, the survey after them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cat_bench.methods.base import Batch, Concept, Everything, Generated, Kept, Method, MethodError, Pool, Query, mse
from cat_bench.methods.testing.toy_adapter import LAYERS, SHAPE, WIDTH, Route, ToyAdapter, vector

__all__ = [
    "LAYERS",
    "SHAPE",
    "WIDTH",
    "ToyAdapter",
    "ToyConcept",
    "answers",
    "batches",
    "fill_pools",
    "learn",
    "route_of",
    "vector",
]

CAPTIONS = ("a {} with a red hat", "a photo of a {}", "a {} on a beach")


@dataclass(frozen=True)
class ToyConcept:
    id: str
    trigger: str
    noun: str = "person"

    def fill(self, template: str, form: str) -> str:
        words = {"trigger": f"{self.trigger} {self.noun}", "noun": self.noun, "token": self.trigger}
        return template.replace("{}", words[form])


@dataclass(frozen=True)
class ToyItems:
    """What a pool holds: clean items (n, *SHAPE), and n captions with trigger, without, and with "{}"."""

    clean: Tensor
    prompts: tuple[str, ...]
    without: tuple[str, ...]
    templates: tuple[str, ...]

    @classmethod
    def of(cls, clean: Tensor, concept: Concept, form: str) -> "ToyItems":
        templates = tuple(CAPTIONS[i % len(CAPTIONS)] for i in range(len(clean)))
        prompts, without = (tuple(concept.fill(text, f) for text in templates) for f in (form, "noun"))
        return cls(clean, prompts, without, templates)

    @classmethod
    def joined(cls, parts: "Sequence[ToyItems]") -> "ToyItems":
        texts = ((text for part in parts for text in getattr(part, key)) for key in ("prompts", "without", "templates"))
        return cls(torch.cat([part.clean for part in parts]), *(tuple(found) for found in texts))


def fill_pools(method: Method, concept: Concept, adapter: ToyAdapter, seed: int) -> dict[str, ToyItems]:
    """The items of each pool that has any; `method.earlier` is set and the stage was entered."""
    found = {}
    for name, pool in method.pools(concept).items():
        if (items := _filled(method, pool, concept, adapter, seed)) is not None:
            found[name] = items
    return found


def _filled(method: Method, pool: Pool, concept: Concept, adapter: ToyAdapter, seed: int) -> ToyItems | None:
    if isinstance(pool, Generated):
        texts = tuple(prompt for prompt in pool.prompts for _ in range(pool.count))
        if not texts:
            return None
        noise = torch.stack([vector(f"picture {seed} {concept.id} {i}", *SHAPE) for i in range(len(texts))])
        answer = adapter.predict(Query(texts, pool.adapter), noise, "", route_of(method, method.earlier))
        return ToyItems(answer, texts, texts, texts)
    if isinstance(pool, Everything):
        parts = [ToyItems.of(vector(old.id, *SHAPE).expand(3, *SHAPE), old, method.form) for old in method.earlier]
    else:
        if lost := [old.id for old in method.earlier if old.id not in adapter.kept]:
            raise MethodError(f"nothing of {lost[0]} was kept: pools() must declare Kept from the first concept on")
        parts = [ToyItems.of(adapter.kept[old.id], old, method.form) for old in method.earlier]
    return ToyItems.joined(parts) if parts else None


def route_of(method: Method, concepts: Sequence[Concept]) -> Route:
    """How the method weighs the factors for a prompt."""

    def route(prompt: str) -> tuple[float, ...] | None:
        weights = method.route(prompt, concepts)
        try:
            return None if weights is None else tuple(map(float, weights))
        except (TypeError, ValueError):
            raise MethodError(
                f"route() must give a list of numbers, one for each of `concepts`, not {weights}"
            ) from None

    return route


def batches(
    method: Method, concept: Concept, seed: int = 0, pools: Mapping[str, ToyItems] | None = None
) -> Iterator[tuple[Batch, Tensor]]:
    """Every step's batch and its noisy latents; the concept is a fixed direction that the latents hide."""
    count = method.config.batch_size
    for step in range(method.config.steps):
        picks = tuple(CAPTIONS[(step + i) % len(CAPTIONS)] for i in range(count))
        noise = vector(f"noise {seed} {concept.id} {step}", count, *SHAPE)
        batch = Batch(
            target=torch.tanh(0.5 * noise + vector(concept.id, *SHAPE)),
            prompt=tuple(concept.fill(caption, method.form) for caption in picks),
            prompt_without_trigger=tuple(concept.fill(caption, "noun") for caption in picks),
            step=step,
            templates=picks,
        )
        if pools:
            batch = replace(batch, pools={name: _from_pool(name, pools[name], count, seed, step) for name in pools})
        yield batch, noise


def _pool_noise(name: str, count: int, seed: int, step: int) -> Tensor:
    return vector(f"pool {name} {seed} {step}", count, *SHAPE)


def _from_pool(name: str, items: ToyItems, count: int, seed: int, step: int) -> Batch:
    rows = [(step * count + i) % len(items.prompts) for i in range(count)]
    texts = [tuple(captions[row] for row in rows) for captions in (items.prompts, items.without)]
    target = torch.tanh(0.5 * _pool_noise(name, count, seed, step) + items.clean[rows])
    return Batch(target, texts[0], texts[1], step, tuple(items.templates[row] for row in rows))


def answers(
    method: Method, concept: Concept, adapter: ToyAdapter, batch: Batch, noisy: Tensor, seed: int = 0
) -> dict[str, Tensor]:
    """What the network says to all queries of a step."""
    found = {}
    for key, query in method.queries(batch).items():
        if query.items is not None and query.items not in batch.pools:
            raise MethodError(f"query {key!r} asks about the pool {query.items!r}, which has no items at this stage")
        seen = noisy if query.items is None else _pool_noise(query.items, len(noisy), seed, batch.step)
        found[key] = adapter.predict(query, seen, concept.trigger, route_of(method, method.earlier))
    return found


def learn(
    method: Method, concept: Concept, adapter: ToyAdapter, seed: int = 0, earlier: Sequence[Concept] = ()
) -> list[float]:
    """One stage as the trainer runs it; returns the loss of every step. earlier: the concepts before, oldest first."""
    config, losses = method.config, []
    method.earlier, method.tokens = tuple(earlier), adapter.tokens
    adapter.enter(seed)
    pools = fill_pools(method, concept, adapter, seed)
    method.begin(concept, adapter)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    for batch, noisy in batches(method, concept, seed, pools):
        loss = method.loss(batch, answers(method, concept, adapter, batch, noisy, seed), adapter)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), config.max_grad_norm)
        optimiser.step()
        losses.append(loss.item())
    _survey(method, concept, adapter)
    if adapter.token is not None:
        adapter.tokens[concept.id] = adapter.token.detach().clone()
    method.end(concept, adapter)
    counts = [pool.count for pool in method.pools(concept).values() if isinstance(pool, Kept)]
    if counts:
        adapter.kept[concept.id] = vector(concept.id, *SHAPE).expand(max(counts), *SHAPE).clone()
    return losses


def _survey(method: Method, concept: Concept, adapter: ToyAdapter) -> None:
    trained = {name: parameter for name, parameter in adapter.named().items() if parameter.requires_grad}
    for number in range(method.survey()):
        noise = vector(f"survey {concept.id} {number}", 1, *SHAPE)
        target = torch.tanh(0.5 * noise + vector(concept.id, *SHAPE))
        query = Query((concept.fill(CAPTIONS[number % len(CAPTIONS)], method.form),))
        answer = adapter.predict(query, noise, concept.trigger, route_of(method, method.earlier))
        gradients = torch.autograd.grad(mse(answer, target), list(trained.values()), allow_unused=True)
        shown = {
            n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(trained.items(), gradients, strict=True)
        }
        method.surveyed(shown, adapter)
