"""Merging changes nothing that is drawn."""

from typing import Any

import pytest
import torch

from cat_bench.methods.lora import LoRA
from cat_bench.methods.merge import Merge
from cat_bench.methods.testing.toy import batches, learn


@pytest.mark.parametrize("alpha", [None, 7.0])
def test_merged_equals_unmerged(make: Any, concepts: Any, scatter: Any, alpha: float | None) -> None:
    method, adapter = make(Merge, alpha=alpha)
    for stage, concept in enumerate(concepts[:3]):
        scatter(adapter, stage)
        batch, noisy = next(batches(method, concept))
        query = method.queries(batch)["learn"]
        weights, drawn = adapter.deltas(), adapter.predict(query, noisy, concept.trigger)
        method.end(concept, adapter)
        assert len(adapter.factors) == stage + 1
        assert all(not B.any() for B in adapter.B.values()), "the next adapter starts at zero"
        for name, weight in adapter.deltas().items():
            torch.testing.assert_close(weight, weights[name])
        torch.testing.assert_close(adapter.predict(query, noisy, concept.trigger), drawn)


def test_first_concept_is_naive_lora(make: Any, concepts: Any) -> None:
    """Same start, same steps: methods can be compared in pairs from the first concept on."""
    (merge, one), (naive, other) = make(Merge), make(LoRA)
    assert learn(merge, concepts[0], one) == learn(naive, concepts[0], other)
    for name, weight in one.deltas().items():
        torch.testing.assert_close(weight, other.deltas()[name])
