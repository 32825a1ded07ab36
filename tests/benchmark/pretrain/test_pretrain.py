"""Pretraining: pictures and words, the shared loop, and the whole workshop in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from cat_bench.benchmark.pretrain.diffusion import FACE_WEIGHT, NOISY, face_weights, time_steps
from cat_bench.benchmark.pretrain.loop import learning_rate, train
from cat_bench.benchmark.pretrain.make import Workshop
from cat_bench.benchmark.pretrain.pictures.rendered import (
    Entry,
    Pictures,
    caption,
    draw_entry,
    draw_pair,
    render_shards,
)
from cat_bench.benchmark.pretrain.recipe import NAME, PARTS, STEPS, PretrainError, parse_steps
from cat_bench.benchmark.pretrain.tokenizer import caption_corpus, learn_tokenizer
from cat_bench.tasks.avatars.inhabitants import draw_name, inhabitants
from cat_bench.tasks.avatars.vocabulary import vocabulary


def held_out(entry: Entry) -> bool:
    parts = vocabulary().kind(entry.picture.look.kind).parts
    return any(variant in parts[name].held_out for name, variant in entry.picture.look.parts.items())


def test_the_backbone_sees_nothing_held_out_and_the_metric_model_does():
    rng = Random(0)
    assert not any(held_out(draw_entry(rng)) for _ in range(300))
    pairs = [draw_pair(rng) for _ in range(100)]
    assert any(held_out(first) for first, _ in pairs)
    assert all(first.picture.look == second.picture.look for first, second in pairs)
    assert sum(first.picture.scene != second.picture.scene for first, second in pairs) > 90  # a landscape has few


def test_captions_name_the_inhabitants_and_say_more_or_less():
    rng = Random(2)
    entry = next(e for e in iter(lambda: draw_entry(rng), None) if e.name is not None)
    assert entry.picture.look == inhabitants()[entry.name]
    texts = [caption(entry, rng) for _ in range(200)]
    named = sum(entry.name in t.split() or f"{entry.name}," in t for t in texts) / len(texts)
    assert 0.8 < named < 0.97
    assert len(set(texts)) > 20
    assert caption(entry, rng, full=True).count(",") >= max(t.count(",") for t in texts) - 1


def test_most_time_steps_are_noisy_and_a_persons_face_weighs_more():
    steps = time_steps(4000, 1000, torch.Generator().manual_seed(0))
    assert int(steps.min()) >= 0 and int(steps.max()) < 1000
    assert (steps >= NOISY[0]).float().mean().item() == pytest.approx(NOISY[1], abs=0.03)
    assert (steps < 300).float().mean().item() == pytest.approx((1 - NOISY[1]) / 2, abs=0.03)
    rng = Random(5)
    person, other = (next(e for e in iter(lambda: draw_entry(rng), None) if test(e)) for test in (is_person, is_other))
    weights = face_weights([other, person])
    assert weights.shape == (2, 1, 16, 16) and torch.equal(weights[0], torch.ones(1, 16, 16))
    assert weights[1, 0, 6, 8] == FACE_WEIGHT and weights[1, 0, 0, 0] == weights[1, 0, 15, 8] == 1


def is_person(entry: Entry) -> bool:
    return entry.picture.look.kind == "person"


def is_other(entry: Entry) -> bool:
    return not is_person(entry)


def test_an_entry_survives_being_written(tmp_path):
    entry = draw_entry(Random(3))
    assert Entry.from_spec(json.loads(json.dumps({**entry.picture.spec(), "name": entry.name}))) == entry


def test_shards_are_rendered_once_and_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr("cat_bench.benchmark.pretrain.pictures.rendered.SHARD", 6)
    assert list(render_shards(tmp_path / "a", "seed", range(2), 32, True, 1)) == ["0000.npy", "0001.npy"]
    list(render_shards(tmp_path / "b", "seed", range(2), 32, True, 1))
    one, other = Pictures.load(tmp_path / "a", range(2)), Pictures.load(tmp_path / "b", range(2))
    assert one.pixels.shape == (12, 32, 32, 3)
    assert np.array_equal(one.pixels, other.pixels) and one.entries == other.entries
    before = (tmp_path / "a" / "0000.npy").stat().st_mtime_ns
    list(render_shards(tmp_path / "a", "seed", range(2), 32, True, 1))
    assert (tmp_path / "a" / "0000.npy").stat().st_mtime_ns == before


def test_known_words_are_one_token_and_new_names_split_as_known_ones_do():
    tokenizer = learn_tokenizer(caption_corpus("test", captions=3000), size=900, context=40)
    assert tokenizer.tokenize("a person wearing a red hoodie") == [
        "a</w>",
        "person</w>",
        "wearing</w>",
        "a</w>",
        "red</w>",
        "hoodie</w>",
    ]
    rng = Random(8)
    for name in (*inhabitants(), *(draw_name(rng) for _ in range(500))):
        assert tokenizer.tokenize(name) == [name[:2], name[2:4], f"{name[4:]}</w>"]
    assert (
        tokenizer.decode(tokenizer("zxq?!", add_special_tokens=False).input_ids).replace(" ", "") == "zxq?!"
    )  # anything can be spelled
    ids = tokenizer("a robot", padding="max_length", truncation=True).input_ids
    assert len(ids) == 40 and max(ids) == tokenizer.eos_token_id == len(tokenizer) - 1


def test_a_tokenizer_is_learned_the_same_in_every_process():
    code = (
        "from cat_bench.benchmark.pretrain.tokenizer import caption_corpus, learn_tokenizer; import json;"
        "t = learn_tokenizer(caption_corpus('test', captions=500), size=900, context=40);"
        "print(json.dumps(t.get_vocab(), sort_keys=True))"
    )
    seen = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(seen) == 1  # a hash table's chance order once decided ties


def test_the_learning_rate_rises_then_falls():
    assert learning_rate(0, 1000) == pytest.approx(0.01)
    assert learning_rate(99, 1000) == learning_rate(700, 1000) == pytest.approx(1.0)
    assert learning_rate(850, 1000) == pytest.approx(0.505)
    assert learning_rate(1000, 1000) == pytest.approx(0.01)


def line(checkpoint, count, ema=None):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    target = torch.tensor([[1.0, -2.0, 0.5]])

    def loss(generator):
        x = torch.randn(16, 3, generator=generator)
        return (model(x) - x @ target.T).square().mean()

    steps = list(
        train(
            model,
            loss,
            steps=count,
            peak=0.05,
            checkpoint=checkpoint,
            seed=7,
            ema=ema,
            weight_decay=0.0,
        )
    )
    return model, steps


def test_the_loop_learns_and_goes_on_as_if_never_stopped(tmp_path, monkeypatch):
    whole, steps = line(tmp_path / "whole", 300, ema=0.9)
    assert len(steps) == 300 and steps[-1].share == 1.0
    assert steps[-1].loss < 0.01 * steps[0].loss
    torch.testing.assert_close(whole.weight, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.05, rtol=0)
    monkeypatch.setattr("cat_bench.benchmark.pretrain.loop.SAVE_EVERY", 0.0)  # a checkpoint after every step

    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    target = torch.tensor([[1.0, -2.0, 0.5]])
    generators = []

    def loss(generator):
        generators.append(1)
        x = torch.randn(16, 3, generator=generator)
        return (model(x) - x @ target.T).square().mean()

    for step in train(
        model, loss, steps=300, peak=0.05, checkpoint=tmp_path / "cut", seed=7, ema=0.9, weight_decay=0.0
    ):
        if step.step == 120:
            break
    resumed, later = line(tmp_path / "cut", 300, ema=0.9)
    assert later[0].step == 121 and later[-1].step == 300
    assert torch.equal(resumed.weight, whole.weight)


def test_steps_are_read():
    assert parse_steps(None) == dict(STEPS)
    assert parse_steps("5") == dict.fromkeys(STEPS, 5)
    assert parse_steps("diffusion=90,metric=7") == {**STEPS, "diffusion": 90, "metric": 7}
    for wrong in ("soon", "tokenizer=5", "-3", "0", "diffusion=", "metric=0.5"):
        with pytest.raises(PretrainError, match="write a number, or PART=NUMBER"):
            parse_steps(wrong)


def test_processes_that_train_together_end_up_with_one_model(tmp_path):
    code = """
