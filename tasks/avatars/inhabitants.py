"""The named inhabitants of the avatar world: fixed identities that the embedded backbone learns by name in pretraining.

They are to `avatars64` what celebrities are to Stable Diffusion. The model learns that a name binds to a look, so
unseen names of the same make are good triggers, and "does it still know whom it knew?" becomes a stratum of KPS.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random

from cat_bench.tasks.avatars.drawing import Look, draw_look, pick
from cat_bench.tasks.avatars.vocabulary import vocabulary

POPULATION: Mapping[str, int] = {"person": 120, "toon_person": 20, "sketch_person": 20, "flat_person": 20, "robot": 20}

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z")
_VOWELS = ("a", "e", "i", "o", "u")


def draw_name(rng: Random) -> str:
    """A pronounceable name of two or three open syllables: "kelo", "marivi"."""
    return "".join(pick(rng, _ONSETS) + pick(rng, _VOWELS) for _ in range(2 if rng.random() < 0.4 else 3))


@cache
def inhabitants() -> Mapping[str, Look]:
    """Name → identity, 200 in all; no name is a word of the vocabulary, and no look has a part that is held out."""
    rng = Random("inhabitants of the avatar world")
    people: dict[str, Look] = {}
    for kind, count in POPULATION.items():
        for _ in range(count):
            name = draw_name(rng)
            while name in people:
                name = draw_name(rng)
            people[name] = draw_look(vocabulary().kind(kind), rng)
    return people
