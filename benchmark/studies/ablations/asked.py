"""Which variants are compared, and what each comparison asks: declared, and resolved against the presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cat_bench.benchmark.planning.variant import Variant as Label
from cat_bench.methods.base import Method
from cat_bench.methods.registry import methods

# What a method takes over of another's training, so that the two differ in nothing else.
SHARED = tuple(key for key in Method.Config.model_fields if key not in ("noun", "token"))
KEYS_AND_VALUES = ("attn2.to_k", "attn2.to_v")  # of cross-attention, C-LoRA's layers


@dataclass(frozen=True)
class Variant:
    """A method with settings. like: the method whose rank, rate, steps, layers … it has; longer: × so many steps."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    like: str = ""
    longer: int = 1

    def label(self, presets: str | None) -> str:
        """How a run names it on a backbone, by what differs from its own preset there: equal settings, equal labels.

        Raises MethodError for a setting that the method has not.
        """
        cls, wanted = methods.get(self.method), self._wanted(presets)
        preset, own = cls.configure(backbone=presets), cls.configure(backbone=presets, overrides=wanted)
        differences = {key: getattr(own, key) for key in wanted if getattr(own, key) != getattr(preset, key)}
        return Label(self.method, tuple(sorted(differences.items()))).label

    def _wanted(self, presets: str | None) -> dict[str, Any]:
        found = dict(self.settings)
        if self.like:
            model = methods.get(self.like).configure(backbone=presets)
            found = {key: getattr(model, key) for key in SHARED} | found
        if self.longer > 1:
            steps = methods.get(self.like or self.method).configure(backbone=presets).steps
            found["steps"] = self.longer * steps
        return found


@dataclass(frozen=True)
class Asked:
    """A question, the subject of its answer ("The penalty"), and what a run calls the variants with and without it."""

    about: str
    question: str
    idea: str
    one: str
    other: str


@dataclass(frozen=True)
class Pair:
    """The same before anything is known of a backbone's presets."""

    about: str
    question: str
    idea: str
    with_: Variant
    without: Variant

    def on(self, presets: str | None) -> Asked:
        """Raises MethodError or SpecError."""
        labels = (variant.label(presets) for variant in (self.with_, self.without))
        return Asked(self.about, self.question, self.idea, *labels)


def _clora() -> Iterator[Pair]:
    full, free = Variant("clora"), Variant("clora", {"weight": 0.0})
    narrow = Variant("merge", {"targets": KEYS_AND_VALUES})
    rate = Variant("merge", like="clora")
    lora, learned = Variant("lora"), Variant("lora", {"token": True})
    yield Pair("C-LoRA", "What does the penalty add (λ against λ = 0)?", "The penalty", full, free)
    noun = Variant("clora", {"noun": True})
    yield Pair("C-LoRA", "And prompts without the class noun?", "Leaving out the noun", full, noun)
    yield Pair("C-LoRA", "And weights, beside the learned token alone?", "Training weights", full, Variant("token"))
    yield Pair("C-LoRA", "Merging, on K and V alone?", "Training K and V alone", narrow, Variant("merge"))
    yield Pair("C-LoRA", "And at its learning rate?", "Its learning rate", rate, narrow)
    yield Pair("C-LoRA", "Token and prompts, without the penalty?", "A learned token without the noun", free, rate)
    yield Pair("C-LoRA", "All of it, beside merging?", "All of C-LoRA", full, Variant("merge"))
    yield Pair("C-LoRA", "What does a learned token add to naive LoRA?", "A learned token", learned, lora)
    alone = Variant("lora", {"token": True, "noun": False})
    yield Pair("C-LoRA", "And prompts of that token alone?", "Leaving out the noun", alone, learned)


def _cat() -> Iterator[Pair]:
    full, lora, rate = Variant("cat"), Variant("lora"), Variant("lora", like="cat")
    longer = Variant("lora", like="cat", longer=2)
    yield Pair("CAT", "What does its term add (w against w = 0) at its own rate?", "CAT's term", full, rate)
    yield Pair("CAT", "And at equal compute (naive LoRA with twice the steps)?", "CAT's term", full, longer)
    yield Pair("CAT", "And beside naive LoRA, each as tuned?", "CAT", full, lora)
    yield Pair("CAT", "What is CAT's learning rate worth by itself, in naive LoRA?", "CAT's rate", rate, lora)


def _ortho() -> Iterator[Pair]:
    paper, released = Variant("ortho", {"variant": "paper"}), Variant("ortho", {"variant": "released"})
    merge = Variant("merge", like="ortho")
    yield Pair("Orthogonal init", "What does it add as in the paper?", "Orthogonal init", paper, merge)
    yield Pair("Orthogonal init", "And as released?", "The released start and merge", released, merge)
    yield Pair("Orthogonal init", "Paper against released?", "The paper's variant", paper, released)


PAIRS = (*_clora(), *_cat(), *_ortho())
# CAT without its term is naive LoRA with CAT's settings: the first is run once, to see that they agree.
TWINS = (Variant("cat", {"weight": 0.0}), Variant("lora", like="cat"))


def labels(asked: Sequence[Asked]) -> tuple[str, ...]:
    """What is to be run: variants that are equal on a backbone once."""
    return tuple(dict.fromkeys(label for one in asked for label in (one.one, one.other)))
