"""The folder of pretraining: a team in it, what goes on from what, latents of another autoencoder, what is recorded."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.pretrain import loop, make, team
from cat_bench.benchmark.pretrain.arrays import save_array
from cat_bench.benchmark.pretrain.kept import digest
from cat_bench.benchmark.pretrain.loop import steps_done, train
from cat_bench.benchmark.pretrain.make import Workshop
from cat_bench.benchmark.pretrain.pictures.rendered import render_shards
from cat_bench.benchmark.pretrain.recipe import STEPS, PretrainError
from cat_bench.benchmark.store.files import plain_errors

SHARDS = {"backbone": 3, "metric": 2}
TEAM = """
import sys, time
from pathlib import Path
from cat_bench.benchmark.pretrain import tokenizer
from cat_bench.benchmark.pretrain.judge import lessons
from cat_bench.benchmark.pretrain.make import Update, Workshop
from cat_bench.benchmark.pretrain.pictures import rendered
from cat_bench.benchmark.pretrain.recipe import STEPS
from cat_bench.benchmark.pretrain.team import leads

rendered.SHARD = 4
here = Path(sys.argv[1])

def pictures(self, out):
    time.sleep(2)
    list(rendered.render_shards(here / "pairs", "seed", range(1), 32, True, 1))
    yield Update("pictures", 1.0)

def learn():
    (here / f"learned-{leads()}").touch()
    return tokenizer.learn_tokenizer(tokenizer.caption_corpus("test", captions=300), size=900, context=40)

def answers(picture, own=lessons.answers):
    (here / f"answered-{leads()}").touch()
    return own(picture)

def metric(self, out):
    assert (here / "pairs" / "0000.npy").exists()
    assert len(lessons._answers(here / "pairs", [0])) == 4
    assert len(tokenizer.kept_tokenizer(here / "words", learn)) > 400
    yield Update("metric", 1.0)

Workshop._pictures, Workshop._metric, lessons.answers = pictures, metric, answers
shop = Workshop(here / "work", "cpu", STEPS, {"backbone": 2, "metric": 2})
for part in ("pictures", "metric"):
    list(shop.make(part, here))
"""


def test_a_team_waits_for_the_one_that_draws_and_writes(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(TEAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "job.py", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*ed-*")} == {"learned-True", "answered-True"}
    assert not [*tmp_path.rglob("*.part")]


def test_a_team_has_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, timedelta] = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.init_process_group", lambda _, **settings: given.update(settings))
    monkeypatch.setattr("atexit.register", lambda _: None)
    threads = torch.get_num_threads()
    team.join_team()
    torch.set_num_threads(threads)
    assert given["timeout"] >= timedelta(hours=12)


def learn(checkpoint: Path, steps: int, until: int | None = None) -> tuple[nn.Linear, list[int]]:
    """A training of so many steps, broken off at one of them: the model and the steps done."""
    torch.manual_seed(0)
    model, done = nn.Linear(3, 1), []

    def loss(generator: torch.Generator) -> torch.Tensor:
        x = torch.randn(8, 3, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    for news in train(model, loss, steps=steps, peak=0.01, checkpoint=checkpoint, seed=1, ema=0.9):
        done.append(news.step)
        if news.step == until:
            break
    return model, done


def test_more_steps_go_on_from_where_the_learning_rate_began_to_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = learn(tmp_path / "whole.ckpt", 60)
    cut = tmp_path / "cut.ckpt"
    assert learn(cut, 30)[1] == [*range(1, 31)]
    assert learn(cut, 30)[1] == [] and learn(cut, 20)[1] == []  # nothing to do, and nothing forgotten
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)  # a checkpoint after every step
    assert learn(cut, 60, until=35)[1] == [*range(22, 36)]
    model, done = learn(cut, 60)  # broken off before the learning rate fell: on from the checkpoint
    assert done == [*range(36, 61)]
    assert torch.equal(model.weight, whole.weight)
    assert steps_done(cut) == 60 and steps_done(tmp_path / "none.ckpt") is None


def test_a_finished_checkpoint_that_does_not_say_its_steps_goes_on_too(tmp_path: Path) -> None:
    learn(tmp_path / "old.ckpt", 30)
    state = torch.load(tmp_path / "old.ckpt", weights_only=True)
    del state["towards"]
    torch.save(state, tmp_path / "old.ckpt")
    assert learn(tmp_path / "old.ckpt", 30)[1] == []
    assert learn(tmp_path / "old.ckpt", 40)[1] == [*range(22, 41)]
    (tmp_path / "old.plateau").unlink()
    assert learn(tmp_path / "old.ckpt", 50)[1] == [*range(41, 51)]


def test_a_diverged_training_is_one_line(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    training = train(
        model, lambda _: model.weight.sum() * np.nan, steps=3, peak=0.01, checkpoint=tmp_path / "metric.ckpt", seed=1
    )
    with pytest.raises(PretrainError, match=r"^metric: .* diverged at step 1, .* nan; .*: --part metric --afresh$"):
        list(training)


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(tmp_path / "a.ckpt", 4)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="no space left on the disk"), plain_errors(tmp_path):
        learn(tmp_path / "a.ckpt", 8)
    with pytest.raises(RunError, match="no space left on the disk"), plain_errors(tmp_path):
        save_array(tmp_path / "0001.npy", np.zeros(3))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def shop(folder: Path) -> Workshop:
    return Workshop(folder / "work", "cpu", STEPS, SHARDS)


def test_pairs_without_twins_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cat_bench.benchmark.pretrain.pictures.rendered.SHARD", 4)
    list(render_shards(tmp_path / "work" / "pictures" / "metric", "seed", range(2), 32, True, 1))
    with pytest.raises(PretrainError, match="twins has no twins of the pairs; make them first: --part pictures"):
        list(shop(tmp_path).make("metric", tmp_path))


def save_autoencoder(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(folder)


@pytest.fixture
def encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workshop with pictures and an autoencoder, whose latents are the numbers of the calls."""
    work, calls = tmp_path / "work", []

    def encode(*_: object) -> np.ndarray:
        calls.append(1)
        return np.full((4, 2), len(calls), np.float16)

    monkeypatch.setattr("cat_bench.benchmark.pretrain.pictures.rendered.SHARD", 4)
    monkeypatch.setattr(make, "encode", encode)
    list(render_shards(work / "pictures" / "backbone", "seed", range(3), 32, False, 1))
    save_autoencoder(work / "autoencoder", 0)
    return work


