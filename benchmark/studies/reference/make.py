"""The reference results made: run part by part, then packed with tables and grids."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning.spec import resolve, suggestion
from cat_bench.benchmark.store.files import plain_errors
from cat_bench.benchmark.studies.command import carry_out
from cat_bench.benchmark.studies.reference.asked import Asked, asked
from cat_bench.results.leaderboard.pictures import small_png
from cat_bench.results.pictures.grids import method_grid
from cat_bench.results.records.long_table import write_atomically
from cat_bench.results.records.packed import pack
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report import reading
from cat_bench.results.report.report import write_csv
from cat_bench.results.tables.formats import group_tables, headline, markdown
from cat_bench.results.tables.summary import summarise
from cat_bench.results.tables.verdicts import verdict_frame, verdict_page, verdicts


def write_reference(run_folder: Path, out: Path, command: str) -> Path:
    """Pack a run into `out`, a folder of its sequence's name, with tables and one grid a method; the folder.

    command: by which it was made, for run.json. Raises ResultError if a cell has no figures.
    """
    run = Run.open(run_folder)
    if trouble := reading.trouble(run):
        raise SpecError(f"{run_folder} is not whole: {trouble[0]}")
    folder = out / run.sequence
    pack(run.folder, {**run.info, "reference": {"command": command}}, run.cells, folder)
    summary = summarise(run)
    compared = verdicts(run, summary)
    tables = markdown((headline(summary), *group_tables(summary)), (), reading.mixtures(run))
    write_atomically(folder / "summary.md", tables.encode())
    write_atomically(folder / "verdicts.md", verdict_page(compared, summary).encode())
    write_csv(verdict_frame(compared), folder / "verdicts.csv")
    grids = {f"{grid.name}.png": grid.png for grid in (method_grid(run, run.of(method)[0]) for method in run.methods)}
    for name, png in grids.items():
        write_atomically(folder / "grids" / name, small_png(Image.open(io.BytesIO(png)).convert("RGB")))
    for stale in (folder / "grids").glob("*.png"):
        if stale.name not in grids:
            stale.unlink()
    return folder


def chosen(only: list[str] | None, replicates: int | None) -> tuple[Asked, ...]:
    """What is made. Raises SpecError for a sequence that has no part in it."""
    every = {one.sequence: one for one in asked()}
    if odd := next((name for name in only or () if name not in every), None):
        raise SpecError(f"--only {odd}: no such reference results{suggestion(odd, list(every))}")
    found = [one for name, one in every.items() if not only or name in only]
    return tuple(one if replicates is None else one.of(replicates) for one in found)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only this sequence; again for more.")] = None,
    replicates: Annotated[
        int | None, typer.Option(min=1, help="Of every method.  [default: 5; 10 of faces5's first six]")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Name or diffusers folder.")] = "avatars64.v2",
    workers: Annotated[int, typer.Option(min=0, help="How many stages are made at once; 0: as many as pay.")] = 0,
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.")] = Path("runs"),
    out: Annotated[Path, typer.Option(help="Where the results are written.")] = Path("results/reference"),
) -> None:
    """Run what is missing and write what is complete."""
    command = shlex.join(["python", "-m", "cat_bench.benchmark.studies.reference", *sys.argv[1:]])
    for one in chosen(only, replicates):
        folder = None
        for part in one.parts:
            given: dict[str, Any] = {"sequence": one.sequence, "backbone": backbone}
            spec = resolve(given, {"methods": part.methods, "replicates": part.replicates})
            folder = carry_out(spec, runs, f"reference-{one.sequence}", Crew(workers or None))
        assert folder is not None
        with plain_errors(out, "another --out"):
            typer.echo(f"written: {write_reference(folder, out, command)}")
