"""Which pictures are made and embedded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby


def portions(kinds: Sequence[str], size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` pictures that never hold two kinds, in order.

    What a picture is made beside shows in its last bits. So those of a kind share their portions with no other kind:
    preservation pictures are made in the same company however many concepts are drawn before them.
    """
    start = 0
    for _, members in groupby(kinds):
        end = start + len(list(members))
        yield from (slice(first, min(first + size, end)) for first in range(start, end, size))
        start = end