def latents(work: Path) -> list[float]:
    """The workshop's latents, those that lack made before."""
    list(shop(work.parent).make("latents", work.parent))
    return [float(np.load(work / "latents" / f"{shard:04d}.npy")[0, 0]) for shard in (1, 2)]


def test_latents_are_made_anew_when_the_autoencoder_is_another(encoded: Path) -> None:
    assert latents(encoded) == latents(encoded) == [1, 2]
    save_autoencoder(encoded / "autoencoder", 0)
    assert latents(encoded) == [1, 2]
    save_autoencoder(encoded / "autoencoder", 1)
    with pytest.raises(PretrainError, match="latents are another autoencoder's; make them anew: --part latents"):
        list(shop(encoded.parent).make("diffusion", encoded.parent))
    assert latents(encoded) == [3, 4]
    shop(encoded.parent).clear(["latents"])
    assert latents(encoded) == [5, 6]


def test_latents_of_unknown_origin_are_trusted_until_the_autoencoder_is_replaced(encoded: Path) -> None:
    latents(encoded)
    (encoded / "latents.json").unlink()
    (encoded / "diffusion.ckpt").touch()
    save_autoencoder(encoded / "autoencoder", 1)
    assert latents(encoded) == [1, 2]
    (encoded / "latents.json").unlink()
    before = digest(encoded / "autoencoder")
    shop(encoded.parent).clear(["autoencoder"])
    assert not (encoded / "autoencoder").exists()
    for part in ("latents", "diffusion"):
        assert json.loads((encoded / f"{part}.json").read_text()) == {"autoencoder": before}
    save_autoencoder(encoded / "autoencoder", 2)
    assert latents(encoded) == [3, 4]
    with pytest.raises(PretrainError, match="start it over: --part diffusion,save --afresh"):
        list(shop(encoded.parent).make("diffusion", encoded.parent))


def test_a_newly_trained_autoencoder_gives_the_old_latents_their_name(
    encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents(encoded)
    (encoded / "latents.json").unlink()
    torch.manual_seed(5)
    new = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    monkeypatch.setattr(make, "train_autoencoder", lambda *_: iter([new]))
    list(shop(encoded.parent).make("autoencoder", encoded.parent))
    assert latents(encoded) == [3, 4]


def test_what_was_done_is_recorded_and_not_what_was_asked_for(tmp_path: Path) -> None:
    kept, work = shop(tmp_path).kept, tmp_path / "work"
    (work / "latents").mkdir(parents=True)
    save_array(kept.latents(1), np.zeros(3))
    torch.save({"step": 7}, kept.checkpoint("diffusion"))
    found = kept.made_by()
    assert found["steps"] == {"metric": None, "autoencoder": None, "diffusion": 7}
    assert found["shards"] == {"backbone": 2, "metric": 1}
    kept.note_done("diffusion", shards=2)
    torch.save({"step": 9}, kept.checkpoint("diffusion"))  # gone on, but nothing of it is saved yet
    save_array(kept.latents(2), np.zeros(3))
    found = kept.made_by()
    assert found["steps"]["diffusion"] == 7 and found["shards"]["backbone"] == 2
