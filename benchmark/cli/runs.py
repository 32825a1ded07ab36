"""The commands about a run that was made: report, show, images, export, sample, clean."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[str | None, typer.Argument(help="Name or folder of a run.  [default: the latest]")]
Stage = Annotated[str | None, typer.Option(help="Number or concept of a stage.  [default: the last]")]
Order = Annotated[int | None, typer.Option(help="Order of the concepts.  [default: the run's first]")]
Seed = Annotated[int | None, typer.Option(help="Training seed.  [default: the run's first]")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (report, show, images, export, sample, clean):
        app.command()(command)


def report(
    run: Run = None,
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: report/ in the run's folder]")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Method that the others are compared with.  [default: the run's first]", metavar="METHOD"),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write verdicts, tables, plots, image grids and one HTML file of a run."""
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.store.record import find_run

    folder = find_run(run, runs)
    from cat_bench.results.report.report import write_report

    with plain_errors(out or folder, "another folder with --out"):
        paths = write_report(folder, out, reference)
    typer.echo(f"report: {paths.html}")


def show(
    run: Run = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show a run's settings and the state of its cells."""
    from rich.console import Console

    from cat_bench.benchmark.cli.listing import show_run
    from cat_bench.benchmark.store.record import find_run

    folder = find_run(run, runs)
    console, tables = Console(), show_run(folder)
    console.print(str(folder), style="bold", highlight=False, markup=False)
    for table in tables:
        console.print(table, highlight=False, markup=False)


def images(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run, or a stage's folder.  [default: the latest run]")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this one's, base or references; again or with commas for more.")
    ] = None,
    concept: Annotated[
        list[str] | None, typer.Option(help="Only images of this one; again or with commas for more.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: images/ in the run's folder]")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write the images of a run, or of one of its stages, as PNG files."""
    from rich.console import Console
    from rich.progress import Progress

    from cat_bench.benchmark.artifacts.unpacked import find_images, unpack, usual_out, wanted_images
    from cat_bench.benchmark.cli.flags import words

    folder, of_stage = find_images(run, runs)
    wanted = wanted_images(folder, of_stage, words(method), words(concept))
    out = out or usual_out(folder, of_stage)
    count = sum(len(packed.rows) for packed in wanted)
    console = Console(stderr=True)
    with Progress(console=console, transient=True) if console.is_terminal else nullcontext() as progress:
        bar = progress.add_task("unpacking", total=count) if progress else None
        for done in unpack(wanted, out):
            if progress and bar is not None:
                progress.update(bar, completed=done)
    typer.echo(f"{count} images in {out}")


def export(
    method: Annotated[str, typer.Option(help="A method of the run.")],
    run: Run = None,
    stage: Stage = None,
    order: Order = None,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: exports/ in the run's folder]")] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Of the adapter.  [default: exact; within 1 % where the change is dense]"),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write what was learned as a LoRA that stock diffusers loads, with a model card."""
    from rich.console import Console

    from cat_bench.benchmark.store.record import find_run

    folder = find_run(run, runs)
    from cat_bench.benchmark.artifacts.export import export as write
    from cat_bench.benchmark.artifacts.learned import open_stage

    learned = open_stage(folder, method, stage, order, seed)
    out = out or folder / "exports" / learned.title
    console = Console(stderr=True)
    with console.status("writing the adapter") if console.is_terminal else nullcontext():
        adapter = write(learned, out, rank)
    error = f"relative error {adapter.error:.2g}" if adapter.error else "exact"
    typer.echo(f"{out}: rank {adapter.rank}, {error}; README.md in it says how to load it")


def sample(
    method: Annotated[str, typer.Option(help="A method of the run, or base: the untouched model.")],
    prompt: Annotated[list[str], typer.Option(help='What to draw; again for more. "{}": each concept learned so far.')],
    run: Run = None,
    stage: Stage = None,
    order: Order = None,
    seed: Seed = None,
    seeds: Annotated[str, typer.Option(help="How many images of each prompt, or their noise seeds: 3,5 or 0-7.")] = "4",
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler.  [default: the run's]")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.  [default: the run's]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, cpu or mps.  [default: the run's]")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: samples/ in the run's folder]")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Draw pictures with what was learned, and a sheet of all of them."""
    from rich.console import Console
    from rich.progress import Progress

    from cat_bench.benchmark.cli.flags import numbers
    from cat_bench.benchmark.errors import SpecError
    from cat_bench.benchmark.planning.spec import MOST
    from cat_bench.benchmark.store.record import find_run

    folder = find_run(run, runs)
    noise = numbers(seeds, "--seeds") or ()
    if (counted := seeds.strip().isdecimal()) and noise[0] > MOST:
        raise SpecError(f"--seeds {noise[0]}: give at most {MOST:,} images of each prompt")
    noise = tuple(range(noise[0])) if counted else tuple(dict.fromkeys(noise))
    if not noise:
        raise SpecError("--seeds 0: give how many images of each prompt, or a list such as 3,5")
    from cat_bench.benchmark.artifacts.learned import open_stage
    from cat_bench.benchmark.artifacts.samples import SHEET, Look, draw, filled
    from cat_bench.benchmark.planning.plan import BASE
    from cat_bench.benchmark.planning.spec import resolve
    from cat_bench.benchmark.store.record import RunRecord

    record = RunRecord.read(folder)
    if method == BASE and any(given is not None for given in (stage, order, seed)):
        raise SpecError("--method base: the untouched model has no stage, order or seed")
    learned = None if method == BASE else open_stage(folder, method, stage, order, seed)
    prompts = filled(
        prompt, learned.concepts if learned else record.concepts, not learned or learned.method.config.noun
    )
    changed = {key: value for key, value in (("steps", steps), ("guidance", guidance)) if value is not None}
    sampler = resolve(record.spec.model_dump(mode="json"), {"sampler": changed}).sampler
    look = Look(record, learned, prompts, noise, sampler)
    out = out or folder / "samples" / look.title
    console = Console(stderr=True)
    shown = console.is_terminal and look.count >= 8
    with Progress(console=console, transient=True) if shown else nullcontext() as progress:
        bar = progress.add_task("sampling", total=look.count) if progress else None
        for done in draw(look, out, device):
            if progress and bar is not None:
                progress.update(bar, completed=done)
    typer.echo(f"{look.count} images in {out}, all of them in {out / SHEET}.png")


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Delete the stages that other settings replaced. They are kept to be used again if those settings come back."""
    from cat_bench.benchmark.errors import RunError
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.store.library import empty_kept, kept

    if not runs.is_dir():
        raise RunError(f"{runs} is no folder: say with --runs where runs lie")
    stages, size = kept(runs)
    if not stages:
        typer.echo(f"{runs} keeps no replaced stages")
        return
    what = f"{stages} replaced stage{'' if stages == 1 else 's'} in {runs}, {size / 2**20:.1f} MiB"
    if not yes and not _agreed(f"delete {what}?"):
        typer.echo("nothing was deleted", err=True)
        raise typer.Abort
    with plain_errors(runs):
        empty_kept(runs)
    typer.echo(f"deleted {what}")


def _agreed(question: str) -> bool:
    """Whether the user says yes; not where there is no one to ask."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        typer.echo()  # ends the question's line
        return False
