"""Balanced orders: the definition of a Latin square balanced for carry-over, checked place by place."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from math import factorial

import pytest

from cat_bench.tasks.orders import balanced_orders


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 10])
def test_no_order_comes_twice_and_the_first_is_as_written(size: int) -> None:
    found = list(islice(balanced_orders(size, 1), 60))
    assert found[0] == tuple(range(size)) and len(set(found)) == len(found) == min(60, factorial(size))
    assert all(sorted(order) == list(range(size)) for order in found)


@pytest.mark.parametrize("size", [4, 5, 6, 10])
def test_in_each_block_every_thing_stands_at_every_place_once(size: int) -> None:
    found = list(islice(balanced_orders(size, 1), 4 * size if size > 4 else 2 * size))
    for start in range(0, len(found), size):
        for place in zip(*found[start : start + size], strict=True):
            assert sorted(place) == list(range(size))


@pytest.mark.parametrize(("size", "blocks"), [(4, 1), (6, 1), (10, 1), (3, 2), (5, 2), (7, 2)])
def test_every_thing_comes_directly_after_every_other_equally_often(size: int, blocks: int) -> None:
    found = islice(balanced_orders(size, 1), blocks * size)
    after = Counter((order[i], order[i + 1]) for order in found for i in range(size - 1))
    assert len(after) == size * (size - 1) and set(after.values()) == {blocks}


def test_the_seed_draws_what_comes_after_the_first_square() -> None:
    one, again, other = (list(islice(balanced_orders(6, seed), 18)) for seed in (1, 1, 2))
    assert one == again and one[:6] == other[:6] and one[6:] != other[6:]
