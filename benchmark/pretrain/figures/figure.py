"""A measured figure and what it must reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure and what it must reach."""

    id: str
    title: str
    value: float
    at_least: float
    unit: str = ""
    n: int = 0

    @property
    def reached(self) -> bool:
        """Whether the value is at least what it must be."""
        return self.value >= self.at_least
