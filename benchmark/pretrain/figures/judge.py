"""The figures a metric model is held to, on pictures never seen in training: whom it tells apart, what damage costs.

A fall is counted in shares of the way from the ceiling (an individual's other pictures) to the floor (other individuals
of the class), in the mean cosine to the individual's reference pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray

from cat_bench.benchmark.extractors.base import Features
from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.pretrain.figures.figure import Figure
from cat_bench.benchmark.pretrain.pictures.damage import Damaged, Pixels, blur, erase_face, mosaic, noise
from cat_bench.benchmark.pretrain.pictures.rendered import caption, draw_pair
from cat_bench.benchmark.pretrain.pictures.twins import twin
from cat_bench.tasks.avatars.drawing import Picture, draw_scene, render
from cat_bench.tasks.avatars.vocabulary import vocabulary

SEED = "evaluation pictures of the judge, never trained on"
REFERENCES, PROBES = 4, 2
SERIES = {
    "blur": (0.5, 1.0, 1.5, 2.0, 3.0),  # pixels
    "mosaic": (32, 16, 8),  # cells a side
    "noise": (10, 20, 40, 80),  # sd, levels
}
LEAST = {"blur 1": 0.10, "blur 2": 0.30, "mosaic 8": 0.70, "noise 40": 0.20}  # shares of the way to the floor


def judge_figures(judge: MetricModel, scale: float = 1.0) -> Iterator[Figure]:
    """All of them one by one; `scale` < 1 takes fewer pictures."""

    def count(full: int) -> int:
        return max(8, round(full * scale))

    yield from _identity(judge, count(400))
    yield from _retrieval(judge, count(256))
    for only, title in ((True, "people"), (False, "all classes")):
        yield from Falls.measure(judge, count(150), only).figures(title)


def draw_people(rng: Random, n: int, people: bool) -> list[Picture]:
    """Pictures of n individuals, people only or as the metric model's pictures are."""
    found: list[Picture] = []
    while len(found) < n:
        picture = draw_pair(rng)[0].picture
        if picture.look.kind == "person" or not people:
            found.append(picture)
    return found


def pixels(pictures: list[Picture]) -> Pixels:
    """(n, 64, 64, 3)."""
    return np.stack([np.asarray(render(p, 64)) for p in pictures])


def again(picture: Picture, rng: Random) -> Picture:
    """The same individual in another scene."""
    return Picture(picture.look, draw_scene(vocabulary().kind(picture.look.kind), rng))


def auc(more: NDArray[np.floating], less: NDArray[np.floating]) -> float:
    """Probability that a value of `more` exceeds one of `less`, ties half."""
    if not len(more) or not len(less):
        return float("nan")
    return float((more[:, None] > less[None]).mean() + 0.5 * (more[:, None] == less[None]).mean())


def _identity(judge: MetricModel, n: int) -> Iterator[Figure]:
    rng = Random(f"{SEED}/identity")
    pictures = draw_people(rng, n, people=False)
    first = judge.images(pixels(pictures))
    second = judge.images(pixels([again(p, rng) for p in pictures]))
    third = judge.images(pixels([twin(p, rng) for p in pictures]))
    kinds = np.array([p.look.kind for p in pictures])
    scores = first @ second.T
    other = (kinds[:, None] == kinds[None]) & ~np.eye(n, dtype=bool)
    same = scores.diagonal()
    yield Figure("identity", "AUC, same against another individual of the class", auc(same, scores[other]), 0.99, "", n)
    people = kinds == "person"
    among = other & people[:, None]
    value = auc(same[people], scores[among])
    yield Figure("identity_people", "AUC, same against another person", value, 0.99, "", int(people.sum()))
    twins = (first * third).sum(1)
    yield Figure("twins", "AUC, same against a twin who differs in one part", auc(same, twins), 0.95, "", n)
    value = auc(same[people], twins[people])
    yield Figure("twins_people", "AUC, same against a twin, people", value, 0.95, "", int(people.sum()))
    before = float((same > twins).mean())
    yield Figure("twins_order", "one's own other picture is nearer than a twin's", before, 0.95, "", n)


