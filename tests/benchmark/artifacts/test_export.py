"""What was taken away draws, in stock diffusers, what the run drew."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from finished_run import drawn, finish, largest, stock
from safetensors.torch import load_file, save_file

from cat_bench.benchmark.artifacts.export import WEIGHTS, export, learned_tokens
from cat_bench.benchmark.artifacts.learned import open_stage
from cat_bench.benchmark.artifacts.output_folder import own_folder
from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.errors import ExportError, RunError
from cat_bench.benchmark.learning.low_rank import concatenated, truncated
from cat_bench.methods.errors import MethodError

METHODS = ("lora", "cat", "merge", "ortho", "magmax", "clora")
LEVELS = 2  # of 255: sums in another order, and a value on the edge of two levels


@pytest.fixture(scope="module")
def finished(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("six"), tiny_backbone_folder, tiny_metric_folder, METHODS)


@pytest.fixture(scope="module")
def released(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, variant = tmp_path_factory.mktemp("released"), {"variant": "released"}
    return finish(folder, tiny_backbone_folder, tiny_metric_folder, ("ortho",), ortho=variant)


@pytest.fixture(scope="module")
def sdxl(tiny_families: dict[str, Path], tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two text encoders; as in published models, one is stored in half precision and one misstates its end of text."""
    model = shutil.copytree(tiny_families["sdxl"], tmp_path_factory.mktemp("pipelines") / "sdxl")
    weights = model / "text_encoder" / "model.safetensors"
    half = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(half, weights, metadata={"format": "pt"})
    config = model / "text_encoder_2" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": 2}))
    return finish(
        tmp_path_factory.mktemp("sdxl"), model, tiny_metric_folder, ("cat", "magmax", "clora"), clora={"lr": 0.2}
    )


@pytest.fixture(params=[*METHODS, "released", "sdxl cat", "sdxl magmax", "sdxl clora"])
def case(request: pytest.FixtureRequest) -> tuple[Path, str]:
    if request.param == "released":
        return request.getfixturevalue("released"), "ortho"
    if request.param.startswith("sdxl"):
        return request.getfixturevalue("sdxl"), request.param.removeprefix("sdxl ")
    return request.getfixturevalue("finished"), request.param


def as_the_card_says(folder: Path, base: str) -> Any:
    """The pipeline that the code on the card makes."""
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    assert code is not None
    text = re.sub(r"^base = .*$", f"base = {base!r}", code[1], flags=re.MULTILINE)
    text = re.sub(r"^folder = .*$", f"folder = {str(folder)!r}", text, flags=re.MULTILINE)
    names: dict[str, Any] = {}
    exec(text, names)
    return names["pipe"]


def test_stock_diffusers_draws_the_runs_own_images(case: tuple[Path, str], tmp_path: Path) -> None:
    run, method = case
    learned = open_stage(run, method)
    texts, seeds, own = drawn(run, method)
    adapter = export(learned, tmp_path / "out", rank=10**6 if learned.dense else None)
    assert adapter.error < 1e-5
    pipe = as_the_card_says(tmp_path / "out", learned.run.spec.backbone)
    assert largest(stock(pipe, texts, seeds), own) <= LEVELS

    bare = DiffusionPipeline.from_pretrained(learned.run.spec.backbone, torch_dtype=torch.float32)
    bare.scheduler = DPMSolverMultistepScheduler.from_config(bare.scheduler.config, algorithm_type="dpmsolver++")
    assert largest(stock(bare, texts, seeds), own) > 10 * LEVELS
    bare.load_lora_weights(tmp_path / "out", weight_name=WEIGHTS)
    without_tokens = largest(stock(bare, texts, seeds), own)
    assert without_tokens > LEVELS if learned.tokens else without_tokens <= LEVELS


def test_the_end_of_a_prompt_is_found_behind_a_learned_word(sdxl: Path, tmp_path: Path) -> None:
    learned = open_stage(sdxl, "clora")
    texts, seeds, own = drawn(sdxl, "clora")
    export(learned, tmp_path / "out")
    pipe = as_the_card_says(tmp_path / "out", learned.run.spec.backbone)
    pipe.text_encoder_2.text_model.eos_token_id = 2  # without the card's line: the new word has the highest id
    assert largest(stock(pipe, texts, seeds), own) > LEVELS


