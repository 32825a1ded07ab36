from __future__ import annotations

import hashlib

import torch

from cat_bench.benchmark.planning.seeds import generator, stream


def test_a_stream_is_what_its_docstring_says_on_every_machine() -> None:
    digest = hashlib.sha256(b'["cat-bench",7,"noise","marivi",3]').digest()
    assert stream(7, "noise", "marivi", 3) == int.from_bytes(digest[:8], "big") >> 1


def test_streams_differ_in_root_name_and_every_axis() -> None:
    seeds = [
        stream(0, "noise"),
        stream(1, "noise"),
        stream(0, "data"),
        stream(0, "noise", 1),
        stream(0, "noise", "1"),
        stream(0, "noise", "a", "b"),
        stream(0, "noise", "ab"),
        stream(0, "noise", "a,b"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_repeat_themselves_and_leave_the_global_stream_alone() -> None:
    state = torch.get_rng_state()
    first = torch.randn(5, generator=generator(0, "eval", 1))
    assert torch.equal(first, torch.randn(5, generator=generator(0, "eval", 1)))
    assert not torch.equal(first, torch.randn(5, generator=generator(0, "eval", 2)))
    assert torch.equal(state, torch.get_rng_state())
