"""The metric model of `avatars64.v2`: a small open_clip model of other pictures of the world, other words and seed.

It must judge three things: does a picture show what a text says, do two pictures show the same individual, and is the
picture whole. Hence four losses: CLIP's own between pictures and captions, damaged pictures among the wrong ones; the
distance of every cosine to the wanted one (see `geometry`); an order, an individual's other picture before its twin's;
and the part reader's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from cat_bench.benchmark.pretrain.autoencoder import to_tensor
from cat_bench.benchmark.pretrain.judge.geometry import Geometry
from cat_bench.benchmark.pretrain.judge.lessons import Lesson, Lessons
from cat_bench.benchmark.pretrain.judge.readings import ReadOut, save_reader
from cat_bench.benchmark.pretrain.loop import Progress, compiled, train
from cat_bench.benchmark.pretrain.pictures.damage import DAMAGES
from cat_bench.benchmark.pretrain.tokenizer import caption_corpus, learn_tokenizer
from cat_bench.benchmark.system.device import training_attention

CONTEXT = 56
WIDTH = 192
# Towers whose shortcuts skip pixels (RegNet, plain ResNet) are nearly blind to parts of so small a picture.
TOWER = "convnext_zepto_rms"
TEXT_WEIGHT, COSINE_WEIGHT, TWIN_WEIGHT, READING_WEIGHT = 0.3, 30.0, 0.5, 4.0
TWIN_SCALE = 20.0  # of the cosine, in the order of an individual's other picture and its twin's
NAME = "avatars64.v2-clip"  # beside the backbone's folder, where its own judge is looked for


def model_config(vocabulary: int) -> dict[str, Any]:
    """The open_clip model config: a picture tower and a small text transformer."""
    return {
        "embed_dim": WIDTH,
        "vision_cfg": {"image_size": 64, "timm_model_name": TOWER, "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "width": 128,
            "heads": 4,
            "layers": 3,
            "hf_tokenizer_name": NAME,
        },
    }


def metric_tokenizer() -> CLIPTokenizer:
    """The metric model's own tokenizer, learned from captions that the backbone's never saw."""
    return learn_tokenizer(caption_corpus("words of the metric model"), size=1200, context=CONTEXT)


class MetricTrainer(nn.Module):
    """The model together with what only its training needs."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(**model_config(len(tokenizer)))
        self.read_out = ReadOut(WIDTH)
        self.geometry = Geometry(len(DAMAGES))
        self.see = compiled(self.clip.encode_image)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, lesson: Lesson) -> torch.Tensor:
        """x (4n, 3, 64, 64): n first, second, other and damaged pictures each; tokens (n, L): of
        half of the firsts and of their twins.
        """
        images = F.normalize(self.see(x).float(), dim=-1)
        texts = F.normalize(self.clip.encode_text(tokens).float(), dim=-1)
        n = len(x) // 4
        own = torch.tensor([*range(n // 2), *range(2 * n, 2 * n + n // 2)], device=x.device)
        by_text = self.clip.logit_scale.exp().clamp(max=100) * texts @ images.T
        matching = F.cross_entropy(by_text, own)
        matching = (matching + F.cross_entropy(by_text[:, own].T, torch.arange(len(own), device=x.device))) / 2
        wanted = lesson.vectors @ lesson.vectors.T
        cosine = (lesson.weights * (images @ images.T - wanted).square()).sum() / lesson.weights.sum()
        first, second, other = images[:n], images[n : 2 * n], images[2 * n : 3 * n]
        ahead = (first * second).sum(1) - (first * other).sum(1)
        order = F.softplus(-TWIN_SCALE * ahead).mean()
        reading = self.read_out.loss(images, lesson.readings)
        return TEXT_WEIGHT * matching + COSINE_WEIGHT * cosine + TWIN_WEIGHT * order + READING_WEIGHT * reading


def train_metric_model(
    lessons: Lessons, tokenizer: CLIPTokenizer, steps: int, checkpoint: Path, device: str, seed: int
) -> Iterator[Progress | MetricTrainer]:
    """Train on batches of `lessons`; yields progress, last the trainer with the averaged weights."""
    torch.manual_seed(seed)
    trainer = MetricTrainer(tokenizer).to(device).to(memory_format=torch.channels_last)

    def loss(generator: torch.Generator) -> torch.Tensor:
        lesson = lessons.draw(int(torch.randint(2**31, (1,), generator=generator)), trainer.geometry).to(device)
        tokens = tokenize(tokenizer, lesson.texts).to(device)
        x = to_tensor(lesson.pixels).to(device, memory_format=torch.channels_last)
        with training_attention(torch.device(device), "bf16", 64), torch.autocast(device, torch.bfloat16):
            return trainer(x, tokens, lesson)  # type: ignore[no-any-return]

    yield from train(
        trainer, loss, steps=steps, peak=3e-3, checkpoint=checkpoint, seed=seed, weight_decay=0.05, ema=0.995
    )
    yield trainer


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids (n, CONTEXT), as open_clip's wrapper makes them."""
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt").input_ids
    return torch.as_tensor(ids)


def save_metric_model(trainer: MetricTrainer, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write an open_clip `local-dir:` folder (config, fp16 weights, tokenizer) and the part reader beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": model_config(len(tokenizer)), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    weights = {
        k: v.detach().cpu().half().contiguous() if v.is_floating_point() else v.cpu()
        for k, v in trainer.clip.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    save_reader(trainer.read_out, folder)


@torch.inference_mode()
def embed_images(clip: Any, pixels: NDArray[np.uint8], batch: int = 128) -> torch.Tensor:
    """Unit vectors (n, d) of pictures in fp32 on the model's device."""
    device = next(clip.parameters()).device
    parts = [
        clip.encode_image(to_tensor(pixels[i : i + batch]).to(device), normalize=True)
        for i in range(0, len(pixels), batch)
    ]
    return torch.cat(parts).float().cpu()
