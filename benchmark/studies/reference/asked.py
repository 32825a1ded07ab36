"""Which runs the reference results are: methods and replicates by sequence, declared."""

from __future__ import annotations

from dataclasses import dataclass

from cat_bench.benchmark.planning.spec import METHODS
from cat_bench.methods.registry import methods

FEW, MANY = 5, 10  # replicates: of all methods, and of the first table's six


@dataclass(frozen=True)
class Part:
    """Methods of which there are so many replicates."""

    methods: tuple[str, ...]
    replicates: int


@dataclass(frozen=True)
class Asked:
    """A sequence's run, part by part: the last has all methods and the fewest replicates, the others more of some."""

    sequence: str
    parts: tuple[Part, ...]

    def of(self, replicates: int) -> Asked:
        """The same methods with so many replicates each."""
        return Asked(self.sequence, (Part(self.parts[-1].methods, replicates),))


def asked() -> tuple[Asked, ...]:
    """`faces5` with every method, the six of its first table twice as often; the others with those and the references.

    Methods of other packages have no part in it.
    """
    own = [entry for entry in methods.entries() if entry.target.startswith("cat_bench.")]
    references = tuple(sorted(entry.name for entry in own if entry.facts.get("reference")))
    further = tuple(sorted(entry.name for entry in own if entry.name not in (*METHODS, *references)))
    every = Part((*METHODS, *further, *references), FEW)
    six = Part((*METHODS, *references), FEW)
    return (
        Asked("faces5", (Part(METHODS, MANY), every)),
        Asked("twins4", (six,)),
        Asked("objects5", (six,)),
        Asked("mixed6", (six,)),
    )