def test_an_earlier_stage_is_what_it_was(finished: Path, tmp_path: Path) -> None:
    first, last = (open_stage(finished, "merge", stage) for stage in ("1", None))
    texts, seeds, own = drawn(finished, "merge", 1)
    assert export(first, tmp_path / "1").rank == 2 and export(last, tmp_path / "2").rank == 4
    earlier, later = (as_the_card_says(tmp_path / n, first.run.spec.backbone) for n in "12")
    assert largest(stock(earlier, texts, seeds), own) <= LEVELS < largest(stock(later, texts, seeds), own)


def test_a_dense_change_is_cut_where_it_says(finished: Path, tmp_path: Path) -> None:
    learned = open_stage(finished, "magmax")
    adapter = export(learned, tmp_path / "out")
    written = load_file(tmp_path / "out" / WEIGHTS)

    def error(rank: int) -> float:
        left = total = 0.0
        for delta in learned.deltas.values():
            values = np.linalg.svd(delta.double().numpy(), compute_uv=False)
            left, total = left + float((values[rank:] ** 2).sum()), total + float((values**2).sum())
        return float((left / total) ** 0.5)

    missing = [
        torch.linalg.norm(delta - written[f"unet.{n}.lora_B.weight"] @ written[f"unet.{n}.lora_A.weight"])
        for n, delta in learned.deltas.items()
    ]
    whole = torch.stack([torch.linalg.norm(delta) for delta in learned.deltas.values()])
    measured = float(torch.linalg.norm(torch.stack(missing)) / torch.linalg.norm(whole))
    assert adapter.error == pytest.approx(measured, rel=1e-3) == pytest.approx(error(adapter.rank), rel=1e-3)
    assert error(adapter.rank) <= 0.01 < error(adapter.rank - 1)
    assert export(learned, tmp_path / "out", rank=3).error == pytest.approx(error(3), rel=1e-3)  # replaces its own
    assert json.loads((tmp_path / "out" / "export.json").read_text())["rank"] == 3
    assert f"{error(3):.2g}" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert truncated(open_stage(finished, "merge").deltas, 4).error < 1e-6  # of that rank already


def test_layers_of_any_size_get_one_rank() -> None:
    small, large = torch.randn(2, 5), torch.randn(7, 6)
    whole = truncated({"small": small, "large": large}, 10**6)
    assert whole.rank == 6
    for name, delta in (("small", small), ("large", large)):
        A, B = whole.layers[name]
        assert A.shape[0] == B.shape[1] == 6
        torch.testing.assert_close(B @ A, delta)
    nothing = truncated({"a": torch.zeros(3, 3)})
    assert (nothing.rank, nothing.error) == (1, 0.0)
    twice = concatenated([{"a": (torch.eye(2), torch.eye(2))}, {"a": (torch.ones(1, 2), torch.ones(2, 1))}])
    torch.testing.assert_close(twice.layers["a"][1] @ twice.layers["a"][0], torch.eye(2) + 1)


def test_a_word_the_tokenizer_knows_is_put_in_brackets(finished: Path, tmp_path: Path) -> None:
    learned = open_stage(finished, "clora")
    trigger = learned.concepts[0].trigger
    concepts = (dataclasses.replace(learned.concepts[0], trigger="pers"), learned.concepts[1])
    renamed = {"pers" if name == trigger else name: token for name, token in learned.tokens.items()}
    known = dataclasses.replace(learned, concepts=concepts, tokens=renamed)
    assert [token.word for token in learned_tokens(known)] == ["<pers>", learned.concepts[1].trigger]
    export(known, tmp_path / "out")
    pipe = as_the_card_says(tmp_path / "out", learned.run.spec.backbone)
    texts, seeds, own = drawn(finished, "clora")
    assert largest(stock(pipe, [text.replace(trigger, "<pers>") for text in texts], seeds), own) <= LEVELS
    assert "`a photo of <pers>`" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_tokens_of_two_encoders_lie_side_by_side(finished: Path) -> None:
    learned = open_stage(finished, "clora")
    wide = {name: torch.cat([token, torch.ones(1, 40)], dim=1) for name, token in learned.tokens.items()}
    for token in learned_tokens(dataclasses.replace(learned, tokens=wide)):
        assert token.two
        torch.testing.assert_close(token.parts["clip_l"], learned.tokens[token.trigger])
        torch.testing.assert_close(token.parts["clip_g"], torch.ones(1, 40))


