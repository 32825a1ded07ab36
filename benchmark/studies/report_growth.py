"""How a report grows: a finished run that was never computed, of any size, and what it costs to sum it up.

    python -m cat_bench.benchmark.studies.report_growth --cells 200 --concepts 20

Its rows are as many as a run leaves and of the same kinds, its values are random, its pictures are absent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

METHODS = ("lora", "cat", "merge", "ortho", "magmax")
PROMPTS, DIVERSE = 8, 16  # of a concept; images of "a NOUN"
STRATA = {"class": 8, "other": 16, "named": 8}
OF_AN_IMAGE = (
    *("clip_i", "clip_t", "concept_accuracy", "copying", "part_accuracy", "held_out_accuracy"),
    *("scene_accuracy", "readable", "class_accuracy"),
)
OF_A_SET = ("mmd", "class_mmd")
RUN = {"sequence": "growth", "backbone": "none", "protocol": "0" * 64, "extractor": "none-clip"}
COMMANDS = {
    "report": "from cat_bench.benchmark.cli.main import main; main()",
    "show": "from cat_bench.benchmark.cli.main import main; main()",
    "summary": "from cat_bench.results.tables.formats import summary_table; summary_table(sys.argv[2])",
}


@dataclass(frozen=True)
class Size:
    """Of a run: how many cells, concepts and images a prompt."""

    cells: int
    concepts: int
    images: int = 4

    @property
    def names(self) -> list[str]:
        """The concepts' ids."""
        return [f"concept{number:02d}" for number in range(self.concepts)]


def write_run(folder: Path, size: Size) -> None:
    """Write the run's folder as a true run leaves it, without adapters, embeddings and pictures.

    Seeds of a method share their tables by hard link, as runs share stages: whose rows they are says the folder.
    """
    from cat_bench.benchmark.store.files import write_json

    seeds = -(-size.cells // len(METHODS))
    cells = [(method, seed) for seed in range(seeds) for method in METHODS][: size.cells]
    spec = {"sequence": RUN["sequence"], "methods": METHODS[: size.cells], "orders": [0], "seeds": list(range(seeds))}
    (folder / "base").mkdir(parents=True)
    write_json(folder / "run.json", {"spec": spec, "sequence": {"id": RUN["sequence"], "concepts": size.names}})
    still = [{"method": name, "order": None, "seed": None} for name in ("base", "other_noise", "real")]
    _write(folder / "base", 0, size, still)
    for method, seed in cells:
        place = folder / method / f"order0-seed{seed}"
        for stage, concept in enumerate(size.names, 1):
            here = place / f"{stage:02d}-{concept}"
            here.mkdir(parents=True)
            if seed == 0:
                _write(here, stage, size, [{"method": method, "order": 0, "seed": seed}])
            else:
                (here / "scores.parquet").hardlink_to(place.with_name("order0-seed0") / here.name / "scores.parquet")
            record: dict[str, Any] = {
                "stage": stage,
                "concept": concept,
                "status": "ok",
                "peak_memory_bytes": 10**9,
                "delta_norm": 1.0,
            }
            record |= {"seconds": {"train": 9.0, "sample": 8.0, "score": 0.5}, "files": 1}
            write_json(here / "stage.json", record)
        write_json(place / "cell.json", {"status": "ok", "reason": None})


def _write(folder: Path, stage: int, size: Size, labels: list[dict[str, Any]]) -> None:
    from cat_bench.results.records.long_table import frame, write_scores

    blocks = [
        {**RUN, **label, "stage": stage, **block} for label in labels for block in _blocks(label["method"], stage, size)
    ]
    write_scores(frame(blocks), folder / "scores.parquet")


def _blocks(method: str, stage: int, size: Size) -> Iterator[dict[str, Any]]:
    """The rows of a stage, block by block."""
    draws = np.random.default_rng(list(f"{method} {stage}".encode()))
    drawn, images = size.names[:stage] or size.names, PROMPTS * size.images
    which = {"prompt": np.arange(images) // size.images, "image": np.arange(images) % size.images}
    for concept in drawn if method != "other_noise" else ():
        image: dict[str, Any] = {"concept": concept, "noise": draws.integers(0, 2**63 - 1, images), **which}
        for metric in OF_AN_IMAGE:
            yield {**image, "metric": metric, "value": draws.random(images), **_seen(metric, drawn, draws, images)}
        for metric in OF_A_SET:
            yield {"concept": concept, "metric": metric, "value": draws.random(), "n": images}
    for name, count in (("class", STRATA["class"]), ("person", DIVERSE)):
        image = {"concept": name, "metric": "class_leak", "prompt": np.arange(count), "image": 0}
        yield {**image, "value": draws.random(count), **_seen("class_leak", drawn, draws, count)}
    yield {"concept": "person", "metric": "class_diversity", "value": 1.0, "n": DIVERSE}
    for stratum, count in STRATA.items():
        image = {"concept": stratum, "prompt": np.arange(count), "image": 0}
        yield {**image, "metric": "kps_cos", "value": draws.random(count)}
    for stratum in (*STRATA, "all"):
        yield {"concept": stratum, "metric": "kps", "value": draws.random(), "n": STRATA.get(stratum, 32)}


def _seen(metric: str, drawn: list[str], draws: np.random.Generator, count: int) -> dict[str, Any]:
    """Who was recognised, of the metrics that say so."""
    if metric not in ("concept_accuracy", "class_leak"):
        return {}
    names = np.array([*drawn, "nobody"], dtype=object)
    return {"seen": draws.choice(names, count), "margin": draws.normal(size=count)}


def rows(folder: Path) -> int:
    """Of the long table."""
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(path).metadata.num_rows for path in folder.glob("**/[0-9]*-*/scores.parquet"))


def cost(command: str, folder: Path) -> tuple[float, float, float]:
    """Seconds, those of them computing, and peak GiB of a command on a run, in a process of its own.

    Raises RuntimeError if it fails.
    """
    began = time.monotonic()
    program = [sys.executable, "-c", f"import sys; {COMMANDS[command]}", command, str(folder)]
    child = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} of {folder} ended with {child.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def main(
    cells: Annotated[int, typer.Option(help="Of the run.")] = 200,
    concepts: Annotated[int, typer.Option(help="Learned by each cell.")] = 20,
    images: Annotated[int, typer.Option(help="For each evaluation prompt.")] = 4,
    command: Annotated[list[str] | None, typer.Option(help=f"{', '.join(COMMANDS)}; again for more.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder to make the run in, and to keep it.")] = None,
) -> None:
    """Print a Markdown table of seconds and peak memory."""
    with tempfile.TemporaryDirectory() as passing:
        folder = (runs or Path(passing)) / f"growth-{cells}-{concepts}-{images}"
        if not folder.is_dir():
            write_run(folder, Size(cells, concepts, images))
        typer.echo(f"{cells} cells, {concepts} concepts, {images} images a prompt: {rows(folder):,} rows\n", err=True)
        typer.echo("| command | seconds | of the processor | peak, GiB |\n| --- | --- | --- | --- |")
        for name in command or list(COMMANDS):
            seconds, computing, memory = cost(name, folder)
            typer.echo(f"| {name} | {seconds:.1f} | {computing:.1f} | {memory:.2f} |")


if __name__ == "__main__":
    typer.run(main)
