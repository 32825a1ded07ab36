"""The command line. Heavy imports are inside the commands, so that --help answers at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cat_bench.benchmark.cli import artifacts as take_cli
from cat_bench.benchmark.cli import photos as data_cli

Runs = Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")]
Text = Annotated[str | None, typer.Option()]

app = typer.Typer(
    name="cat-bench",
    help="A continual personalization benchmark for text-to-image diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    sequences = "sequences"
    backbones = "backbones"
    metrics = "metrics"


@app.command()
def run(
    sequence: Annotated[str | None, typer.Option(help="Name or TOML file of a sequence.  [default: faces5]")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of the photos a sequence is made of.")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A method; again or with commas for more.  [default: the six shipped]")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Name, diffusers folder or owner/name.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds: 0 or 0,1,2 or 0-4.  [default: 0]")] = None,
    orders: Annotated[str | None, typer.Option(help="Orders of the concepts; 0 is as written.  [default: 0]")] = None,
    images: Annotated[int | None, typer.Option(help="Images for each evaluation prompt.")] = None,
    preservation_images: Annotated[int | None, typer.Option(help="Images for each preservation prompt.")] = None,
    sampler: Annotated[str | None, typer.Option(help="dpm++ or ddim.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images sampled at once.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16, fp16 or fp32.")] = None,
    weights: Annotated[str | None, typer.Option(help="How the backbone's are held: auto, fp32, bf16, fp16.")] = None,
    economy: Annotated[
        list[str] | None,
        typer.Option(help="checkpointing, adamw8bit, channels_last, compile, micro_batch=N; again for more."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What scores: open_clip folder or ARCHITECTURE:TAG.")] = None,
    dino: Annotated[
        str | None, typer.Option(help="Second opinion dino_i: facebook/dino-vits16 or a folder of it.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, cpu or mps.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 is OMP_NUM_THREADS or one per core.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A method's setting: cat.weight=6, clora.preset=paper; steps=50: of all methods."),
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="TOML file with settings; flags override it.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.  [default: the sequence]")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Run methods on a sequence. The same command again goes on where it stopped."""
    from cat_bench.benchmark.cli.flags import numbers, overrides, savings, words
    from cat_bench.benchmark.cli.run import run_to_the_end
    from cat_bench.benchmark.planning.spec import read_spec, resolve

    drawn = {"name": sampler, "steps": steps, "guidance": guidance, "batch": batch}
    flags: dict[str, Any] = {
        "sequence": sequence,
        "data": data,
        "methods": words(method),
        "backbone": backbone,
        "images_per_prompt": images,
        "seeds": numbers(seeds, "--seeds"),
        "orders": numbers(orders, "--orders"),
        "preservation_images": preservation_images,
        "precision": precision,
        "weights": weights,
        "economy": savings(economy or []),
        "metric": metric,
        "dino": dino,
        "device": device,
        "threads": threads,
        "sampler": {key: value for key, value in drawn.items() if value is not None},
    }
    layers = [read_spec(spec) if spec else {}, {key: value for key, value in flags.items() if value is not None}]
    resolved = resolve(*layers)
    resolved = resolve(*layers, {"overrides": overrides(set_ or [], resolved.methods)})
    raise typer.Exit(run_to_the_end(resolved, runs, name))


@app.command()
def report(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run.  [default: the latest]")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: report/ in the run's folder]")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write tables, plots, image grids and one HTML file of a run."""
    from cat_bench.benchmark.cli.listing import find_run
    from cat_bench.benchmark.store.files import plain_errors

    folder = find_run(run, runs)
    from cat_bench.results.report.report import write_report

    with plain_errors(out or folder):
        paths = write_report(folder, out)
    typer.echo(f"report: {paths.html}")


@app.command("list")
def list_(what: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List methods, sequences, backbones or metrics."""
    from rich.console import Console

    from cat_bench.benchmark.cli.listing import LISTS

    Console().print(LISTS[what.value](), highlight=False, markup=False)


@app.command()
def show(
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run.  [default: the latest]")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show a run's settings and the state of its cells."""
    from rich.console import Console

    from cat_bench.benchmark.cli.listing import find_run, show_run

    folder = find_run(run, runs)
    console = Console()
    console.print(f"[bold]{folder}[/]", highlight=False)
    for table in show_run(folder):
        console.print(table, highlight=False)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Where avatars64 and avatars64-clip are written.")] = Path("pretrained"),
    part: Annotated[
        list[str] | None,
        typer.Option(help="A part; again or with commas for more, in order.  [default: all that are needed]"),
    ] = None,
    minutes: Annotated[
        str | None, typer.Option(help="Of training: 60 for each part, or autoencoder=60,diffusion=120.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--afresh", help="Go on from checkpoints, or start over.")] = True,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Measure the models instead of training them.")] = False,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or mps.")] = "auto",
) -> None:
    """Train the shipped model avatars64 and its metric model from the avatar world alone, or measure them."""
    from cat_bench.benchmark.cli.flags import words
    from cat_bench.benchmark.cli.run import evaluate_models, pretrain_parts

    if evaluate:
        raise typer.Exit(evaluate_models(out, device))
    raise typer.Exit(pretrain_parts(out, words(part), minutes, resume, device))


@app.command()
def doctor(runs: Runs = Path("runs")) -> None:
    """Look whether everything is there that a run needs."""
    from cat_bench.benchmark.cli.doctor import examine

    troubles = 0
    for finding in examine(runs):
        troubles += finding.trouble is not None
        mend = f"  → {finding.trouble}" if finding.trouble else ""
        typer.echo(f"{'!!' if mend else 'ok'}  {finding.what}: {finding.found}{mend}")
    raise typer.Exit(1 if troubles else 0)


data_cli.register(app)
take_cli.register(app)


def main() -> None:
    """The console script: user errors are one line on stderr and exit code 2; Ctrl-C is 130."""
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
    sys.exit(code or 0)


def _explain(error: Exception) -> int | None:
    """Say what the user can mend, in one line; None if the error is the program's own."""
    if type(error).__name__ == "Abort":
        return 130
    usage = getattr(error, "format_message", None)  # the command line's own errors: unknown options and the like
    if usage is not None:
        typer.echo(f"cat-bench: {' '.join(usage().split())} (cat-bench --help shows what there is)", err=True)
        return 2
    own = any(cls.__module__.startswith("cat_bench.") for cls in type(error).__mro__)
    if isinstance(error, ValueError) and own:
        typer.echo(f"cat-bench: {' '.join(str(error).split())}", err=True)
        return 2
    return None
