"""The metric model of `avatars64`: a small open_clip model of other pictures of the world, other words, another seed.

It must judge two things: does a picture show what a text says, and do two pictures show the same individual. Hence
three losses: CLIP's own between pictures and captions, the same between two pictures of one identity in different
scenes, and a linear read-out of every attribute, thrown away afterwards, which makes a little training go a long way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
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
from cat_bench.benchmark.pretrain.loop import Progress, train
from cat_bench.benchmark.pretrain.pictures import Entry, Pictures, caption
from cat_bench.benchmark.pretrain.tokenizer import caption_corpus, learn_tokenizer
from cat_bench.benchmark.system.device import training_attention

CONTEXT = 64
PAIRS = 96  # identities a batch, two pictures each
FULL_CAPTIONS = 0.4
READ_OUT_WEIGHT = 0.05
NAME = "avatars64-clip"


def model_config(vocabulary: int) -> dict[str, Any]:
    """The open_clip model config: a ViT on 8-pixel patches and a small text transformer."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 5, "width": 192, "head_width": 48, "patch_size": 8},
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
    return learn_tokenizer(caption_corpus("words of the metric model", names=0), size=600, context=CONTEXT)


def attributes(entry: Entry) -> Iterator[str]:
    """Every nameable fact about a picture, as a label for the read-out."""
    look, scene = entry.picture.look, entry.picture.scene
    yield look.kind
    yield f"background={scene.background}"
    yield f"{look.kind}/expression={scene.expression}"
    for name, variant in {**look.parts, **scene.parts}.items():
        yield f"{look.kind}/{name}={variant}"
    for slot, color in {**look.colors, **scene.colors}.items():
        yield f"{look.kind}/{slot}={color}"


def soften(x: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Blur by a per-picture amount in 0..1: generated pictures are softer than rendered ones, and softness is not
    what is judged.
    """
    small = F.avg_pool2d(x, 2)
    blurred = F.interpolate(small, scale_factor=2, mode="bilinear")
    return torch.lerp(x, blurred, amount.view(-1, 1, 1, 1))


class MetricTrainer(nn.Module):
    """The model together with what only its training needs."""

    def __init__(self, tokenizer: CLIPTokenizer, labels: list[str]) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(**model_config(len(tokenizer)))
        self.read_out = nn.Linear(128, len(labels))
        self.identity_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """x (2n, 3, 64, 64), two pictures of each identity in turn; tokens (2n, L); facts (2n, labels) of 0 and 1."""
        raw = self.clip.encode_image(x).float()
        images = F.normalize(raw, dim=-1)
        texts = F.normalize(self.clip.encode_text(tokens).float(), dim=-1)
        own = torch.arange(len(x), device=x.device)
        by_text = self.clip.logit_scale.exp().clamp(max=100) * images @ texts.T
        matching = (F.cross_entropy(by_text, own) + F.cross_entropy(by_text.T, own)) / 2
        first, second = images[0::2], images[1::2]
        by_identity = self.identity_scale.exp().clamp(max=50) * first @ second.T
        half = own[: len(first)]
        identity = (F.cross_entropy(by_identity, half) + F.cross_entropy(by_identity.T, half)) / 2
        # The scale 8 lets unit vectors reach confident logits.
        reading = F.binary_cross_entropy_with_logits(8 * self.read_out(images), facts, reduction="none").sum(1).mean()
        return matching + identity + READ_OUT_WEIGHT * reading


def train_metric_model(
    pictures: Pictures, minutes: float, checkpoint: Path, device: str, seed: int
) -> Iterator[Progress | MetricTrainer]:
    """Train on pairs (entries 2i and 2i+1 show one identity); yields progress, last the trainer with the averaged
    weights.
    """
    torch.manual_seed(seed)
    tokenizer = metric_tokenizer()
    known = [list(attributes(e)) for e in pictures.entries]
    labels = sorted({a for facts in known for a in facts})
    number = {a: i for i, a in enumerate(labels)}
    facts = np.zeros((len(known), len(labels)), dtype=np.uint8)
    for row, names in enumerate(known):
        facts[row, [number[a] for a in names]] = 1
    trainer = MetricTrainer(tokenizer, labels).to(device)

    def loss(generator: torch.Generator) -> torch.Tensor:
        pair = torch.randint(len(pictures.entries) // 2, (PAIRS,), generator=generator).numpy()
        rows = np.stack([2 * pair, 2 * pair + 1], 1).reshape(-1)
        rng = Random(int(torch.randint(2**31, (1,), generator=generator)))
        texts = [caption(pictures.entries[r], rng, full=rng.random() < FULL_CAPTIONS) for r in rows]
        tokens = tokenize(tokenizer, texts).to(device)
        amount = (torch.rand(len(rows), generator=generator) * 2 - 1).clamp(min=0)
        x = soften(to_tensor(pictures.pixels[rows]), amount).to(device)
        with training_attention(torch.device(device), "bf16", 64), torch.autocast(device, torch.bfloat16):
            return trainer(x, tokens, torch.from_numpy(facts[rows]).float().to(device))  # type: ignore[no-any-return]

    yield from train(
        trainer, loss, minutes=minutes, peak=1.5e-3, checkpoint=checkpoint, seed=seed, weight_decay=0.05, ema=0.995
    )
    yield trainer


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids (n, CONTEXT), as open_clip's wrapper makes them."""
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt").input_ids
    return torch.as_tensor(ids)


def save_metric_model(trainer: MetricTrainer, folder: Path) -> None:
    """Write an open_clip `local-dir:` folder: config, fp16 weights, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = metric_tokenizer()
    tokenizer.save_pretrained(folder)
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": model_config(len(tokenizer)), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    weights = {k: v.detach().cpu().half().contiguous() for k, v in trainer.clip.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


@torch.inference_mode()
def embed_images(clip: Any, pixels: NDArray[np.uint8], batch: int = 128) -> torch.Tensor:
    """Unit vectors (n, d) of pictures in fp32 on the model's device."""
    device = next(clip.parameters()).device
    parts = [
        clip.encode_image(to_tensor(pixels[i : i + batch]).to(device), normalize=True)
        for i in range(0, len(pixels), batch)
    ]
    return torch.cat(parts).float().cpu()
