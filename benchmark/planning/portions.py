"""Which pictures are made and embedded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby


def portions(companies: Sequence[str], size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` pictures that never hold two companies, in order.

    What a picture is made beside shows in its last bits. So those of a company share their portions with no other
    (`Item.company`): they are the same however many concepts are drawn before them.
    """
    start = 0
    for _, members in groupby(companies):
        end = start + len(list(members))
        yield from (slice(first, min(first + size, end)) for first in range(start, end, size))
        start = end
