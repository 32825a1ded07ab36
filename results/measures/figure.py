"""What a figure is: one number a cell, with where it stands in the tables and in the headline."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cat_bench.results.measures.metrics import ARROW, Direction
from cat_bench.results.measures.subjects import NAN, Subject

Outcome = tuple[float, str | None]  # value (NaN if missing) and why it is missing

GROUPS: dict[str, str] = {
    "accuracy": "Concept accuracy: is it the right one?",
    "fidelity": "CLIP-I: how like the references?",
    "fidelity_dino": "DINO-I: how like the references, seen by another model?",
    "parts": "Parts: is it drawn with what the concept has?",
    "alignment": "Does the image follow the prompt?",
    "quality": "Quality: of its class, readable, and like pictures of the class?",
    "distribution": "Distribution of the images, and copies among them",
    "preservation": "Knowledge preservation (KPS) after the last stage",
    "class": "The class without a trigger after the last stage: do concepts leak, is it as varied?",
    "cost": "Cost of a cell",
    "other_accuracy": "Concept accuracy by other definitions of forgetting",
    "other_fidelity": "CLIP-I by other definitions of forgetting",
    "other_fidelity_dino": "DINO-I by other definitions of forgetting",
}
KEPT = "kps_class_other"  # one figure where only one can be shown: of the class, and of what is none of it
HEADLINE: tuple[str, ...] = (
    "concept_accuracy_average",
    "concept_accuracy_forgetting",
    "part_accuracy_average",
    "clip_i_average",
    "clip_i_plasticity",
    "clip_i_forgetting",
    "scene_accuracy_average",
    "clip_t_average",
    "kps_class",
    "kps_other",
    "seconds_train",
)


@dataclass(frozen=True)
class Figure:
    """One declared figure of the summary. unit is printed behind the column's name, the value is in that unit.

    metric: the id of that whose scores it is made of; "": of none. by_concept: what it is the mean of over concepts,
    None if it is no such mean. in_units: whether its value is in the metric's own unit.
    """

    id: str
    title: str
    short: str
    group: str
    direction: Direction | None
    formula: str
    source: str
    compute: Callable[[Subject], Outcome]
    digits: int = 3
    unit: str = ""
    metric: str = ""
    by_concept: Callable[[Subject], Mapping[str, float]] | None = None
    in_units: bool = True

    @property
    def arrow(self) -> str:
        """↑, ↓, or nothing where neither way is better."""
        return ARROW.get(self.direction or "", "")

    @property
    def label(self) -> str:
        """Column head: short name, unit, arrow."""
        return " ".join(part for part in (self.short, self.unit and f"[{self.unit}]", self.arrow) if part)


def or_why(value: float, subject: Subject, name: str) -> Outcome:
    """A value, or the first reason that the metric's rows give for having none."""
    if math.isfinite(value):
        return value, None
    return NAN, subject.totals.reason(name) or f"no {name} scores"
