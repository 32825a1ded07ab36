"""What a run's numbers depend on besides its specification, known before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The roles of models that judge, in the order in which they enter keys and records. `clip` embeds texts as well, and a
# run cannot do without it; the others are there if the run asks for them.
CLIP, DINO = "clip", "dino"
ROLES = (CLIP, DINO)

# Sums are split among CPU threads, so their number shows in the last bits. One, always: results then depend neither on
# a machine's cores nor on how many workers share them.
THREADS = 1


@dataclass(frozen=True)
class Model:
    """A model as the records name it, and the sha256 of its files."""

    id: str
    fingerprint: str


@dataclass(frozen=True)
class Identity:
    """The models of a run, and how its machine computes.

    extractors  the models that judge, by role
    presets     the registered backbone whose settings suit this one; None if none does
    resolution  side of the square images, in pixels
    how         what numbers depend on besides the inputs: device, precision, how weights are held
    """

    backbone: Model
    extractors: Mapping[str, Model]
    presets: str | None
    resolution: int
    how: Mapping[str, Any]

    @property
    def judges(self) -> tuple[str | None, ...]:
        """What each role's model is called, None where the run does without."""
        return tuple(self.extractors[role].id if role in self.extractors else None for role in ROLES)

    @property
    def judge_fingerprints(self) -> tuple[str, ...]:
        """Of the models that judge, in the order of their roles."""
        return tuple(self.extractors[role].fingerprint for role in ROLES if role in self.extractors)
