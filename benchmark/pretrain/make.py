"""Making the embedded backbone and its metric model, part by part; each goes on where it stopped.

    pictures     render the world's training pictures, in shards
    metric       train the metric model
    autoencoder  train the autoencoder
    latents      encode the backbone's pictures, shard by shard
    diffusion    train denoiser and text encoder on the latents that are there
    save         write the two folders

The parts from `autoencoder` on need the ones before them; `metric` can be trained beside them in a process of its own.
A training counts steps. Its state is kept where its learning rate begins to fall: more steps go on from there.
Latents are made anew when the autoencoder is another; what was trained on the old ones has to be started over then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from cat_bench.benchmark.pretrain.arrays import save_array
from cat_bench.benchmark.pretrain.autoencoder import encode, train_autoencoder
from cat_bench.benchmark.pretrain.diffusion import (
    Denoiser,
    backbone_tokenizer,
    latent_scale,
    save_backbone,
    train_diffusion,
)
from cat_bench.benchmark.pretrain.judge.lessons import Lessons
from cat_bench.benchmark.pretrain.judge.metric_model import (
    metric_tokenizer,
    save_metric_model,
    train_metric_model,
)
from cat_bench.benchmark.pretrain.kept import Kept, digest
from cat_bench.benchmark.pretrain.loop import Progress
from cat_bench.benchmark.pretrain.pictures.rendered import Pictures, render_shards
from cat_bench.benchmark.pretrain.pictures.twins import render_twins
from cat_bench.benchmark.pretrain.recipe import NAME, SEEDS, TRAINED, PretrainError
from cat_bench.benchmark.pretrain.team import join_team, leads, wait_for_all
from cat_bench.benchmark.pretrain.tokenizer import kept_tokenizer


@dataclass(frozen=True)
class Update:
    """News of a part: how far its budget is used (0 to 1) and, in training, the step and loss."""

    part: str
    share: float
    step: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Workshop:
    """The folder in which pretraining keeps pictures, checkpoints and finished parts."""

    folder: Path
    device: str
    steps: Mapping[str, int]
    shards: Mapping[str, int]

    @property
    def kept(self) -> Kept:
        """What is in the folder."""
        return Kept(self.folder, self.shards)

    def clear(self, parts: Iterable[str]) -> None:
        """Remove what these parts have made, so that they start over."""
        join_team()
        if leads():
            for part in parts:
                self.kept.remove(part)
        wait_for_all()

    def make(self, part: str, out: Path) -> Iterator[Update]:
        """Make one part, together with the other processes of a team. Raises PretrainError if one that it needs is
        missing.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        join_team()
        if leads() or part in TRAINED:
            for news in getattr(self, f"_{part}")(out):
                if leads():
                    yield news
        wait_for_all()

    def _pictures(self, out: Path) -> Iterator[Update]:
        backbone, pairs, twins = (self.folder / "pictures" / which for which in ("backbone", "metric", "twins"))
        workers = torch.get_num_threads()
        rendering = chain(
            render_shards(backbone, f"{NAME}/backbone", range(self.shards["backbone"]), 64, False, workers),
            render_shards(pairs, f"{NAME}/metric", range(self.shards["metric"]), 64, True, workers),
            render_twins(twins, pairs, range(1, self.shards["metric"]), 64),
        )
        total = self.shards["backbone"] + 2 * self.shards["metric"] - 1
        for done, _ in enumerate(rendering, 1):
            yield Update("pictures", done / total, done)

    def _metric(self, out: Path) -> Iterator[Update]:
        self.kept.check_drawn("metric")
        folder, shards = self.folder / "pictures", self.kept.used("metric")
        tokenizer = kept_tokenizer(self.folder / "metric-tokenizer", metric_tokenizer)
        training = train_metric_model(
            Lessons(folder / "metric", folder / "twins", shards),
            tokenizer,
            self.steps["metric"],
            self.kept.checkpoint("metric"),
            self.device,
            SEEDS["metric"],
        )
        for news in training:
            if isinstance(news, Progress):
                yield _update("metric", news)
            elif leads():
                save_metric_model(news, tokenizer, self.folder / f"{NAME}-clip")
                self.kept.note_done("metric", shards=1 + len(shards))

    def _autoencoder(self, out: Path) -> Iterator[Update]:
        training = train_autoencoder(
            self._load("backbone").pixels,
            self.steps["autoencoder"],
            self.kept.checkpoint("autoencoder"),
            self.device,
            SEEDS["autoencoder"],
        )
        for news in training:
            if isinstance(news, Progress):
                yield _update("autoencoder", news)
            elif leads():
                self.kept.note_origin()
                news.save_pretrained(self.folder / "autoencoder")
                self.kept.note_done("autoencoder")

    def _latents(self, out: Path) -> Iterator[Update]:
        model = AutoencoderKL.from_pretrained(self.kept.needed("autoencoder"), use_safetensors=True).to(self.device)
        (self.folder / "latents").mkdir(exist_ok=True)
        if self.kept.foreign("latents"):
            for old in list((self.folder / "latents").glob("*.npy")):
                old.unlink()
        self.kept.note("latents", autoencoder=digest(self.folder / "autoencoder"))
        for done, shard in enumerate(self.kept.used("backbone"), 1):
            path = self.kept.latents(shard)
            if not path.exists():
                pixels = Pictures.load(self.folder / "pictures" / "backbone", [shard]).pixels
                save_array(path, encode(model, pixels, self.device))
            yield Update("latents", done / len(self.kept.used("backbone")), done)

    def _diffusion(self, out: Path) -> Iterator[Update]:
        shards = self.kept.encoded()
        if not shards:
            raise PretrainError(f"{self.folder / 'latents'} is empty; make them first: --part latents")
        self.kept.check_origin()
        self.kept.note("diffusion", autoencoder=self.kept.noted("latents").get("autoencoder"))
        training = train_diffusion(
            np.concatenate([np.load(self.kept.latents(shard)) for shard in shards]),
            Pictures.load(self.folder / "pictures" / "backbone", shards).entries,
            kept_tokenizer(self.folder / "tokenizer", backbone_tokenizer),
            self._scale(),
            self.steps["diffusion"],
            self.kept.checkpoint("diffusion"),
            self.device,
            SEEDS["diffusion"],
        )
        for news in training:
            if isinstance(news, Progress):
                yield _update("diffusion", news)
            elif leads():
                news.unet.save_pretrained(self.folder / "unet")
                news.text_encoder.save_pretrained(self.folder / "text_encoder")
                self.kept.note_done("diffusion", shards=1 + len(shards))

    def _save(self, out: Path) -> Iterator[Update]:
        autoencoder = AutoencoderKL.from_pretrained(self.kept.needed("autoencoder"), use_safetensors=True)
        self.kept.check_origin()
        tokenizer = CLIPTokenizer.from_pretrained(self.kept.needed("tokenizer"), local_files_only=True)
        denoiser = Denoiser.load(tokenizer, self.kept.needed("unet"), self.kept.needed("text_encoder"))
        save_backbone(denoiser, tokenizer, autoencoder, self._scale(), out / NAME)
        clip = self.kept.needed(f"{NAME}-clip")
        (out / clip.name).mkdir(parents=True, exist_ok=True)
        for path in clip.iterdir():
            (out / clip.name / path.name).write_bytes(path.read_bytes())
        (out / NAME / "pretraining.json").write_text(json.dumps(self.kept.made_by(), indent=2) + "\n", "utf-8")
        yield Update("save", 1.0)

    def _load(self, which: str) -> Pictures:
        self.kept.check_drawn(which)
        return Pictures.load(self.folder / "pictures" / which, self.kept.used(which))

    def _scale(self) -> float:
        """Of the first latents, so that it stays when more are made."""
        first = self.kept.latents(1)
        return latent_scale(np.load(self.kept.needed(str(first.relative_to(self.folder))), mmap_mode="r"))


def _update(part: str, progress: Progress) -> Update:
    return Update(part, progress.share, progress.step, progress.loss)
