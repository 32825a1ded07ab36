"""What is declared of a metric."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]
ARROW: dict[str, str] = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Metric:
    """One declared metric.

    range: least and greatest possible value (None: unbounded). least: the smallest difference that means something; a
    concept that rose by no more was not learned. unit: what one row of the long table is. of: whether
    rows belong to concepts or to preservation strata. digits: decimals in tables. trap: how the number misleads.

    Its figures follow from: group, the table they stand in; kinds, the ways R[t, k] is summed up (see `kinds`);
    contested, whether other code bases' definitions of forgetting are shown too; drawn, whether it has curves, a heat
    map and a panel in the trade-offs (of a run that has values of it). column: what a table calls it that holds several
    metrics. optional: only runs that ask for it have it. answers: the tests of the instrument (`results.validation`) in
    which it must move as what it measures does; of the others nothing is expected.
    """

    id: str
    title: str
    direction: Direction
    range: tuple[float | None, float | None]
    scale: str
    formula: str
    source: str
    trap: str
    unit: Literal["image", "set"]
    group: str
    kinds: tuple[str, ...] = ()
    least: float | None = None
    column: str = ""
    contested: bool = False
    drawn: bool = False
    optional: bool = False
    of: Literal["concept", "stratum"] = "concept"
    extractor: str = "image and text features of the backbone's metric model (open_clip), L2-normalised"
    digits: int = 3
    answers: tuple[str, ...] = ()

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is."""
        return ARROW[self.direction]

    @property
    def short(self) -> str:
        """The title without what explains it."""
        return self.title.partition(",")[0]


DAMAGE = ("blur", "mosaic", "grain")  # tests of the instrument
ADAPTER = ("blend", "weights")
ALL_KINDS = ("average", "plasticity", "forgetting", "retention", "bwt")
