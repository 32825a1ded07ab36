"""The toy backbone as fixtures: plain torch, eight small layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cat_bench.methods.base import Method
from cat_bench.methods.testing.toy import ToyAdapter, ToyConcept, batches

Made = tuple[Any, ToyAdapter]


@pytest.fixture
def concepts() -> tuple[ToyConcept, ...]:
    return tuple(ToyConcept(f"c{i}", trigger) for i, trigger in enumerate(("zorvex", "plimba", "quonda", "marivi")))


@pytest.fixture
def make() -> Callable[..., Made]:
    """make(MethodClass, **settings) -> (method, adapter), with small settings where none are given."""

    def build(cls: type[Method], **settings: Any) -> Made:
        config = cls.configure(overrides={"rank": 3, "steps": 4, "batch_size": 4, "lr": 1e-2, **settings})
        return cls(config), ToyAdapter(config)

    return build


@pytest.fixture
def answer() -> Callable[..., Any]:
    """answer(method, adapter, concept) -> (batch, noisy latents, {query: prediction}) of the concept's first step."""

    def ask(method: Method, adapter: ToyAdapter, concept: ToyConcept) -> Any:
        batch, noisy = next(batches(method, concept))
        queries = method.queries(batch)
        return batch, noisy, {key: adapter.predict(query, noisy, concept.trigger) for key, query in queries.items()}

    return ask


def scatter(adapter: ToyAdapter, seed: int = 0) -> None:
    """Give A and B arbitrary values, as if they had been trained."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (*adapter.A.values(), *adapter.B.values()):
            weight.copy_(0.3 * torch.randn(weight.shape, generator=draws))


@pytest.fixture(name="scatter")
def _scatter() -> Callable[..., None]:
    return scatter
