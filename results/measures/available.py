"""What a run has scores of: which of the declared metrics, and which preservation strata."""

from cat_bench.results.measures.figures import GROUPS
from cat_bench.results.measures.metrics import METRICS, Metric
from cat_bench.results.records.run_folder import Run
from cat_bench.results.scoring.scores import ALL


def metrics_of(run: Run) -> tuple[Metric, ...]:
    """The declared metrics; an optional one only if the run has scores of it."""
    found = {name for name, _ in run.judges}
    return tuple(m for m in METRICS.values() if not m.optional or m.id in found)


def drawn_metrics(run: Run) -> tuple[str, ...]:
    """Ids of the metrics that have curves, heat maps and panels, in the order of the tables; none without any value."""
    order, valued = list(GROUPS), frozenset[str]().union(*(totals.valued for _, totals in run.totals))
    drawn = (m for m in metrics_of(run) if m.drawn and m.id in valued)
    return tuple(m.id for m in sorted(drawn, key=lambda m: order.index(m.group)))


def strata_of(run: Run) -> tuple[str, ...]:
    """The preservation strata, without "all", in the order of the records."""
    found = dict.fromkeys(name for _, totals in run.totals for name in totals.concepts("kps"))
    return tuple(name for name in found if name != ALL)
