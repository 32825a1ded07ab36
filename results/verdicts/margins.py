"""How large a difference must be to mean something: the margin of a figure, fixed before anything is compared.

It follows from what `cat-bench validate --ship` measured, the noise floor of the metric under the model that makes its
scores (`results/measures/validation.json`, "noise"): the standard deviation of the metric's mean over scorings of one
adapter on one concept, each from other noise. Two scorings of the same adapters differ by √2 times as much, and a mean
over m concepts by √m times as little.
"""

import math

from cat_bench.results.measures.figure import Figure
from cat_bench.results.measures.marks import noise_floor
from cat_bench.results.measures.metrics import METRICS
from cat_bench.results.records.run_folder import Run


def margin(run: Run, figure: Figure) -> float | None:
    """√2 · noise floor / √m: the standard deviation of the difference of a figure between two scorings of a cell.

    None, so that nothing is equivalent: for a figure that is not in its metric's unit (retention, cost), a metric whose
    noise under the run's model was not measured, and scores by more than one model.
    """
    models = {model for metric, model in run.judges if metric == figure.metric}
    if not figure.in_units or len(models) != 1:
        return None
    floor = noise_floor(figure.metric, models.pop())
    if floor is None:
        return None
    of_concepts = METRICS[figure.metric].of == "concept"
    return math.sqrt(2.0) * floor / math.sqrt(max(len(run.concepts), 1) if of_concepts else 1)
