"""What submissions are held against: filled in by the hub, which knows sequences, models and keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Released:
    """A sequence as it was released. fingerprint: None if it is made of photos that do not ship.

    order: the ids of its concepts in the order of that number.
    """

    fingerprint: str | None
    concepts: tuple[str, ...]
    order: Callable[[int], tuple[str, ...]]


@dataclass(frozen=True)
class Derived:
    """What follows from the rest of a run.json. embeddings: by stage the key of the embeddings."""

    spec_hash: str
    protocol: str
    base_key: str
    embeddings: Mapping[str, str]


@dataclass(frozen=True)
class Rules:
    """What submissions are held against.

    sequences: by `ID.vVERSION`. models: by name the fingerprints of those that ship. derive: what follows from the rest
    of a run.json.
    """

    sequences: Mapping[str, Released]
    models: Mapping[str, str]
    derive: Callable[[Mapping[str, Any]], Derived]
