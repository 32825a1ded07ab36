"""Making the embedded backbone and its metric model, part by part; each goes on where it stopped.

    pictures     render the world's training pictures, in shards
    metric       train the metric model
    autoencoder  train the autoencoder
    latents      encode the backbone's pictures, shard by shard
    diffusion    train denoiser and text encoder on the latents that are there
    save         write the two folders

The parts from `autoencoder` on need the ones before them; `metric` can be trained beside them in a process of its own.
A training counts steps. Its state is kept where its learning rate begins to fall: more steps go on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

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
from cat_bench.benchmark.pretrain.loop import Progress, join_team, leads
from cat_bench.benchmark.pretrain.pictures.rendered import Pictures, render_shards
from cat_bench.benchmark.pretrain.pictures.twins import render_twins
from cat_bench.benchmark.pretrain.recipe import NAME, PARTS, SEEDS, TRAINED, PretrainError


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
        self._present("metric")
        folder, tokenizer = self.folder / "pictures", self._tokenizer("metric-tokenizer", metric_tokenizer)
        training = train_metric_model(
            Lessons(folder / "metric", folder / "twins", self._shards("metric")),
            tokenizer,
            self.steps["metric"],
            self._checkpoint("metric"),
            self.device,
            SEEDS["metric"],
        )
        for news in training:
            if isinstance(news, Progress):
                yield _update("metric", news)
            elif leads():
                save_metric_model(news, tokenizer, self.folder / f"{NAME}-clip")

    def _autoencoder(self, out: Path) -> Iterator[Update]:
        training = train_autoencoder(
            self._load("backbone").pixels,
            self.steps["autoencoder"],
            self._checkpoint("autoencoder"),
            self.device,
            SEEDS["autoencoder"],
        )
        for news in training:
            if isinstance(news, Progress):
                yield _update("autoencoder", news)
            elif leads():
                news.save_pretrained(self.folder / "autoencoder")

    def _latents(self, out: Path) -> Iterator[Update]:
        model = AutoencoderKL.from_pretrained(self._needed("autoencoder"), use_safetensors=True).to(self.device)
        (self.folder / "latents").mkdir(exist_ok=True)
        for done, shard in enumerate(self._shards("backbone"), 1):
            path = self._latent_file(shard)
            if not path.exists():
                pixels = Pictures.load(self.folder / "pictures" / "backbone", [shard]).pixels
                partial = path.with_suffix(".part.npy")
                np.save(partial, encode(model, pixels, self.device))
                partial.rename(path)
            yield Update("latents", done / len(self._shards("backbone")), done)

    def _diffusion(self, out: Path) -> Iterator[Update]:
        shards = [shard for shard in self._shards("backbone") if self._latent_file(shard).exists()]
        if not shards:
            raise PretrainError(f"{self.folder / 'latents'} is empty; make them first: --part latents")
        training = train_diffusion(
            np.concatenate([np.load(self._latent_file(shard)) for shard in shards]),
            Pictures.load(self.folder / "pictures" / "backbone", shards).entries,
            self._tokenizer(),
            self._scale(),
            self.steps["diffusion"],
            self._checkpoint("diffusion"),
            self.device,
            SEEDS["diffusion"],
        )
        for news in training:
            if isinstance(news, Progress):
                yield _update("diffusion", news)
            elif leads():
                news.unet.save_pretrained(self.folder / "unet")
                news.text_encoder.save_pretrained(self.folder / "text_encoder")

    def _save(self, out: Path) -> Iterator[Update]:
        autoencoder = AutoencoderKL.from_pretrained(self._needed("autoencoder"), use_safetensors=True)
        denoiser = Denoiser.load(self._tokenizer(), self._needed("unet"), self._needed("text_encoder"))
        save_backbone(denoiser, self._tokenizer(), autoencoder, self._scale(), out / NAME)
        clip = self._needed(f"{NAME}-clip")
        (out / clip.name).mkdir(parents=True, exist_ok=True)
        for path in clip.iterdir():
            (out / clip.name / path.name).write_bytes(path.read_bytes())
        made = {
            "steps": dict(self.steps),
            "shards": dict(self.shards),
            "seeds": dict(SEEDS),
            "torch": torch.__version__,
        }
        (out / NAME / "pretraining.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
        yield Update("save", 1.0)

    def _load(self, which: str) -> Pictures:
        self._present(which)
        return Pictures.load(self.folder / "pictures" / which, self._shards(which))

    def _present(self, which: str) -> None:
        folder = self.folder / "pictures" / which
        missing = [i for i in self._shards(which) if not (folder / f"{i:04d}.npy").exists()]
        if missing:
            raise PretrainError(f"{folder} lacks {len(missing)} shards of pictures; make them first: --part pictures")

    def _shards(self, which: str) -> range:
        """All but the first, which is kept for looking at a training from outside."""
        return range(1, self.shards[which])

    def _latent_file(self, shard: int) -> Path:
        return self.folder / "latents" / f"{shard:04d}.npy"

    def _scale(self) -> float:
        """Of the first latents, so that it stays when more are made."""
        first = self._latent_file(1)
        return latent_scale(np.load(self._needed(str(first.relative_to(self.folder))), mmap_mode="r"))

    def _needed(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise PretrainError(f"{path} is not there yet; make the parts in order: {', '.join(PARTS)}")
        return path

    def _tokenizer(
        self, name: str = "tokenizer", learn: Callable[[], CLIPTokenizer] = backbone_tokenizer
    ) -> CLIPTokenizer:
        """The backbone's, or another, learned once: token numbers are part of what a text encoder has learned."""
        folder = self.folder / name
        if not folder.exists():
            learn().save_pretrained(folder)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def _checkpoint(self, part: str) -> Path:
        return self.folder / f"{part}.ckpt"


def _update(part: str, progress: Progress) -> Update:
    return Update(part, progress.share, progress.step, progress.loss)
