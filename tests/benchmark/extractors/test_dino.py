"""The second opinion: features against a transform and a forward written here, and runs with and without it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_fakes import FakeEngine, FakeSequence, tables
from safetensors.torch import load_file, save_file

from cat_bench.benchmark.errors import MetricModelError
from cat_bench.benchmark.execution import run as runner
from cat_bench.benchmark.extractors.dino import DinoModel, prepared
from cat_bench.benchmark.extractors.folders import find_dino
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.results.records.images import StageImages
from cat_bench.results.records.long_table import read_scores
from cat_bench.results.report.report import write_report

SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT of 32×32 pixels, saved by transformers."""
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    place = tmp_path_factory.mktemp("dinos") / "tiny-dino"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = ViTModel(
            ViTConfig(image_size=SIDE, patch_size=8, initializer_range=0.3, **sizes), add_pooling_layer=False
        )
        network.save_pretrained(place)
    return place


def pictures(*sizes: tuple[int, int]) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]


def by_hand(weights: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """The CLS feature of one image (3, 32, 32), written out: patches, two pre-norm blocks, a last norm."""
    norm, linear = torch.nn.functional.layer_norm, torch.nn.functional.linear

    def get(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    kernel, bias = get("embeddings.patch_embeddings.projection")
    patches = torch.nn.functional.conv2d(pixels[None], kernel, bias, stride=8)[0].flatten(1).T
    x = torch.cat([weights["embeddings.cls_token"][0], patches]) + weights["embeddings.position_embeddings"][0]
    for layer in range(2):
        name = f"encoder.layer.{layer}"
        inner = norm(x, (24,), *get(f"{name}.layernorm_before"), 1e-12)
        q, k, v = (
            linear(inner, *get(f"{name}.attention.attention.{part}")).reshape(-1, 2, 12).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = ((q @ k.transpose(1, 2) / 12**0.5).softmax(-1) @ v).transpose(0, 1).reshape(-1, 24)
        x = x + linear(mixed, *get(f"{name}.attention.output.dense"))
        inner = norm(x, (24,), *get(f"{name}.layernorm_after"), 1e-12)
        hidden = torch.nn.functional.gelu(linear(inner, *get(f"{name}.intermediate.dense")))
        x = x + linear(hidden, *get(f"{name}.output.dense"))
    return norm(x, (24,), *get("layernorm"), 1e-12)[0]


@pytest.mark.parametrize(("side", "short"), [(224, 256), (32, 37)])
def test_images_are_prepared_as_dinos_own_evaluation_does(side: int, short: int) -> None:
    from torchvision import transforms as t

    own = t.Compose(
        [
            t.Resize(short, interpolation=t.InterpolationMode.BICUBIC),
            t.CenterCrop(side),
            t.ToTensor(),
            t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    for picture in pictures((300, 300), (301, 417), (640, 357), (64, 64), (17, 90)):
        np.testing.assert_allclose(prepared(picture, side), own(picture).numpy(), atol=1e-6)


def test_features_are_the_normalised_cls_token(folder: Path) -> None:
    model, weights = DinoModel.load(folder, device="cpu"), load_file(folder / "model.safetensors")
    given = pictures((40, 40), (64, 50), (31, 77))
    mine = model.images(given)
    for row, picture in zip(mine, given, strict=True):
        cls = by_hand(weights, torch.from_numpy(prepared(picture, SIDE)))
        np.testing.assert_allclose(row, (cls / cls.norm()).numpy(), atol=1e-5)
    assert mine.dtype == np.float32 and abs(mine[0] @ mine[1]) < 0.999  # pictures tell apart
    np.testing.assert_array_equal(model.images([np.asarray(picture) for picture in given]), mine)
    np.testing.assert_allclose(
        DinoModel(model.id, folder, model.device, model.network, 2).images(given), mine, atol=1e-6
    )
    assert model.images([]).shape == (0, 24)


def test_id_and_fingerprint_name_the_folder_and_its_contents(folder: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    one, other = DinoModel.load(folder, "cpu"), DinoModel.load(moved, "cpu")
    assert (one.id, other.id) == ("tiny-dino", "moved") and one.fingerprint == other.fingerprint
    weights = load_file(moved / "model.safetensors")
    weights["layernorm.bias"] += 1
    save_file(weights, moved / "model.safetensors")
    assert DinoModel.load(moved, "cpu").fingerprint != one.fingerprint


def test_what_is_missing_pickled_foreign_or_broken_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    def says(pattern: str, name: Path | str) -> None:
        with pytest.raises(MetricModelError, match=pattern) as error:
            DinoModel.load(name, "cpu")
        assert "\n" not in str(error.value)

    says("'dino-vits16' not found; did you mean 'facebook/dino-vits16'", "dino-vits16")
    says(r"has no config\.json", tmp_path)
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    weights, config = broken / "model.safetensors", broken / "config.json"
    tensors, settings = load_file(weights), json.loads(config.read_text())
    save_file({name: tensor for name, tensor in tensors.items() if "layer.1" not in name}, weights)
    says("lacks 16 weights, such as", broken)
    weights.write_bytes(b"nonsense")
    says("broken cannot be loaded", broken)
    weights.rename(broken / "pytorch_model.bin")
    says(r"has no model\.safetensors \(pickled ones are never loaded\)", broken)
    config.write_text(json.dumps(settings | {"model_type": "dinov2"}))
    says("its model_type is 'dinov2'", broken)


def test_the_hub_is_asked_for_safetensors_alone_and_its_failure_says_what_to_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[bool] = []

    def offline(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        assert (name, allow_patterns) == ("facebook/dino-vits16", ["config.json", "model.safetensors"])
        asked.append(local_files_only)
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert find_dino("facebook/dino-vits16", fetch=False) == ("facebook/dino-vits16", None)
    with pytest.raises(MetricModelError, match=r"\(no connection\).*hf download facebook/dino-vits16") as error:
        find_dino("facebook/dino-vits16")
    assert "\n" not in str(error.value) and asked == [True, True, False]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    assert DinoModel.load(device="cpu").id == "facebook/dino-vits16"


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "load_sequence", lambda name, data: FakeSequence())


def go(runs: Path, **changes: Any) -> list[str]:
    """Run two methods on three letters; what the engine trained and sampled."""
    spec = resolve({"sequence": "letters3", "methods": ("lora", "cat"), "images_per_prompt": 2}, changes)
    engine = FakeEngine(RunSpec())
    list(runner.run(spec, runs, None, engine))
    return engine.calls


def rows(runs: Path) -> dict[str, set[tuple[str, str]]]:
    """Per table of a run: every metric with its extractor."""
    found = {str(path.relative_to(runs)): read_scores(path) for path in runs.glob("letters3/**/scores.parquet")}
    return {name: set(zip(table["metric"], table["extractor"], strict=True)) for name, table in found.items()}


@pytest.mark.usefixtures("fakes")
def test_switched_on_later_it_looks_at_what_is_there(tmp_path: Path) -> None:
    go(tmp_path)
    before, without = tables(tmp_path / "letters3"), rows(tmp_path)
    assert all({extractor for _, extractor in found} == {"eye"} for found in without.values())
    assert go(tmp_path, dino="owner/dino") == []  # nothing trained, nothing sampled
    after = tables(tmp_path / "letters3")
    changed = {Path(name).name for name in after if after[name] != before[name]}
    assert after.keys() == before.keys() and changed == {"embeddings.safetensors", "scores.parquet"}
    assert rows(tmp_path) == {name: found | {("dino_i", "owner/dino")} for name, found in without.items()}
    record = json.loads((tmp_path / "letters3/run.json").read_text())
    assert record["dino"] == {"id": "owner/dino", "fingerprint": "of owner/dino"}
    assert record["metric_model"]["id"] == "eye"
    go(tmp_path / "afresh", dino="owner/dino")
    assert tables(tmp_path / "afresh" / "letters3") == after
    assert go(tmp_path) == []  # and off again
    assert tables(tmp_path / "letters3") == before


@pytest.mark.usefixtures("fakes")
def test_floor_ceiling_and_every_image_of_a_concept_are_seen(tmp_path: Path) -> None:
    go(tmp_path, dino="owner/dino")
    table = read_scores(tmp_path / "letters3/base/scores.parquet")
    for method in ("base", "real"):
        sizes = table[(table["method"] == method) & (table["metric"] == "dino_i")].groupby("concept").size()
        assert sizes.to_dict() == dict.fromkeys(("ada", "bob", "cy"), 6 if method == "base" else 4)
    paths = write_report(tmp_path / "letters3")
    assert "R-dino_i.csv" in {path.name for path in paths.matrices}
    assert "owner/dino" in paths.html.read_text(encoding="utf-8")


@pytest.mark.usefixtures("fakes")
def test_another_name_for_the_same_model_is_in_the_record(tmp_path: Path) -> None:
    go(tmp_path)
    (tmp_path / "letters3/run.json").unlink()  # else it is known to be finished
    engine = FakeEngine(RunSpec(), metric_id="other")
    list(
        runner.run(
            resolve({"sequence": "letters3", "methods": ("lora", "cat"), "images_per_prompt": 2}),
            tmp_path,
            None,
            engine,
        )
    )
    assert engine.calls == []
    assert {extractor for found in rows(tmp_path).values() for _, extractor in found} == {"other"}


def test_a_real_run_is_seen_by_both_models(
    folder: Path, tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path: Path
) -> None:
    quick = {
        "sampler": {"steps": 1, "batch": 8},
        "overrides": {"lora": {"steps": 1}},
        "precision": "fp32",
    }
    spec = resolve(
        {"sequence": "smoke2", "methods": ("lora",), "images_per_prompt": 1, "device": "cpu", **quick},
        {"backbone": str(tiny_backbone_folder), "metric": str(tiny_metric_folder), "dino": str(folder)},
    )
    list(runner.run(spec, tmp_path))
    place = next(tmp_path.glob("smoke2/lora/*/02-*"))
    table = read_scores(place / "scores.parquet")
    assert set(table.loc[table["metric"] == "dino_i", "extractor"]) == {"tiny-dino"}
    assert set(table.loc[table["metric"] != "dino_i", "extractor"]) == {"tiny-clip"}
    concept = place.name.partition("-")[2]
    drawn = StageImages(place / "images.parquet").find(concept, 0, 0)
    assert drawn is not None
    with Image.open(io.BytesIO(drawn.read_bytes())) as image:
        generated = DinoModel.load(folder, "cpu").images([image])
    references = StageImages(tmp_path / "smoke2/references/images.parquet")
    pngs = zip(references.rows, references.pngs(0, len(references)), strict=True)
    held_out = [Image.open(io.BytesIO(png)) for row, png in pngs if row.concept == concept]
    cosines = generated @ DinoModel.load(folder, "cpu").images(held_out).T
    row = table.query("metric == 'dino_i' and concept == @concept and prompt == 0 and image == 0").iloc[0]
    assert row["value"] == pytest.approx(cosines.mean(), abs=1e-5)
