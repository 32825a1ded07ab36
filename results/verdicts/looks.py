"""A run that goes on until its comparisons are decided: what was to be seen after each replicate, and when it stops."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cat_bench.results.errors import ResultError
from cat_bench.results.measures.figures import Figure
from cat_bench.results.records.run_folder import Run
from cat_bench.results.verdicts.always_valid import Decision, UntilDecided
from cat_bench.results.verdicts.comparison import compare, paired_differences, values_of
from cat_bench.results.verdicts.verdict import LEAST

Stop = Literal["decided", "most"]


@dataclass(frozen=True)
class Look:
    """What is decided of each comparison after so many complete replicates."""

    replicates: int
    decided: Mapping[str, Decision | None]


@dataclass(frozen=True)
class Looks:
    """All looks at one figure of a run, from the first that can decide anything. Below LEAST replicates none can.

    stop: why the run ends with the last look, every comparison decided or as many replicates as were declared; None if
    it goes on.
    """

    figure: Figure
    against: str
    rule: UntilDecided
    looks: tuple[Look, ...]
    stop: Stop | None

    def record(self) -> dict[str, Any]:
        """As run.json has it."""
        return {
            "figure": self.figure.id,
            "against": self.against,
            "margin": self.rule.margin,
            "most": self.rule.most,
            "alpha": self.rule.alpha,
            "looks": {str(look.replicates): dict(look.decided) for look in self.looks},
            "stop": self.stop,
        }


def looks_at(run: Run, name: str, most: int, replicates: int) -> Looks:
    """The looks after LEAST to `replicates` complete replicates, against the run's first ranked method.

    Each sees the replicates up to its own and nothing later. name: of the figure. Raises ResultError if there is no
    such figure or nothing to compare, and if a replicate that was to be looked at lacks the figure.
    """
    asked = run.info["spec"]["methods"]  # what another choice of methods left in the folder is not looked at
    found = [c for c in compare(run, name) if c.ranked and c.method in asked]
    if not found:
        raise ResultError(f"{run.folder}: --until-decided compares methods, and there is one that is ranked")
    figure, against = found[0].figure, found[0].against
    wanted = [(r, r) for r in range(replicates)]
    values = {m: {key: v for key, (v, _) in values_of(run, m, figure).items()} for m in run.methods}
    differences = {c.method: paired_differences(values[c.method], values[against]) for c in found}
    for method, d in differences.items():
        if lacking := [r for r, key in enumerate(wanted) if key not in d]:
            raise ResultError(
                f"{run.folder}: replicate {lacking[0]} of {method} or {against} has no {name}, so nothing can be "
                "decided by it: give another figure with --decide"
            )
    rule = UntilDecided(found[0].margin, most)
    looks, over = [], False
    for n in range(min(LEAST, replicates), replicates + 1):
        seen = {method: [d[key] for key in wanted[:n]] for method, d in differences.items()}
        looks.append(Look(n, rule.look(seen)))
        over = rule.over(seen)
    decided = all(looks[-1].decided.values())
    return Looks(figure, against, rule, tuple(looks), ("decided" if decided else "most") if over else None)
