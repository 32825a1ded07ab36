"""Who took whose place: what was seen on the pictures of each concept after the last stage."""

from collections.abc import Sequence

import pandas as pd

from cat_bench.results.scoring.recognition import NOBODY


def confusion(scores: pd.DataFrame, concepts: Sequence[str]) -> pd.DataFrame:
    """Shares (T, T + 1): rows the concepts asked for, columns the concepts and "nobody"; each row sums to 1.

    scores: rows of the long table, all of one stage or of several cells' last stages, whose pictures are pooled. A row
    is NaN where no picture of the concept was judged.
    """
    judged = scores[(scores["metric"] == "concept_accuracy") & scores["seen"].notna()]
    counts = pd.crosstab(judged["concept"], judged["seen"])
    counts = counts.reindex(index=list(concepts), columns=[*concepts, NOBODY], fill_value=0)
    return counts.div(counts.sum(axis=1).where(lambda n: n > 0), axis=0).rename_axis(index="asked", columns="seen")