def test_the_card_has_the_stages_scores(finished: Path, tmp_path: Path) -> None:
    import pandas as pd

    learned = open_stage(finished, "cat", "mikato")
    export(learned, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    here, base = (pd.read_parquet(path / "scores.parquet") for path in (learned.folder, finished / "base"))
    for concept in learned.concepts:
        cells = []
        for table in (here, base[base["method"] == "base"], base[base["method"] == "real"]):
            rows = table[(table["metric"] == "clip_i") & (table["concept"] == concept.id)]
            cells.append(f"{rows['value'].mean():.3f}")
        assert "| {} ({} … {}) |".format(*cells) in text
        assert f"`a photo of {concept.trigger} {concept.noun}`" in text
    for part in ("2404.07554", "lr 0.03", "weight 1", learned.run.info["backbone"]["fingerprint"][:16], "## Licence"):
        assert part in text


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cat-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", [["export"], ["sample", "--prompt", "a {}"]])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["smoke3", "--method", "cat"], "there is no run 'smoke3' in runs (there: smoke2)"),
        (["smoke2", "--method", "catt"], "method 'catt' is not in runs/smoke2; did you mean 'cat'?"),
        (["smoke2", "--method", "cat", "--stage", "3"], "no stage '3'; give 1 to 2 or a concept: vadoro, mikato"),
        (["smoke2", "--method", "cat", "--stage", "sibol"], "no stage 'sibol'"),
        (["smoke2", "--method", "cat", "--seed", "7"], "has no seed 7; its orders with their seeds: 0 with 0"),
        (
            ["smoke2", "--method", "lora"],
            "last stage is not finished (the cell is ok); finished stages: 1 (vadoro)",
        ),
        (["smoke2", "--method", "lora", "--stage", "mikato"], "stage mikato is not finished"),
        (["smoke2", "--method", "merge"], "finished stages: none"),
        (["smoke2", "--method", "magmax"], "stage 1 is not there, and later ones go on from it"),
        (["smoke2", "--method", "magmax", "--stage", "mikato"], "stage 1 is not there, and later ones go on from it"),
        (["smoke2", "--method", "cat", "--out", "taken"], "taken holds mine.txt, which this command did not write"),
        (["smoke2", "--method", "cat", "--out", "file"], "file is in the way: it is no folder"),
        (["smoke2"], "Missing option '--method'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    command: list[str],
    arguments: list[str],
    says: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished, tmp_path / "runs" / "smoke2")
    (tmp_path / "runs/smoke2/lora/order0-seed0/02-mikato/stage.json").unlink()
    shutil.rmtree(tmp_path / "runs/smoke2/merge")
    shutil.rmtree(tmp_path / "runs/smoke2/magmax/order0-seed0/01-vadoro")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert call(monkeypatch, *command, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1
    assert err.startswith("cat-bench: ") and says in err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_what_it_wrote(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "export", str(finished), "--method", "magmax", "--out", str(tmp_path / "out")) == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "out") in out and re.search(r"rank \d+, relative error 0\.0", out)
    assert call(monkeypatch, "export", str(finished), "--method", "cat", "--stage", "vadoro") == 0
    assert "rank 2, exact" in capsys.readouterr().out
    made = finished / "exports" / "cat-01-vadoro"
    assert sorted(path.name for path in made.iterdir()) == ["README.md", "export.json", WEIGHTS]
    assert call(monkeypatch, "export", str(finished), "--method", "cat", "--rank", "0") == 2
    shutil.rmtree(finished / "exports")


def test_a_record_or_an_adapter_that_cannot_be_used_is_one_line(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    adapter = run / "cat/order0-seed0/02-mikato/adapter.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"adapter\.safetensors cannot be read"):
        open_stage(run, "cat")
    stage = run / "lora/order0-seed0/02-mikato/stage.json"
    stage.write_text(stage.read_text().replace('"rank": 2', '"rnak": 2'))
    with pytest.raises(MethodError, match="no setting 'rnak'; did you mean 'rank'"):
        open_stage(run, "lora")
    record = json.loads((run / "run.json").read_text())
    del record["sequence"]["names"]
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="lacks what this version records"):
        open_stage(run, "cat")


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with own_folder(out, "record.json", {"a": 1}) as folder:
        (folder / "one").write_text("1")
    with pytest.raises(KeyError), own_folder(out, "record.json", {}) as folder:
        (folder / "two").write_text("2")
        raise KeyError
    assert sorted(path.name for path in out.iterdir()) == ["one", "record.json"]
    with own_folder(out, "record.json", {}) as folder:
        (folder / "two").write_text("2")
    assert sorted(path.name for path in out.iterdir()) == ["record.json", "two"]
    (out / "mine").touch()
    with pytest.raises(ExportError, match="holds mine"), own_folder(out, "record.json", {}):
        raise AssertionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
