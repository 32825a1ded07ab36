"""The figures a backbone is held to, on pictures and captions never seen in training, read by the part reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.extractors.part_reader import NOT_READABLE, PartReader
from cat_bench.benchmark.pretrain.autoencoder import psnr
from cat_bench.benchmark.pretrain.figures.figure import Figure
from cat_bench.benchmark.pretrain.pictures.damage import blur
from cat_bench.benchmark.pretrain.pictures.rendered import Entry, caption, draw_entry
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.tasks.avatars.drawing import render
from cat_bench.tasks.avatars.inhabitants import inhabitants
from cat_bench.tasks.avatars.questions import named

SEED = "evaluation pictures, never trained on"
FACE = (slice(16, 44), slice(16, 48))  # rows and columns of a person's face, of 64
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Pixels = NDArray[np.uint8]


def sharpness(pixels: Pixels) -> NDArray[np.float64]:
    """(n,) variance of the Laplacian of grey levels in the faces of pictures (n, 64, 64, 3)."""
    grey: NDArray[np.float32] = pixels.astype(np.float32) @ LUMA
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    laplacian = around - 4 * grey[:, 1:-1, 1:-1]
    return np.asarray(laplacian[:, *FACE].var(axis=(1, 2)), dtype=np.float64)


def mmd(one: NDArray[np.floating], other: NDArray[np.floating], sigma: float = 0.5) -> float:
    """Unbiased squared MMD of unit vectors (n, d) and (m, d) with a Gaussian kernel (Gretton et al. 2012, eq. 3)."""

    def kernel(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.exp((a @ b.T - 1) / sigma**2)

    n, m = len(one), len(other)
    within = (kernel(one, one).sum() - n) / (n * (n - 1)) + (kernel(other, other).sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel(one, other).mean())


def generate(backbone: Backbone, prompts: Sequence[str], first_seed: int, sampler: SamplerConfig) -> Pixels:
    """One picture a prompt, seeds counted from `first_seed`."""
    seeds = range(first_seed, first_seed + len(prompts))
    return np.concatenate([images for _, images in sample(backbone, None, list(prompts), list(seeds), sampler)])


@dataclass(frozen=True)
class Drawn:
    """Entries never trained on, real pictures of them, and what a backbone draws for their captions."""

    entries: tuple[Entry, ...]
    real: Pixels
    generated: Pixels

    @classmethod
    def make(cls, backbone: Backbone, name: str, n: int, sampler: SamplerConfig, kind: str | None = None) -> Drawn:
        """n of one class, or of all as training has them; captions say everything."""
        rng = Random(f"{SEED}/{name}")
        entries: list[Entry] = []
        while len(entries) < n:
            entry = draw_entry(rng)
            if kind in (None, entry.picture.look.kind):
                entries.append(entry)
        captions = [caption(entry, rng, full=True) for entry in entries]
        real = np.stack([np.asarray(render(entry.picture, 64)) for entry in entries])
        return cls(tuple(entries), real, generate(backbone, captions, 10_000, sampler))


def backbone_figures(
    backbone: Backbone, judge: MetricModel, reader: PartReader, sampler: SamplerConfig, scale: float = 1.0
) -> Iterator[Figure]:
    """All of them one by one; `scale` < 1 takes fewer pictures."""

    def count(full: int) -> int:
        return max(8, round(full * scale))

    yield from _autoencoder(backbone, count(1000))
    people = Drawn.make(backbone, "people", count(500), sampler, "person")
    ratio = float(np.median(sharpness(people.generated)) / np.median(sharpness(people.real)))
    yield Figure("sharp_people", "sharpness of generated people's faces, of real ones'", ratio, 0.55, "", count(500))
    yield from _read(people, judge, reader)
    all_kinds = Drawn.make(backbone, "all", count(2000), sampler)
    vectors, real = judge.images(all_kinds.generated), judge.images(all_kinds.real)
    right = Right.of(all_kinds, reader.read(vectors))
    yield Figure("attributes", "attributes named that are read off", right.share(None), 0.90, "", right.asked(None))
    soft = np.stack([blur(picture, 1.0).pixels for picture in all_kinds.real])
    distance = mmd(vectors, real) / mmd(judge.images(soft), real)
    yield Figure(
        "mmd", "MMD to real pictures, in units of a blur of 1 pixel", distance, 1.0, "", count(2000), at_most=True
    )
    yield _inhabitants(backbone, judge, sampler, count(160))


def _autoencoder(backbone: Backbone, n: int) -> Iterator[Figure]:
    rng = Random(f"{SEED}/autoencoder")
    entries = [draw_entry(rng) for _ in range(n)]
    pixels = np.stack([np.asarray(render(entry.picture, 64)) for entry in entries])
    person = np.array([entry.picture.look.kind == "person" for entry in entries])
    device = str(backbone.device)
    yield Figure("psnr", "autoencoder PSNR", psnr(backbone.vae, pixels, device), 33, " dB", n)
    faces = pixels[person]
    yield Figure("psnr_people", "the same of people", psnr(backbone.vae, faces, device), 33, " dB", len(faces))
    some = faces[:64]
    back = backbone.decode(backbone.encode_images([Image.fromarray(face) for face in some]))
    ratio = float(np.median(sharpness(back) / sharpness(some)))
    yield Figure("sharp_autoencoder", "sharpness of people's faces, of unencoded ones'", ratio, 0.85, "", len(some))


@dataclass(frozen=True)
class Right:
    """Per question: how often it was named in a caption, and how often the picture was read so."""

    counts: Mapping[str, tuple[int, int]]  # question → right, asked

    @classmethod
    def of(cls, drawn: Drawn, readings: Mapping[str, Sequence[str]]) -> Right:
        """What a reader says of the generated pictures, held against their captions."""
        counts: dict[str, tuple[int, int]] = {}
        for row, entry in enumerate(drawn.entries):
            for question, answers in named(entry.picture).items():
                right, asked = counts.get(question, (0, 0))
                counts[question] = right + (readings[question][row] in answers), asked + 1
        return cls(counts)

    def share(self, questions: Sequence[str] | None) -> float:
        """Right answers to these questions, or to all."""
        right = sum(r for q, (r, _) in self.counts.items() if questions is None or q in questions)
        return right / self.asked(questions)

    def asked(self, questions: Sequence[str] | None) -> int:
        """How many there were."""
        return sum(n for q, (_, n) in self.counts.items() if questions is None or q in questions)


def _read(people: Drawn, judge: MetricModel, reader: PartReader) -> Iterator[Figure]:
    readings = reader.read(judge.images(people.generated))
    right = Right.of(people, readings)
    for id_, title, questions, least in (
        ("expression", "expression (eyes and mouth) read off a person", ("person/expression",), 0.80),
        ("glasses", "glasses read off a person", ("person/accessories", "person/accessories-color"), 0.85),
        ("beard", "beard read off a person", ("person/facialHair",), 0.85),
        ("hair", "hair read off a person", ("person/top", "person/hair-color"), 0.85),
    ):
        yield Figure(id_, title, right.share(questions), least, "", right.asked(questions))
    seen = [said != NOT_READABLE for said in readings["person/expression"]]
    yield Figure("readable", "generated people with a readable face", float(np.mean(seen)), 0.95, "", len(seen))


def _inhabitants(backbone: Backbone, judge: MetricModel, sampler: SamplerConfig, n: int) -> Figure:
    """Of pictures drawn from a name alone, how many are nearest to that inhabitant among twenty people."""
    names = [name for name, look in inhabitants().items() if look.kind == "person"][:20]
    rng = Random(f"{SEED}/names")
    entries: dict[str, list[Entry]] = {name: [] for name in names}
    while any(len(found) < 8 for found in entries.values()):
        entry = draw_entry(rng)
        if entry.name in entries:
            entries[entry.name].append(entry)
    means = [
        judge.images(np.stack([np.asarray(render(e.picture, 64)) for e in found[:8]])).mean(0)
        for found in entries.values()
    ]
    centroids = np.stack([mean / np.linalg.norm(mean) for mean in means])
    each = max(1, n // len(names))
    drawn = generate(backbone, [f"a {name} person" for name in names for _ in range(each)], 20_000, sampler)
    right = (judge.images(drawn) @ centroids.T).argmax(1) == np.repeat(np.arange(len(names)), each)
    return Figure("names", "inhabitants drawn as themselves, among 20", float(right.mean()), 0.95, "", len(drawn))
