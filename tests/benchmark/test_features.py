from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from cat_bench.benchmark.errors import MetricModelError
from cat_bench.benchmark.features import MetricModel


@pytest.fixture(scope="module")
def metric(tiny_metric_folder: Path) -> MetricModel:
    return MetricModel.load(tiny_metric_folder, device="cpu")


def arrays(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_features_are_those_of_stock_open_clip(metric: MetricModel, tiny_metric_folder: Path) -> None:
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tiny_metric_folder}")
    pictures, texts = [Image.fromarray(a) for a in arrays(3, 48)], ["a hat", "the person"]
    with torch.no_grad():
        seen = model.encode_image(torch.stack([preprocess(p) for p in pictures]))
        read = model.encode_text(open_clip.get_tokenizer(f"local-dir:{tiny_metric_folder}")(texts))
    for mine, stock in ((metric.images(pictures), seen), (metric.texts(texts), read)):
        assert mine.dtype == np.float32 and mine.shape == (len(stock), 16)
        np.testing.assert_allclose(mine, torch.nn.functional.normalize(stock, dim=-1).numpy(), atol=1e-6)


def test_arrays_and_pictures_are_the_same_and_batches_do_not_matter(metric: MetricModel) -> None:
    pixels = arrays(5)
    whole = metric.images(pixels)
    np.testing.assert_array_equal(whole, metric.images([Image.fromarray(a) for a in pixels]))
    np.testing.assert_array_equal(whole, metric.images(list(pixels)))
    small = MetricModel(metric.id, metric.folder, metric.device, metric.model, metric.preprocess, metric.tokenizer, 2)
    np.testing.assert_allclose(small.images(pixels), whole, atol=1e-6)
    assert metric.images([]).shape == (0, 16) and metric.texts([]).shape == (0, 16)


def test_the_fingerprint_is_of_the_contents(metric: MetricModel, tiny_metric_folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(tiny_metric_folder, tmp_path / "moved"))
    other = MetricModel.load(moved, device="cpu")
    assert (metric.id, other.id) == ("tiny-clip", "moved")
    assert other.fingerprint == metric.fingerprint and len(metric.fingerprint) == 64
    config = moved / "open_clip_config.json"
    config.write_text(config.read_text() + "\n")
    assert MetricModel.load(moved, device="cpu").fingerprint != metric.fingerprint


def test_a_model_that_is_missing_pickled_or_broken_is_one_clear_line(tiny_metric_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MetricModelError, match=r"'nowhere' not found; give an open_clip folder or ARCHITECTURE:TAG"):
        MetricModel.load("nowhere")
    with pytest.raises(MetricModelError, match=r"has no open_clip_config\.json"):
        MetricModel.load(tmp_path)
    with pytest.raises(MetricModelError, match="no-such-model:tag cannot be loaded"):
        MetricModel.load("no-such-model:tag", device="cpu")
    folder = Path(shutil.copytree(tiny_metric_folder, tmp_path / "broken"))
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(b"nonsense")
    with pytest.raises(MetricModelError, match="cannot be loaded") as error:
        MetricModel.load(folder, device="cpu")
    assert "\n" not in str(error.value)
    weights.rename(folder / "open_clip_model.bin")
    with pytest.raises(MetricModelError, match="has no safetensors weights"):
        MetricModel.load(folder)
