"""How long a run will take, from what its workers have done so far."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from cat_bench.benchmark.planning.events import Planned

IMAGE_IN_STEPS = 0.5  # a first guess of what an image costs, in training steps, until both were measured


@dataclass
class Pace:
    """How fast one kind of work goes, from the time that single workers took for it."""

    done: int = 0
    timed: int = 0
    seconds: float = 0.0

    def add(self, units: int, seconds: float | None) -> None:
        """seconds: None for units whose time says nothing, since a worker loaded its models meanwhile."""
        self.done += units
        if seconds is not None:
            self.timed += units
            self.seconds += seconds

    @property
    def each(self) -> float | None:
        """Seconds a unit; None until one was measured."""
        return self.seconds / self.timed if self.timed else None


@dataclass
class Load:
    """What is left of one chain. kind: chains of one kind take the same time for a step (its method)."""

    kind: str
    steps: int
    images: int


@dataclass
class Estimate:
    """Of all chains, by the number of their cell, 0 for the untouched backbone."""

    chains: dict[int, Load] = field(default_factory=dict)
    workers: int = 1  # at present
    image: Pace = field(default_factory=Pace)
    step: Pace = field(default_factory=Pace)
    _by_kind: defaultdict[str, Pace] = field(default_factory=lambda: defaultdict(Pace))

    @classmethod
    def of(cls, planned: Planned) -> Estimate:
        """Before anything is done."""
        return cls({number: Load(kind, steps, images) for number, kind, steps, images in planned.chains})

    def learned(self, chain: int, steps: int, seconds: float | None) -> None:
        """So many training steps of a chain are done."""
        self.step.add(steps, seconds)
        if load := self.chains.get(chain):
            load.steps = max(0, load.steps - steps)
            self._by_kind[load.kind].add(steps, seconds)

    def sampled(self, chain: int, images: int, seconds: float | None) -> None:
        """So many images of a chain are there."""
        self.image.add(images, seconds)
        if load := self.chains.get(chain):
            load.images = max(0, load.images - images)

    def end(self, chain: int) -> None:
        """Nothing more is done for a chain: it is whole, or it failed."""
        self.chains.pop(chain, None)

    @property
    def seconds_left(self) -> float | None:
        """Until the last chain ends; None until something was measured. A chain is never shared among workers."""
        if self.step.each is None and self.image.each is None:
            return None
        work = [seconds for seconds in map(self._seconds, self.chains.values()) if seconds]
        return max(sum(work) / min(self.workers, len(work)), *work) if work else 0.0

    @property
    def share(self) -> float:
        """Of the work that is done, 0 to 1."""
        done = self._seconds(Load("", self.step.done, self.image.done))
        left = sum(map(self._seconds, self.chains.values()))
        return done / (done + left) if done + left else 1.0

    def _seconds(self, load: Load) -> float:
        """What it costs one worker."""
        own = self._by_kind[load.kind].each if load.kind in self._by_kind else None
        step, image = own or self.step.each, self.image.each
        if step is None:
            step = image / IMAGE_IN_STEPS if image is not None else 1.0
        if image is None:
            image = step * IMAGE_IN_STEPS
        return load.steps * step + load.images * image
