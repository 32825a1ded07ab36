"""The declared metrics: what each score is, which way is better, how it is computed and where it comes from.

The formulas themselves are in `formulas`; `scores` makes the rows of the long table with them.
"""

import difflib

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.declared.contents import CONTENTS
from cat_bench.results.measures.declared.likeness import LIKENESS
from cat_bench.results.measures.declared.metric import ARROW, Direction, Metric
from cat_bench.results.measures.declared.preservation import PRESERVATION

__all__ = ["ARROW", "METRICS", "Direction", "Metric", "metric"]

METRICS: dict[str, Metric] = {m.id: m for m in (*LIKENESS, *CONTENTS, *PRESERVATION)}


def metric(name: str) -> Metric:
    """The declared metric of that id. Raises ResultError with what was probably meant."""
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(METRICS)}"
        raise ResultError(f"unknown metric {name!r}: {hint}")
    return METRICS[name]
