from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.backbones.folders import WEIGHTS, find_backbone, fingerprint, stored_type
from cat_bench.benchmark.errors import BackboneError
from cat_bench.benchmark.extractors.folders import metric_for


def picture(seed: int, size: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def test_a_stock_folder_is_read_frozen(tiny: Backbone, tiny_epsilon_folder: Path) -> None:
    assert (tiny.id, tiny.resolution, tiny.latent_shape, tiny.schedule.prediction_type) == (
        "tiny",
        32,
        (4, 8, 8),
        "v_prediction",
    )
    for network in (tiny.unet, tiny.vae, tiny.text_encoders[0].network):
        assert not network.training and not any(p.requires_grad for p in network.parameters())
    other = Backbone.load(tiny_epsilon_folder, device="cpu")
    assert other.schedule.prediction_type == "epsilon"
    assert other.fingerprint != tiny.fingerprint and len(tiny.fingerprint) == 64


def test_the_fingerprint_is_of_the_contents_not_of_the_place(tiny: Backbone, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(tiny.folder, tmp_path / "moved"))
    (moved / "README.md").write_text("not part of the model")
    again = Backbone.load(moved, device="cpu")
    assert again.fingerprint == tiny.fingerprint
    del again.__dict__["fingerprint"]
    config = moved / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    assert again.fingerprint != tiny.fingerprint


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1", b"\x00" * 8, b"\x10" + b"\x00" * 7 + b"{"]
)
def test_weights_that_are_not_whole_are_one_line(content: bytes, tiny: Backbone, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "copy"))
    next((folder / "unet").glob("*.safetensors")).write_bytes(content)
    with pytest.raises(BackboneError, match="is no whole safetensors file: fetch it again"):
        fingerprint(folder)


def test_in_which_type_others_load_the_weights_is_not_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "text_encoder"
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(2, dtype=torch.float16)}, folder / "model.safetensors")
    found = set()
    for dtype, layers in (("float16", 3), ("float32", 3), ("float16", 4)):
        (folder / "config.json").write_text(json.dumps({"dtype": dtype, "layers": layers}))
        found.add(fingerprint(tmp_path))
    assert len(found) == 2 and stored_type(folder / "model.safetensors") == "float16"


def test_the_shipped_model_draws_with_stock_diffusers_and_no_argument() -> None:
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS / "avatars64.v2")
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}
    image = pipe("a person", num_inference_steps=3, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (64, 64) and np.asarray(image).std() > 20  # a picture, neither noise nor one colour
    assert np.abs(np.diff(np.asarray(image).astype(int), axis=1)).mean() < 30


def test_images_and_prompts_are_encoded_as_the_stock_pipeline_does(tiny: Backbone, tiny_backbone_folder: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(tiny_backbone_folder)
    images = [picture(seed) for seed in range(3)]
    pixels = pipe.image_processor.preprocess(images)
    expected = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
    torch.testing.assert_close(tiny.encode_images(images), expected, atol=1e-6, rtol=1e-5)

    prompts = ["a zorvex person", "", "a hat"]
    expected = pipe.encode_prompt(prompts, "cpu", 1, do_classifier_free_guidance=False)[0]
    torch.testing.assert_close(tiny.encode_prompts(prompts).context, expected, atol=1e-6, rtol=1e-5)


def test_decoding_is_the_stock_pipelines_to_the_last_level(tiny: Backbone, tiny_backbone_folder: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(tiny_backbone_folder)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pixels = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    expected = [np.asarray(image) for image in pipe.image_processor.postprocess(pixels, output_type="pil")]
    decoded = tiny.decode(latents)
    assert decoded.dtype == np.uint8 and decoded.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(decoded, np.stack(expected))


def test_a_shift_of_the_latents_is_undone_by_decoding(tiny: Backbone) -> None:
    images = [picture(0)]
    plain, decoded = tiny.encode_images(images), tiny.decode(tiny.encode_images(images))
    tiny.vae.register_to_config(shift_factor=0.25)
    try:
        shifted = tiny.encode_images(images)
        torch.testing.assert_close(shifted, plain - 0.25 * 0.5)
        assert np.abs(tiny.decode(shifted).astype(int) - decoded).max() <= 1
    finally:
        tiny.vae.register_to_config(shift_factor=None)


def test_images_of_another_size_are_refused(tiny: Backbone) -> None:
    with pytest.raises(BackboneError, match=r"must be 32×32 pixels for tiny; one is 64×64"):
        tiny.encode_images([picture(0), picture(0, 64)])


@pytest.mark.parametrize("name", ["avatar-64", "./nowhere", "/nowhere/at/all"])
def test_a_missing_model_is_one_clear_line(name: str) -> None:
    with pytest.raises(BackboneError, match=r"not found; .*diffusers folder") as error:
        Backbone.load(name)
    assert "\n" not in str(error.value)


def test_the_hub_is_asked_for_safetensors_only_and_its_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(name: str, allow_patterns: list[str], **_: object) -> str:
        assert name == "owner/model"
        assert not any(
            pattern.endswith((".bin", ".ckpt", ".pt", "*")) for pattern in allow_patterns if "tok" not in pattern
        )
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(BackboneError, match=r"owner/model.*\(no connection\).*hf download owner/model") as error:
        find_backbone("owner/model")
    assert "\n" not in str(error.value)
    assert find_backbone("owner/model", fetch=False) == ("owner/model", None)


def test_pickled_weights_are_never_read(tiny: Backbone, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "pickled"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BackboneError, match=r"unet has no safetensors weights"):
        Backbone.load(folder)


def test_broken_and_unsupported_folders_are_one_clear_line(tiny: Backbone, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no model_index\.json"):
        Backbone.load(tmp_path)
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "broken"))
    config = folder / "scheduler" / "scheduler_config.json"
    good = config.read_text()
    config.write_text(json.dumps(json.loads(good) | {"prediction_type": "sample"}))
    with pytest.raises(BackboneError, match=r"'sample' is not supported"):
        Backbone.load(folder)
    config.write_text(good)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BackboneError, match=r"cannot be read as a Stable Diffusion pipeline") as error:
        Backbone.load(folder)
    assert "\n" not in str(error.value)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(BackboneError, match=r"has no text_encoder/"):
        Backbone.load(folder)


def test_the_metric_model_lies_beside_its_backbone(tmp_path: Path) -> None:
    assert metric_for("mine", tmp_path / "mine") == "ViT-B-32-quickgelu:openai"
    (tmp_path / "mine-clip").mkdir()
    (tmp_path / "mine-clip" / "open_clip_config.json").write_text("{}")
    assert metric_for("mine", tmp_path / "mine") == str(tmp_path / "mine-clip")
