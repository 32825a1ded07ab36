"""The figures a part reader is held to, on pictures never seen in training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.extractors.part_reader import NOT_READABLE, PartReader
from cat_bench.benchmark.pretrain.figures.figure import Figure
from cat_bench.benchmark.pretrain.figures.judge import draw_people, pixels
from cat_bench.benchmark.pretrain.pictures.damage import HIDDEN, Damaged, blur, erase_face, mosaic, noise
from cat_bench.benchmark.pretrain.pictures.places import answered
from cat_bench.benchmark.pretrain.pictures.rendered import draw_pair
from cat_bench.tasks.avatars.drawing import Picture, render
from cat_bench.tasks.avatars.questions import VISIBLE_LEVELS, VISIBLE_PIXELS, Head, facts, heads
from cat_bench.tasks.avatars.vocabulary import vocabulary

SEED = "evaluation pictures of the part reader, never trained on"
LEAST_ASKED = 30  # a question asked less often has no accuracy worth a figure of its own


@dataclass(frozen=True)
class Readings:
    """What was read off clean pictures: question → right answers, answers "not readable", and times asked."""

    right: dict[str, int]
    unread: dict[str, int]
    asked: dict[str, int]

    @classmethod
    def measure(cls, judge: MetricModel, reader: PartReader, each: int) -> Readings:
        """Off so many pictures of every class."""
        rng = Random(f"{SEED}/clean")
        pictures: list[Picture] = []
        for kind in vocabulary().kinds:
            found = 0
            while found < each:
                picture = draw_pair(rng)[0].picture
                if picture.look.kind == kind:
                    pictures.append(picture)
                    found += 1
        read = reader.read(judge.images(pixels(pictures)))
        right, unread, asked = ({h.name: 0 for h in heads()} for _ in range(3))
        for row, picture in enumerate(pictures):
            for head in heads():
                truth, said = facts(picture).get(head.name), read[head.name][row]
                if truth is None or (said != truth and _looks_the_same(picture, head, said)):
                    continue
                asked[head.name] += 1
                right[head.name] += said == truth
                unread[head.name] += said == NOT_READABLE
        return cls(right, unread, asked)

    def accuracy(self, name: str) -> float:
        """Share of right answers to a question."""
        return self.right[name] / max(1, self.asked[name])

    def figures(self) -> Iterator[Figure]:
        """Of all questions together, and of the one worst answered."""
        total = sum(self.asked.values())
        value = sum(self.right.values()) / total
        yield Figure("reading", "parts read right, all questions", value, 0.98, "", total)
        names = [n for n in self.asked if self.asked[n] >= LEAST_ASKED]
        if names:
            worst = min(names, key=self.accuracy)
            title = f"parts read right, the worst question ({worst})"
            yield Figure("reading_worst", title, self.accuracy(worst), 0.98, "", self.asked[worst])
            reached = sum(self.accuracy(n) >= 0.98 for n in names) / len(names)
            yield Figure("reading_reached", "questions of which 0.98 are answered right", reached, 1.0, "", len(names))
        legible = 1 - sum(self.unread.values()) / total
        yield Figure("legible_clean", "clean pictures, not called unreadable", legible, 0.99, "", total)


def reader_figures(judge: MetricModel, reader: PartReader, scale: float = 1.0) -> Iterator[Figure]:
    """All of them one by one; `scale` < 1 takes fewer pictures."""
    yield from Readings.measure(judge, reader, max(4, round(150 * scale))).figures()
    n = max(8, round(300 * scale))
    for people, title in ((True, "people"), (False, "all classes")):
        rng, numbers = Random(f"{SEED}/damaged"), np.random.default_rng(0)
        pictures = draw_people(rng, n, people)
        clean = pixels(pictures)
        damages = {
            "blurred by 2 pixels": [blur(x, 2) for x in clean],
            "an 8 × 8 mosaic": [mosaic(x, 8) for x in clean],
            "an 8 × 8 mosaic of squares": [mosaic(x, 8, smooth=False) for x in clean],
            "noise of sd 40": [noise(x, 40, numbers) for x in clean],
        }
        if people:
            faces = zip(clean, pictures, strict=True)
            damages["face erased"] = [erase_face(x, p.look.kind, p.scene.flip) for x, p in faces]
        for name, damaged in damages.items():
            yield _unreadable(judge, reader, pictures, damaged, f"{name}, {title}")


def _unreadable(
    judge: MetricModel, reader: PartReader, pictures: list[Picture], damaged: list[Damaged], title: str
) -> Figure:
    """Share of "not readable" among the answers to the questions that the damage makes unanswerable."""
    read = reader.read(judge.images(np.stack([d.pixels for d in damaged])))
    said = [
        read[name][row] == NOT_READABLE
        for row, (picture, found) in enumerate(zip(pictures, damaged, strict=True))
        for name in facts(picture)
        if not found.gone or found.gone.get(name, 0.0) >= HIDDEN
    ]
    id_ = "illegible_" + title.replace(",", "").replace("×", "x").replace(" ", "_")
    return Figure(id_, f'"not readable" said of {title}', float(np.mean(said)), 0.95, "", len(pictures))


def _looks_the_same(picture: Picture, head: Head, said: str) -> bool:
    """Whether the picture drawn with this answer is the same picture: then nobody can tell."""
    if said == NOT_READABLE or head.kind is None:
        return False
    shown = np.asarray(render(picture, 64), dtype=int)
    for trial in range(6 if head.name.endswith("/expression") else 1):
        other = np.asarray(render(answered(picture, head, said, Random(trial)), 64), dtype=int)
        if int((np.abs(shown - other).max(2) >= VISIBLE_LEVELS).sum()) < VISIBLE_PIXELS:
            return True
    return False
