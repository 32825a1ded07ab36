"""Which stage is next: a cell's stages one after another, cells side by side, what two stages have in common once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cat_bench.benchmark.planning.plan import CellPlan, Plan, StagePlan


@dataclass(eq=False)
class Chain:
    """A cell's stages, or the untouched backbone's. at: of the one that comes next; tries: how often that was lost."""

    cell: CellPlan | None
    stages: tuple[StagePlan, ...]
    index: int  # of the cell in the run, from 1
    at: int = 0
    tries: int = 0
    placed: int = 0  # how many of its stages are in their places
    begun: bool = False
    busy: bool = False  # its next stage is being made
    ended: bool = False

    @property
    def left(self) -> int:
        """Stages that nobody has begun to make."""
        return len(self.stages) - self.at


class Schedule:
    """Cells go in the order of the plan, so that the first results are there early. Once there are few left for the
    workers, the one with the most stages goes first: else all would wait for it in the end.
    """

    def __init__(self, plan: Plan) -> None:
        self.base = Chain(None, (plan.base,), 0)
        self.cells = tuple(Chain(cell, cell.stages, number) for number, cell in enumerate(plan.cells, 1))
        self._owner: dict[str, Chain] = {}  # by key of the adapter: the first chain that has it makes it for all
        self._made: set[str] = set()
        for chain in self.cells:
            for stage in chain.stages:
                self._owner.setdefault(stage.keys.key, chain)

    @property
    def open(self) -> tuple[Chain, ...]:
        """The chains that have not ended."""
        return tuple(chain for chain in (self.base, *self.cells) if not chain.ended)

    def next(self, workers: int) -> Chain | None:
        """The chain whose next stage is to be made now; None if all wait for something. workers: how many there are."""
        chains = self.open
        able = [chain for chain in chains if self._able(chain)]
        if not able:
            return None
        if workers == 1 or able[0] is self.base or len(chains) > 2 * workers:
            return able[0]
        return max(able, key=lambda chain: chain.left)

    def place(self, chain: Chain, stage: StagePlan) -> bool:
        """A stage is in its place: from now on others take what it holds. Whether its chain is whole with it."""
        self._made.add(stage.keys.key)
        chain.placed += 1
        whole = chain.placed == len(chain.stages)
        chain.ended = chain.ended or whole
        return whole

    def interrupted(self) -> Iterable[Chain]:
        """The cells that were begun and have not ended."""
        return (chain for chain in self.cells if chain.begun and not chain.ended)

    def _able(self, chain: Chain) -> bool:
        if chain.busy or not chain.left:
            return False
        key = chain.stages[chain.at].keys.key
        owner = self._owner.get(key, chain)
        return owner is chain or owner.ended or key in self._made
