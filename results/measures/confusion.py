"""Who took whose place: what was seen on the pictures of each concept after the last stage."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from cat_bench.results.scoring.recognition import NOBODY


def confusion(seen: Iterable[Mapping[tuple[str, str], int]], concepts: Sequence[str]) -> pd.DataFrame:
    """Shares (T, T + 1): rows the concepts asked for, columns the concepts and "nobody"; each row sums to 1.

    seen: of each cell, how many pictures of which concept were taken for whom (`Totals.seen`); all are pooled. A row is
    NaN where no picture of the concept was judged.
    """
    pooled: Counter[tuple[str, str]] = Counter()
    for cell in seen:
        pooled.update(cell)
    answers = [*concepts, NOBODY]
    counts = pd.DataFrame([[pooled[asked, who] for who in answers] for asked in concepts], list(concepts), answers)
    return counts.div(counts.sum(axis=1).where(lambda n: n > 0), axis=0).rename_axis(index="asked", columns="seen")
