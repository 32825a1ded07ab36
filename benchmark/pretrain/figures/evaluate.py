"""The figures an embedded backbone and its metric model are held to, measured on pictures never seen in training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.extractors.clip import MetricModel
from cat_bench.benchmark.pretrain.autoencoder import psnr
from cat_bench.benchmark.pretrain.figures.figure import Figure
from cat_bench.benchmark.pretrain.figures.learnable import learnable
from cat_bench.benchmark.pretrain.pictures.rendered import Entry, caption, draw_entry, draw_pair
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample
from cat_bench.tasks.avatars.drawing import Picture, draw_scene, render
from cat_bench.tasks.avatars.inhabitants import inhabitants
from cat_bench.tasks.avatars.vocabulary import vocabulary

SEED = "evaluation pictures, never trained on"


def evaluate(backbone_folder: Path, metric_folder: Path, device: str = "auto", scale: float = 1.0) -> Iterator[Figure]:
    """Measure all figures one by one; `scale` < 1 takes fewer pictures and trains no adapters (tests).

    Sampling: DPM-Solver++, 20 steps, guidance 4, fp32.
    """
    backbone = Backbone.load(str(backbone_folder), device=device)
    judge = MetricModel.load(metric_folder, device=device)
    yield _autoencoder(backbone, count(1000, scale))
    yield _retrieval(judge, count(256, scale))
    yield _identity(judge, count(200, scale))
    yield _classes(backbone, judge, count(20, scale))
    yield _alignment(backbone, judge, count(500, scale))
    yield _names(backbone, judge, count(8, scale))
    if scale >= 1:
        yield from learnable(backbone, judge)


def count(full: int, scale: float) -> int:
    """So many of `full`, at least 2."""
    return max(2, round(full * scale))


def _pixels(entries: list[Entry], size: int) -> NDArray[np.uint8]:
    return np.stack([np.asarray(render(e.picture, size)) for e in entries])


def _autoencoder(backbone: Backbone, n: int) -> Figure:
    rng = Random(f"{SEED}/autoencoder")
    pixels = _pixels([draw_entry(rng) for _ in range(n)], backbone.resolution)
    return Figure(
        "psnr", "autoencoder PSNR, unseen images", psnr(backbone.vae, pixels, str(backbone.device)), 27, "dB", n
    )


def _retrieval(judge: MetricModel, n: int) -> Figure:
    """The worse of image to text and text to image, full captions."""
    rng = Random(f"{SEED}/retrieval")
    entries = [draw_pair(rng)[0] for _ in range(n)]
    images, texts = judge.images(_pixels(entries, 64)), judge.texts([caption(e, rng, full=True) for e in entries])
    scores, own = images @ texts.T, np.arange(n)
    value = min(float((scores.argmax(1) == own).mean()), float((scores.argmax(0) == own).mean()))
    return Figure("retrieval", "metric model: R@1 among unseen pairs, the worse way", value, 0.80, "", n)


def _identity(judge: MetricModel, n: int) -> Figure:
    """AUC of the cosine: two pictures of one identity against two identities of one class, everything free varied."""
    rng = Random(f"{SEED}/identity")
    pairs = [draw_pair(rng) for _ in range(n)]
    first, second = (judge.images(_pixels([p[i] for p in pairs], 64)) for i in (0, 1))
    kinds = np.array([p[0].picture.look.kind for p in pairs])
    scores = first @ second.T
    other = (kinds[:, None] == kinds[None]) & ~np.eye(n, dtype=bool)
    same, different = scores.diagonal(), scores[other]
    if not len(different):
        return Figure(
            "identity", "metric model: AUC same against another identity of the class", float("nan"), 0.95, "", n
        )
    wins = (same[:, None] > different[None]).mean() + 0.5 * (same[:, None] == different[None]).mean()
    return Figure("identity", "metric model: AUC same against another identity of the class", float(wins), 0.95, "", n)


def generate(backbone: Backbone, prompts: list[str], first_seed: int = 0) -> NDArray[np.uint8]:
    """One picture a prompt with the default sampler, seeds counted from `first_seed`."""
    seeds = range(first_seed, first_seed + len(prompts))
    return np.concatenate([images for _, images in sample(backbone, None, prompts, list(seeds), SamplerConfig())])


def _classes(backbone: Backbone, judge: MetricModel, each: int) -> Figure:
    nouns = [kind.noun for kind in vocabulary().kinds.values()]
    texts = judge.texts([f"a {noun}" for noun in nouns])
    images = judge.images(generate(backbone, [f"a {noun}" for noun in nouns for _ in range(each)]))
    found = (images @ texts.T).argmax(1)
    value = float((found == np.repeat(np.arange(len(nouns)), each)).mean())
    return Figure("classes", f"zero-shot class of generated images, {len(nouns)} classes", value, 0.95, "", len(images))


def _alignment(backbone: Backbone, judge: MetricModel, n: int) -> Figure:
    """(generated − shuffled) / (real − shuffled) of the mean cosine of image and caption.

    Shuffled: real images with one another's captions.
    """
    rng = Random(f"{SEED}/alignment")
    entries = [Entry(draw_entry(rng).picture, None) for _ in range(n)]
    captions = [caption(e, rng) for e in entries]
    texts = judge.texts(captions)
    real, generated = judge.images(_pixels(entries, 64)), judge.images(generate(backbone, captions, 10_000))
    shuffled = float((real * np.roll(texts, 1, axis=0)).sum(1).mean())
    value = (float((generated * texts).sum(1).mean()) - shuffled) / (float((real * texts).sum(1).mean()) - shuffled)
    return Figure("alignment", "text alignment, (generated − shuffled) / (real − shuffled)", value, 0.80, "", n)


def _names(backbone: Backbone, judge: MetricModel, each: int) -> Figure:
    """Of pictures drawn from a name alone, how many are nearest to that inhabitant among twenty of the class."""
    names = [n for n, look in inhabitants().items() if look.kind == "person"][:20]
    rng = Random(f"{SEED}/names")
    centroids = []
    for name in names:
        look = inhabitants()[name]
        pictures = [Picture(look, draw_scene(vocabulary().kind("person"), rng)) for _ in range(8)]
        mean = judge.images(np.stack([np.asarray(render(p, 64)) for p in pictures])).mean(0)
        centroids.append(mean / np.linalg.norm(mean))
    images = judge.images(generate(backbone, [f"a {n} person" for n in names for _ in range(each)], 20_000))
    found = (images @ np.stack(centroids).T).argmax(1)
    value = float((found == np.repeat(np.arange(len(names)), each)).mean())
    return Figure("names", "named inhabitants drawn as themselves, among 20", value, 0.5, "", len(images))