def _retrieval(judge: MetricModel, n: int) -> Iterator[Figure]:
    rng = Random(f"{SEED}/retrieval")
    entries = [draw_pair(rng)[0] for _ in range(n)]
    images = judge.images(pixels([e.picture for e in entries]))
    scores = images @ judge.texts([caption(e, rng, full=True) for e in entries]).T
    for axis, way in ((1, "image to text"), (0, "text to image")):
        value = float((scores.argmax(axis) == np.arange(n)).mean())
        yield Figure(f"retrieval_{way.replace(' ', '_')}", f"R@1 among {n}, {way}, full captions", value, 0.95, "", n)


@dataclass(frozen=True)
class Falls:
    """Mean cosines to the references: ceiling, floor, and of every damage in every strength."""

    ceiling: float
    floor: float
    cosines: dict[str, float]  # "blur 2", "face erased", "one part exchanged"
    n: int

    @classmethod
    def measure(cls, judge: MetricModel, n: int, people: bool) -> Falls:
        """Over n individuals, `REFERENCES` references and `PROBES` probes each."""
        rng, numbers = Random(f"{SEED}/falls"), np.random.default_rng(0)
        subjects = draw_people(rng, n, people)
        references = judge.images(pixels([again(s, rng) for s in subjects for _ in range(REFERENCES)]))
        means = references.reshape(n, REFERENCES, -1).mean(1)
        probes = [again(s, rng) for s in subjects for _ in range(PROBES)]
        clean = pixels(probes)

        def to_own(vectors: Features) -> float:
            return float((vectors.reshape(n, PROBES, -1) * means[:, None]).sum(-1).mean())

        def damaged(pictures: Iterator[Damaged]) -> float:
            return to_own(judge.images(np.stack([p.pixels for p in pictures])))

        whole = judge.images(clean)
        kinds = np.array([s.look.kind for s in subjects])
        others = (kinds[:, None] == kinds[None]) & ~np.eye(n, dtype=bool)
        floor = float((whole[::PROBES] @ means.T)[others].mean())
        cosines = {f"blur {s:g}": damaged(blur(x, s) for x in clean) for s in SERIES["blur"]}
        cosines |= {f"mosaic {c}": damaged(mosaic(x, int(c)) for x in clean) for c in SERIES["mosaic"]}
        cosines |= {f"noise {s}": damaged(noise(x, s, numbers) for x in clean) for s in SERIES["noise"]}
        if people:
            both = zip(clean, probes, strict=True)
            cosines["face erased"] = damaged(erase_face(x, "person", p.scene.flip) for x, p in both)
        cosines["one part exchanged"] = to_own(judge.images(pixels([twin(p, rng) for p in probes])))
        return cls(to_own(whole), floor, cosines, n)

    def share(self, name: str) -> float:
        """Of the way from the ceiling to the floor."""
        return (self.ceiling - self.cosines[name]) / (self.ceiling - self.floor)

    def figures(self, title: str) -> Iterator[Figure]:
        """The falls that have a least size, and whether every series falls at every step."""
        least = {**LEAST, "face erased": 0.25, "one part exchanged": 0.10}
        for name in self.cosines:
            id_ = f"fall_{name}_{title}".replace(" ", "_")
            yield Figure(id_, f"fall by {name}, {title}", self.share(name), least.get(name, 0.0), "", self.n)
        steps = [
            self.share(f"{name} {b:g}") - self.share(f"{name} {a:g}")
            for name, series in SERIES.items()
            for a, b in pairwise(series)
        ]
        id_ = f"fall_monotone_{title}".replace(" ", "_")
        yield Figure(id_, f"smallest step of the damage series, {title}", min(steps), 0.0, "", self.n)
        for name, value in (("ceiling", self.ceiling), ("floor", self.floor)):
            yield Figure(f"{name}_{title}".replace(" ", "_"), f"cosine at the {name}, {title}", value, -1, "", self.n)
