"""Measure how long a large run takes to start, and in how much memory: 200 cells whose stages are there already.

    python -m cat_bench.benchmark.studies.growth --concepts 5 --concepts 50

Nothing is learned or drawn: the stages have true keys and records, and files without content. Each start is a process
of its own, so that its imports count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cat_bench.benchmark.execution.cell import end_ok
from cat_bench.benchmark.execution.completion import mark_complete
from cat_bench.benchmark.planning.keys import ADAPTER, EMBEDDINGS, IMAGES, SCORES
from cat_bench.benchmark.planning.plan import Plan, StagePlan, make_plan
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.store.record import RUN, write_run
from cat_bench.benchmark.store.stage import RECORD
from cat_bench.benchmark.system import provenance
from cat_bench.benchmark.text_to_image.models import TextToImage
from cat_bench.tasks.entries import AvatarEntry, read_entry
from cat_bench.tasks.sequence import Sequence, load_sequence

METHODS = ("lora", "cat", "merge", "ortho", "magmax")  # with forty seeds of each: 200 cells
SEEDS = 40
NAME = "large"

# Until the work is known, or until the run has ended where nothing is left to do.
_START = """
import json, sys, time
began = time.monotonic()
from pathlib import Path
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.planning.events import Planned
from cat_bench.benchmark.planning.spec import resolve
from cat_bench.benchmark.system.provenance import peak_memory
for event in run(resolve(json.loads(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]):
    if isinstance(event, Planned):
        planned = event
        if planned.ready < planned.stages:
            break
print(time.monotonic() - began, peak_memory() / 2**20, planned.ready, planned.stages)
"""


def write_sequence(concepts: int, path: Path) -> None:
    """A sequence of so many people: those of faces5 over and over, each time under another name."""
    entry, _ = read_entry("faces5")
    looks = [concept for concept in entry.concept if isinstance(concept, AvatarEntry)]
    lines = [f"{key} = {json.dumps(value)}" for key, value in (("id", NAME), ("version", "1"), ("title", "Large"))]
    lines += ['license = "CC0-1.0"', 'citation = "nobody"', *_table("prompts", entry.prompts)]
    lines += _table("preservation", entry.preservation)
    for number in range(concepts):
        look = looks[number % len(looks)]
        lines += ["[[concept]]", f'id = "person{number}"', f'kind = "{look.kind}"']
        lines += [f"{key} = {{ {_pairs(value)} }}" for key, value in (("parts", look.parts), ("colors", look.colors))]
    path.write_text("\n".join(lines), encoding="utf-8")


def _table(name: str, lists: Any) -> list[str]:
    return [f"[{name}]", *(f"{key} = {json.dumps(texts)}" for key, texts in lists.items())]


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())


def finished(spec: RunSpec, sequence: Sequence, runs: Path) -> Plan:
    """A run of which everything is there, as far as can be told from records and names of files."""
    domain = TextToImage()
    spec = domain.settled(spec).model_copy(update={"sequence": sequence.id})
    plan = make_plan(spec, runs / NAME, sequence, domain.identity(spec))
    common: dict[str, Any] = {"status": "ok", "versions": provenance.versions(), "protocol": plan.protocol}
    common |= {"seconds": {"train": 1.0, "sample": 1.0, "score": 1.0}, "made": {}, "files": 4}
    for stage in plan.stages:
        _place(stage, common)
    (plan.folder / "references").mkdir()
    (plan.folder / "references" / "references.json").write_text(json.dumps({"key": plan.references_key}))
    write_run(plan)
    for cell in plan.cells:
        end_ok(cell, plan)
    mark_complete(plan, domain)
    return plan


def _place(stage: StagePlan, common: dict[str, Any]) -> None:
    stage.place.mkdir(parents=True)
    for name in (ADAPTER, IMAGES, EMBEDDINGS, SCORES):
        (stage.place / name).touch()
    record = {**asdict(stage.keys), **stage.labels, "stage": stage.number, **common}
    (stage.place / RECORD).write_text(json.dumps(record, indent=2))


def start(spec: dict[str, Any], runs: Path) -> str:
    """Give the command; what it took, as the cells of a table."""
    command = [sys.executable, "-c", _START, json.dumps(spec), str(runs), NAME]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak, ready, stages = printed.split()
    return f"{ready} of {stages} | {float(seconds):.1f} s | {float(peak):.0f} MiB"


def rows(concepts: int, seeds: int, folder: Path) -> list[str]:
    """Markdown lines of a run with so many concepts."""
    written, runs = folder / "large.toml", folder / "runs"
    write_sequence(concepts, written)
    given: dict[str, Any] = {"sequence": str(written), "methods": METHODS, "seeds": tuple(range(seeds))}
    plan = finished(resolve(given), load_sequence(written), runs)
    size = f"| {len(plan.cells)} × {concepts}"
    lines = [f"{size} | finished | {start(given, runs)} |"]
    record = json.loads((plan.folder / RUN).read_text())
    del record["complete"]
    (plan.folder / RUN).write_text(json.dumps(record))
    lines.append(f"{size} | finished, but not known to be | {start(given, runs)} |")
    return [*lines, f"{size} | five cells short | {start({**given, 'seeds': tuple(range(seeds + 1))}, runs)} |"]


def main(
    concepts: Annotated[
        list[int] | None, typer.Option(help="Of the sequence; again for more.  [default: 5 50]")
    ] = None,
    seeds: Annotated[int, typer.Option(help="For each of the five methods.")] = SEEDS,
) -> None:
    """Print a Markdown table of what starting takes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    typer.echo("| cells × concepts | the run is | stages ready | time | memory |")
    typer.echo("| --- | --- | --- | --- | --- |")
    for count in concepts or [5, 50]:
        with tempfile.TemporaryDirectory() as folder:
            for line in rows(count, seeds, Path(folder)):
                typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