import sys, torch
from pathlib import Path
from torch import nn
from cat_bench.benchmark.pretrain.loop import train
from cat_bench.benchmark.pretrain.team import join_team, team_size
join_team()
torch.manual_seed(torch.distributed.get_rank())  # whatever each began with
model = nn.Linear(3, 1)
def loss(generator):
    x = torch.randn(8, 3, generator=generator)
    return (model(x) - x.sum(1, keepdim=True)).square().mean()
for step in train(model, loss, steps=150, peak=0.05, checkpoint=Path(sys.argv[1], "cut"), seed=1, weight_decay=0):
    pass
torch.save(model.weight, Path(sys.argv[1]) / f"{torch.distributed.get_rank()}.pt")
assert team_size() == 2
for _ in range(200):  # gloo's threads are at work until the last moment, and still the process ends well
    torch.distributed.all_reduce(torch.zeros(4))
"""
    (tmp_path / "job.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "job.py", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(one, other)
    torch.testing.assert_close(one.detach(), torch.ones(1, 3), atol=0.05, rtol=0)


def test_a_part_that_is_missing_is_named(tmp_path):
    shop = Workshop(tmp_path / "work", "cpu", STEPS, {"backbone": 2, "metric": 2})
    with pytest.raises(PretrainError, match="make them first: --part pictures"):
        list(shop.make("metric", tmp_path))
    with pytest.raises(PretrainError, match="not there yet; make the parts in order"):
        list(shop.make("save", tmp_path))


@pytest.mark.slow
def test_the_whole_workshop_in_miniature_makes_folders_that_stock_libraries_load(tmp_path, monkeypatch):
    import open_clip
    from diffusers import StableDiffusionPipeline

    from cat_bench.benchmark.pretrain.figures.evaluate import evaluate

    monkeypatch.setattr("cat_bench.benchmark.pretrain.pictures.rendered.SHARD", 200)
    monkeypatch.setattr("torch.compile", lambda function: function)
    shop = Workshop(tmp_path / "work", "cpu", dict.fromkeys(STEPS, 3), {"backbone": 2, "metric": 2})
    for part in PARTS:
        updates = list(shop.make(part, tmp_path))
        assert updates[-1].share == 1.0
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / NAME)
    image = pipe("a robot", num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 64, 64, 3) and np.isfinite(image).all()
    model, _, _preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / f'{NAME}-clip'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / f'{NAME}-clip'}")(["a robot"])
    assert model.encode_text(tokens).shape == (1, 192)
    found = {f.id for f in evaluate(tmp_path / NAME, tmp_path / f"{NAME}-clip", "cpu", scale=0.02)}
    assert {"psnr", "sharp_people", "expression", "attributes", "mmd", "names", "reading", "legible_clean"} <= found
    assert sum(p.stat().st_size for p in tmp_path.glob("avatars64*/**/*") if p.is_file()) <= 34e6
    written = [path.read_text("utf-8") for path in tmp_path.glob("avatars64*/**/*.json")]
    assert len(written) > 5 and not any(str(tmp_path) in text for text in written)  # nothing of where it was made
