"""Making the embedded backbone and its metric model, part by part; each goes on where it stopped.

    pictures     render the world's training pictures (30 shards for the backbone, 25 for the metric model)
    metric       train the metric model
    autoencoder  train the autoencoder; encode all pictures
    diffusion    train denoiser and text encoder on the latents
    decoder      train the decoder on, the latents fixed
    save         write the two folders

The parts from `autoencoder` on need the ones before them; `metric` can be trained beside them in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from cat_bench.benchmark.errors import CatBenchError
from cat_bench.benchmark.pretrain.autoencoder import encode, polish_decoder, train_autoencoder
from cat_bench.benchmark.pretrain.diffusion import (
    Denoiser,
    backbone_tokenizer,
    latent_scale,
    save_backbone,
    train_diffusion,
)
from cat_bench.benchmark.pretrain.loop import Progress
from cat_bench.benchmark.pretrain.metric_model import MetricTrainer, save_metric_model, train_metric_model
from cat_bench.benchmark.pretrain.pictures import Pictures, render_shards

PARTS = ("pictures", "metric", "autoencoder", "diffusion", "decoder", "save")
MINUTES: Mapping[str, float] = {"metric": 60, "autoencoder": 60, "diffusion": 120, "decoder": 60}
SEEDS: Mapping[str, int] = {"autoencoder": 1, "metric": 2, "diffusion": 3, "decoder": 4}
SHARDS: Mapping[str, int] = {"backbone": 30, "metric": 25}
NAME = "avatars64"


class PretrainError(CatBenchError):
    """A part cannot be made yet, or its settings are wrong."""


@dataclass(frozen=True)
class Update:
    """News of a part: how far its budget is used (0 to 1) and, in training, the step and loss."""

    part: str
    share: float
    step: int = 0
    loss: float | None = None


def parse_minutes(text: str | None) -> dict[str, float]:
    """ "90" (each part) or "autoencoder=60,diffusion=120"; raises PretrainError."""
    if not text:
        return dict(MINUTES)
    found = dict(MINUTES)
    for entry in text.split(","):
        part, _, number = entry.rpartition("=")
        names = [part.strip()] if part else list(MINUTES)
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if value < 0 or any(name not in MINUTES for name in names):
            raise PretrainError(f"--minutes {text!r}: write a number, or PART=NUMBER for parts of {', '.join(MINUTES)}")
        found.update(dict.fromkeys(names, value))
    return found


@dataclass(frozen=True)
class Workshop:
    """The folder in which pretraining keeps pictures, checkpoints and finished parts."""

    folder: Path
    device: str
    minutes: Mapping[str, float]
    shards: Mapping[str, int]

    def make(self, part: str, out: Path) -> Iterator[Update]:
        """Make one part. Raises PretrainError if one that it needs is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        yield from getattr(self, f"_{part}")(out)

    def _pictures(self, out: Path) -> Iterator[Update]:
        total, done = sum(self.shards.values()), 0
        for which, count in self.shards.items():
            folder, pairs = self.folder / "pictures" / which, which == "metric"
            for _ in render_shards(folder, f"{NAME}/{which}", range(count), 64, pairs, torch.get_num_threads()):
                done += 1
                yield Update("pictures", done / total, done)

    def _metric(self, out: Path) -> Iterator[Update]:
        pictures = self._load("metric")
        training = train_metric_model(
            pictures, self.minutes["metric"], self._checkpoint("metric"), self.device, SEEDS["metric"]
        )
        for news in training:
            if isinstance(news, MetricTrainer):
                save_metric_model(news, self.folder / f"{NAME}-clip")
            else:
                yield _update("metric", news)

    def _autoencoder(self, out: Path) -> Iterator[Update]:
        pixels = self._load("backbone").pixels
        training = train_autoencoder(
            pixels, self.minutes["autoencoder"], self._checkpoint("autoencoder"), self.device, SEEDS["autoencoder"]
        )
        for news in training:
            if isinstance(news, AutoencoderKL):
                news.save_pretrained(self.folder / "autoencoder")
                np.save(self.folder / "latents.npy", encode(news, pixels, self.device))
            else:
                yield _update("autoencoder", news)

    def _diffusion(self, out: Path) -> Iterator[Update]:
        latents, entries = np.load(self._needed("latents.npy")), self._load("backbone").entries
        training = train_diffusion(
            *(latents, entries, self._tokenizer(), self.minutes["diffusion"]),
            *(self._checkpoint("diffusion"), self.device, SEEDS["diffusion"]),
        )
        for news in training:
            if isinstance(news, Denoiser):
                news.unet.save_pretrained(self.folder / "unet")
                news.text_encoder.save_pretrained(self.folder / "text_encoder")
            else:
                yield _update("diffusion", news)

    def _decoder(self, out: Path) -> Iterator[Update]:
        model = AutoencoderKL.from_pretrained(self._needed("autoencoder"), use_safetensors=True).to(self.device)
        pixels = self._load("backbone").pixels
        training = polish_decoder(
            model, pixels, self.minutes["decoder"], self._checkpoint("decoder"), self.device, SEEDS["decoder"]
        )
        for news in training:
            if isinstance(news, AutoencoderKL):
                news.save_pretrained(self.folder / "polished")
            else:
                yield _update("decoder", news)

    def _save(self, out: Path) -> Iterator[Update]:
        autoencoder = AutoencoderKL.from_pretrained(self._needed("polished"), use_safetensors=True)
        denoiser = Denoiser.load(self._tokenizer(), self._needed("unet"), self._needed("text_encoder"))
        scale = latent_scale(np.load(self._needed("latents.npy"), mmap_mode="r"))
        save_backbone(denoiser, self._tokenizer(), autoencoder, scale, out / NAME)
        clip = self._needed(f"{NAME}-clip")
        (out / clip.name).mkdir(parents=True, exist_ok=True)
        for path in clip.iterdir():
            (out / clip.name / path.name).write_bytes(path.read_bytes())
        made = {
            "minutes": dict(self.minutes),
            "shards": dict(self.shards),
            "seeds": dict(SEEDS),
            "torch": torch.__version__,
        }
        (out / NAME / "pretraining.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
        yield Update("save", 1.0)

    def _load(self, which: str) -> Pictures:
        """All shards but the first, which is kept for looking at a training from outside."""
        folder = self.folder / "pictures" / which
        missing = [i for i in range(self.shards[which]) if not (folder / f"{i:04d}.npy").exists()]
        if missing:
            raise PretrainError(f"{folder} lacks {len(missing)} shards of pictures; make them first: --part pictures")
        return Pictures.load(folder, range(1, self.shards[which]))

    def _needed(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise PretrainError(f"{path} is not there yet; make the parts in order: {', '.join(PARTS)}")
        return path

    def _tokenizer(self) -> CLIPTokenizer:
        """The backbone's, learned once: token numbers are part of what the text encoder has learned."""
        folder = self.folder / "tokenizer"
        if not folder.exists():
            backbone_tokenizer().save_pretrained(folder)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    def _checkpoint(self, part: str) -> Path:
        return self.folder / f"{part}.ckpt"


def _update(part: str, progress: Progress) -> Update:
    return Update(part, progress.share, progress.step, progress.loss)
