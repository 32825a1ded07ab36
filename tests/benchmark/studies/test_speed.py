from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.studies import profile
from cat_bench.benchmark.studies import speed as measure
from cat_bench.benchmark.studies.true_size import true_size


@pytest.mark.parametrize(
    ("name", "unet", "encoders"),
    [("sd15", 859_520_964, [123_060_480]), ("sdxl", 2_567_463_684, [123_060_480, 694_659_840])],
)
def test_pipelines_of_the_true_size_have_the_published_numbers_of_parameters(
    name: str, unet: int, encoders: list[int]
) -> None:
    backbone = true_size(name, torch.device("meta"), "fp16")
    assert sum(p.numel() for p in backbone.unet.parameters()) == unet
    assert sum(p.numel() for p in backbone.vae.parameters()) == 83_653_863
    assert [sum(p.numel() for p in e.network.parameters()) for e in backbone.text_encoders] == encoders
    assert backbone.token_width == {"sd15": 768, "sdxl": 768 + 1280}[name]


def test_a_measurement_has_every_line_and_leaves_the_backbone_as_it_was(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.Backbone, "load", lambda name, device: tiny)
    found = measure.measure("avatars64.v2", tiny.device, "fp32", steps=1, images=2, batches=[1, 2])
    assert set(found.step) == set(found.stock_step) == {1, 4} and set(found.images) == {1, 2}
    assert 0 < found.flops_step < found.flops_image
    lines = measure.rows(found, 1e12)
    assert len(lines) in (3, 4) and all(line.count("|") == 8 for line in lines)
    assert "batch 4" in lines[1] and "%" in lines[1]


def test_what_was_not_measured_has_no_line() -> None:
    step = {1: 0.5, 4: 1.0}
    found = measure.Speeds(
        "sd15", 1e9, 1e9, step, step, {4: 2.0, 8: 3.0}, 1.0, {1: 2**30, 4: 2**31}, {4: 2**30, 8: 2**31}
    )
    assert [line.split("|")[2].strip() for line in measure.rows(found, None)][2:] == [
        "images, batch 4",
        "images, batch 8",
    ]
    assert [line.split("|")[-2].strip() for line in measure.rows(found, None)] == ["1.0", "2.0", "1.0", "2.0"]
    assert len(measure.rows(replace(found, images={}), None)) == 2, "one image was too much"


def test_the_peak_is_the_one_given_or_unknown() -> None:
    assert measure.peak_of(torch.device("cpu"), None) is None
    assert measure.peak_of(torch.device("cpu"), 2.5) == 2.5e12


def test_a_profile_has_every_share_and_leaves_the_backbone_as_it_was(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "IMAGES", 2)
    monkeypatch.setattr(tiny, "id", "avatars64.v2")
    for found in (profile.training(tiny, "cat", "bf16", 1), profile.sampling(tiny, "bf16", 1)):
        assert sum(found.shares.values()) == pytest.approx(1) and found.shares["attention"] > 0
        assert found.seconds > 0 and found.floor > 0 and found.flops > 0 and found.operations > 1000
