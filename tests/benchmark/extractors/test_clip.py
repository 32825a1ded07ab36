from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cat_bench.benchmark.errors import MetricModelError
from cat_bench.benchmark.extractors.clip import MetricModel


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
    with pytest.raises(MetricModelError, match="no-such-model:tag': open_clip knows no such pair"):
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


@pytest.fixture
def published(tiny_metric_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tiny-made:here` as if open_clip knew it: named for plain GELU, trained with QuickGELU, other means."""
    config = json.loads((tiny_metric_folder / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"].pop("hf_tokenizer_name")
    config["text_cfg"]["context_length"] = 77
    config["text_cfg"]["vocab_size"] = 49408
    (tmp_path / "tiny-made.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-made.json")
    about = {"hf_hub": "someone/tiny/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    known = open_clip.get_pretrained_cfg
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda a, t: about if a == "tiny-made" else known(a, t))
    torch.manual_seed(3)
    save_file(open_clip.create_model("tiny-made").state_dict(), tmp_path / "open_clip_model.safetensors")
    return tmp_path


def test_published_weights_are_fetched_as_safetensors_and_read_as_they_were_trained(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(published / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    mine = MetricModel.load("tiny-made:here", device="cpu")
    assert asked == [("someone/tiny", "open_clip_model.safetensors")] and mine.id == "tiny-made:here"
    stock = open_clip.create_model("tiny-made", force_quick_gelu=True, pretrained=str(published / asked[0][1])).eval()
    pixels = torch.from_numpy(arrays(2)).permute(0, 3, 1, 2) / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    with torch.no_grad():
        expected = stock.encode_image(pixels, normalize=True)
    np.testing.assert_allclose(mine.images(arrays(2)), expected.numpy(), atol=1e-5)


def test_what_cannot_be_fetched_is_one_line_with_what_to_do(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: str) -> str:
        raise OSError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    line = r"\(no connection\); .*`hf download someone/tiny open_clip_model.safetensors` and copy"
    with pytest.raises(MetricModelError, match=line) as error:
        MetricModel.load("tiny-made:here")
    assert "\n" not in str(error.value)
    with pytest.raises(MetricModelError, match="knows no such pair"):
        MetricModel.load("ViT-B-32:nowhere")
