"""MagMax keeps the larger entry, one by one."""

from typing import Any

import torch

from cat_bench.methods.magmax import MagMax
from cat_bench.methods.testing.toy import learn


def test_keeps_the_larger_entry_elementwise(make: Any, concepts: Any, scatter: Any) -> None:
    method, adapter = make(MagMax)
    scatter(adapter, 1)
    adapter.replace(adapter.deltas())
    scatter(adapter, 2)
    previous = {name: adapter.past(name).clone() for name in adapter.names}
    last = {name: adapter.delta(name).detach().clone() for name in adapter.names}
    method.end(concepts[0], adapter)
    for name in adapter.names:
        kept = adapter.past(name)
        for entry, a, b in zip(kept.flatten(), previous[name].flatten(), last[name].flatten(), strict=True):
            assert entry == max((a, b), key=abs)
        assert (kept == previous[name]).any() and (kept == last[name]).any()
        assert not adapter.B[name].any() and adapter.factors == []


def test_first_concept_is_kept_whole(make: Any, concepts: Any, scatter: Any) -> None:
    method, adapter = make(MagMax)
    scatter(adapter)
    before = adapter.deltas()
    method.end(concepts[0], adapter)
    assert all(torch.equal(weight, before[name]) for name, weight in adapter.deltas().items())


def test_magnitudes_never_shrink(make: Any, concepts: Any) -> None:
    method, adapter = make(MagMax)
    before = adapter.deltas()
    for concept in concepts:
        learn(method, concept, adapter)
        after = adapter.deltas()
        assert all((after[name].abs() >= before[name].abs()).all() for name in after)
        before = after
