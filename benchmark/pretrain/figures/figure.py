"""A measured figure and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure and its goal: at least so much, or at most."""

    id: str
    title: str
    value: float
    goal: float
    unit: str = ""
    n: int = 0
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the value is on the right side of its goal."""
        return self.value <= self.goal if self.at_most else self.value >= self.goal
