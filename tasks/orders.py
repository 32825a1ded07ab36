"""Orders of a sequence's concepts that are fair to each of them: none is always learned last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

Order = tuple[int, ...]
_TRIES = 200  # at a block without repeats; small sequences run out of them before they run out of orders


def balanced_orders(size: int, seed: int) -> Iterator[Order]:
    """Every order of `size` things exactly once, the order as written first.

    They come in blocks of `size`. In each block every thing stands at every place once (a Latin square), and comes
    directly after every other thing equally often: in each block if `size` is even, over the first two if it is odd
    (Williams 1949, Australian Journal of Scientific Research 2). When no whole block without repeats is left, the
    remaining orders follow one by one.
    """
    rng, seen = Random(seed), set[Order]()
    zigzag = [0, *(half if turn else size - half for half in range(1, size) for turn in (1, 0))][:size]
    labels = [zigzag.index(place) for place in range(size)]  # so that the first row is the order as written
    first = _block(zigzag, labels)
    for block in (first, [row[::-1] for row in first]):
        fresh = [row for row in block if row not in seen]
        seen.update(fresh)
        yield from fresh
    tries = 0
    while tries < _TRIES:
        block = _block(zigzag, _shuffled(range(size), rng))
        tries += 1
        if seen.isdisjoint(block):
            seen.update(block)
            yield from block
            tries = 0
    total = 1
    for factor in range(2, size + 1):
        total *= factor
    while len(seen) < total:
        single = tuple(_shuffled(range(size), rng))
        if single not in seen:
            seen.add(single)
            yield single


def _block(zigzag: Sequence[int], labels: Sequence[int]) -> list[Order]:
    size = len(zigzag)
    return [tuple(labels[(place + shift) % size] for place in zigzag) for shift in range(size)]


def _shuffled(things: Sequence[int], rng: Random) -> list[int]:
    """Built on `random()` alone, the one method whose stream Python promises never to change."""
    left, found = list(things), []
    while left:
        found.append(left.pop(int(rng.random() * len(left))))
    return found
