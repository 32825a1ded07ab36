"""Every further method on the tiny backbones: two concepts, each stage by a new instance; what is exported of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from finished_run import drawn, finish, largest, stock
from PIL import Image

from cat_bench.benchmark.artifacts.export import WEIGHTS, export
from cat_bench.benchmark.artifacts.learned import open_stage
from cat_bench.benchmark.cli import main as cli
from cat_bench.benchmark.errors import ExportError
from cat_bench.results.records.images import StageImages

ROUTED = ("cidm", "isolated")
METHODS = (
    *("catmulti", "dreambooth", "ewc", "genreplay", "joint", "lwf", "olora", "orthoadapt", "replay", "ties", "token"),
    *ROUTED,
)
FEW: dict[str, Any] = {
    **{method: {"images": 2} for method in ("dreambooth", "genreplay")},
    "ewc": {"items": 2},
    "token": {"lr": 0.3},
}


@pytest.fixture(scope="module")
def finished(tiny_backbone_folder: Path, tiny_metric_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("more"), tiny_backbone_folder, tiny_metric_folder, METHODS, **FEW)


def record(run: Path, method: str, stage: int = 2) -> dict[str, Any]:
    (place,) = (run / method / "order0-seed0").glob(f"{stage:02d}-*/stage.json")
    found: dict[str, Any] = json.loads(place.read_text("utf-8"))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_two_concepts_are_learned_and_drawn(method: str, finished: Path) -> None:
    cell = json.loads((finished / method / "order0-seed0" / "cell.json").read_text("utf-8"))
    assert cell["status"] == "ok", cell["reason"]
    assert record(finished, method)["bytes_carried"] > 0


def test_what_is_carried_is_counted(finished: Path) -> None:
    kept = record(finished, "replay")["bytes_carried"] - record(finished, "lwf")["bytes_carried"]
    assert 2 * 4 * 8 * 8 * 4 < kept < 2 * 4 * 8 * 8 * 4 + 1000, "a latent of each of two concepts, and its caption"
    assert record(finished, "ewc")["bytes_carried"] == 2 * record(finished, "lwf")["bytes_carried"]
    assert record(finished, "token")["bytes_carried"] < 1000
    assert record(finished, "token")["trainable_parameters"] < 100
    assert record(finished, "isolated")["bytes_carried"] == 2 * record(finished, "isolated", 1)["bytes_carried"]


@pytest.mark.parametrize("method", [method for method in METHODS if method not in (*ROUTED, "token")])
def test_stock_diffusers_draws_the_runs_own_images(method: str, finished: Path, tmp_path: Path) -> None:
    learned = open_stage(finished, method)
    adapter = export(learned, tmp_path / "out", rank=10**6 if learned.dense else None)
    pipe = DiffusionPipeline.from_pretrained(learned.run.spec.backbone)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="dpmsolver++")
    pipe.load_lora_weights(tmp_path / "out", weight_name=WEIGHTS)
    texts, seeds, own = drawn(finished, method)
    assert adapter.error < 1e-5 and largest(stock(pipe, texts, seeds), own) <= 2


@pytest.mark.parametrize("method", ROUTED)
def test_what_draws_each_prompt_with_other_weights_is_no_single_lora(
    method: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match=f"^{method} draws every prompt with weights of its own"):
        export(open_stage(finished, method), tmp_path / "out")
    texts, seeds, own = drawn(finished, method)
    for number in (0, len(texts) - 1):
        given = ["--prompt", texts[number], "--seeds", f"{seeds[number]}-{seeds[number]}"]
        out = tmp_path / str(number)
        monkeypatch.setattr(sys, "argv", ["cat-bench", "sample", str(finished), "--method", method, *given])
        sys.argv += ["--out", str(out)]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert largest(np.asarray(Image.open(out / f"01-{seeds[number]}.png")), own[number]) <= 1


def test_isolated_forgets_nothing_and_leaves_the_backbone_alone(finished: Path) -> None:
    cell = finished / "isolated" / "order0-seed0"
    first, again, base = (
        images(next(place)) for place in (cell.glob("01-*"), cell.glob("02-*"), iter([finished / "base"]))
    )
    of_concept = [path for path in first if not path.startswith(("preservation/", "diversity/"))]
    kept = [path for path in again if path.startswith("preservation/")]
    assert of_concept and kept
    assert all(again[path] == first[path] for path in of_concept)
    assert all(again[path] == base[path] for path in kept)


def images(stage: Path) -> dict[str, bytes]:
    """A stage's images by path."""
    file = StageImages(stage / "images.parquet")
    return dict(zip((row.path for row in file.rows), file.pngs(0, len(file)), strict=True))


@pytest.mark.slow
def test_all_of_them_on_stable_diffusion_xl(
    tiny_families: dict[str, Path], tiny_metric_folder: Path, tmp_path: Path
) -> None:
    run = finish(tmp_path, tiny_families["sdxl"], tiny_metric_folder, METHODS, **FEW)
    for method in METHODS:
        cell = json.loads((run / method / "order0-seed0" / "cell.json").read_text("utf-8"))
        assert cell["status"] == "ok", (method, cell["reason"])
