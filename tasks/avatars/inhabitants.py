"""The named inhabitants of the avatar world: fixed identities that the embedded backbone learns by name in pretraining.

They are to `avatars64.v2` what celebrities are to Stable Diffusion. The model learns that a name binds to a look, so
unseen names of the same make are good triggers, and "does it still know whom it knew?" becomes a stratum of KPS.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import cache
from random import Random

from cat_bench.tasks.avatars.drawing import Look, draw_look, pick
from cat_bench.tasks.avatars.vocabulary import vocabulary

POPULATION: Mapping[str, int] = {"person": 120, "toon_person": 20, "sketch_person": 20, "flat_person": 20, "robot": 20}

_SYLLABLES = tuple(onset + vowel for onset in "bdfklmnrtv" for vowel in "aeio")
_LENGTH = 3


def draw_name(rng: Random) -> str:
    """A pronounceable name of three open syllables: "kelora", "marivi"; none is spelled as a part of a known word."""
    while True:
        name = "".join(pick(rng, _SYLLABLES) for _ in range(_LENGTH))
        if _is_new(name):
            return name


@cache
def inhabitants() -> Mapping[str, Look]:
    """Name → identity, 200 in all; no look has a part that is held out.

    Among the people, and among the others, every syllable stands equally often at every place of a name: so no name,
    known or not, is made of syllables that were trained less than another's.
    """
    rng = Random("inhabitants of the avatar world, second edition")
    person = POPULATION["person"]
    names = _balanced(rng, person, set())
    names += _balanced(rng, sum(POPULATION.values()) - person, set(names))
    kinds = [kind for kind, count in POPULATION.items() for _ in range(count)]
    return {name: draw_look(vocabulary().kind(kind), rng) for name, kind in zip(names, kinds, strict=True)}


def _balanced(rng: Random, count: int, taken: Set[str]) -> list[str]:
    """So many new names, a multiple of the number of syllables; at each place every syllable equally often."""
    while True:
        places = [sorted(_SYLLABLES * (count // len(_SYLLABLES)), key=lambda _: rng.random()) for _ in range(_LENGTH)]
        names = ["".join(syllables) for syllables in zip(*places, strict=True)]
        if len({*names} - taken) == count and all(map(_is_new, names)):
            return names


def _is_new(name: str) -> bool:
    """Whether no two neighbouring syllables are part of a word of the captions: a tokenizer would join them."""
    return not any(name[i : i + 4] in word for word in vocabulary().words for i in (0, 2))
