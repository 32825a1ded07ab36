"""The commands `run` and `tune`: settings from flags and a file, or tried one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    sequence: Annotated[str | None, typer.Option(help="Name or TOML file of a sequence.  [default: faces5]")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of the photos a sequence is made of.")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method; again or with commas for more. 'cat[weight=0,lr=2e-3]', quoted, is cat with these settings."
            "  [default: six of those that ship]"
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Name, diffusers folder or owner/name.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds: 0 or 0,1,2 or 0-4.  [default: 0]")] = None,
    orders: Annotated[str | None, typer.Option(help="Orders of the concepts; 0 is as written.  [default: 0]")] = None,
    replicates: Annotated[
        int | None, typer.Option(help="Cells of each method: order 0 with seed 0, 1 with 1 …; no --seeds, no --orders.")
    ] = None,
    until_decided: Annotated[
        int | None,
        typer.Option(
            help="Replicates one by one until each method is decided against the first, N at most: docs/statistics.md.",
            metavar="N",
        ),
    ] = None,
    decide: Annotated[
        str | None, typer.Option(help="Figure that is decided.  [default: clip_i_average]", metavar="FIGURE")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Images for each evaluation prompt.")] = None,
    preservation_images: Annotated[int | None, typer.Option(help="Images for each preservation prompt.")] = None,
    diversity_images: Annotated[
        int | None, typer.Option(help="Images of each class without a trigger; 0 is none.  [default: 16]")
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Which stages are sampled: all, diagonal+last or last.  [default: all]")
    ] = None,
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
    workers: Annotated[
        str, typer.Option(help="How many stages are made at once: a number, or auto: as cores, GPUs and memory allow.")
    ] = "auto",
    workers_per_gpu: Annotated[int, typer.Option(help="How many workers share a GPU.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster whose nodes work: docs/workers.md.", envvar="RAY_ADDRESS"),
    ] = None,
    threads: Annotated[str | None, typer.Option(hidden=True)] = None,  # was a setting; says what is one now
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A method's setting: cat.weight=6, clora.preset=paper; steps=50: of all methods."),
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="TOML file with settings; flags override it.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.  [default: the sequence]")] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")] = Path("runs"),
) -> None:
    """Run methods on a sequence. The same command again goes on where it stopped."""
    from cat_bench.benchmark.cli.flags import crew_size, numbers, overrides, read_spec, savings, words
    from cat_bench.benchmark.cli.follow import follow, leave
    from cat_bench.benchmark.errors import SpecError
    from cat_bench.benchmark.execution.workers.crew import Crew
    from cat_bench.benchmark.planning.spec import resolve
    from cat_bench.benchmark.planning.variant import names_of

    drawn = {"name": sampler, "steps": steps, "guidance": guidance, "batch": batch}
    flags: dict[str, Any] = {
        "sequence": sequence,
        "data": data,
        "methods": words(method),
        "backbone": backbone,
        "images_per_prompt": images,
        "replicates": replicates,
        "until_decided": until_decided,
        "decide": decide,
        "seeds": numbers(seeds, "--seeds"),
        "orders": numbers(orders, "--orders"),
        "preservation_images": preservation_images,
        "diversity_images": diversity_images,
        "stages": stages,
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
    resolved = resolve(*layers, {"overrides": overrides(set_ or [], names_of(resolved.methods))})
    if resolved.until_decided is not None and resolved.replicates is not None:
        raise SpecError("--until-decided N is the most replicates already; leave --replicates out")
    if resolved.until_decided is None and decide is not None:
        raise SpecError(f"--decide {decide}: say how many replicates at most with --until-decided N")
    crew = Crew(crew_size(workers), workers_per_gpu, cluster)
    code = follow(resolved, runs, name, crew)
    if code > 128:
        leave(code)
    raise typer.Exit(code)


def tune(
    method: Annotated[list[str] | None, typer.Argument(help="A method; more one after another.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every method that there is, references too.")] = False,
    backbone: Annotated[str | None, typer.Option(help="Name, diffusers folder or owner/name.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, cpu or mps.")] = None,
    workers: Annotated[str, typer.Option(help="How many stages are made at once: a number, or auto.")] = "auto",
    workers_per_gpu: Annotated[int, typer.Option(help="How many workers share a GPU.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster whose nodes work.", envvar="RAY_ADDRESS")
    ] = None,
    runs: Annotated[
        Path, typer.Option("--runs", help="Folder in which trials and tables lie.", metavar="FOLDER")
    ] = Path("tuning"),
) -> None:
    """Try settings of methods on dev3, as many for each. The same command again goes on where it stopped."""
    from cat_bench.benchmark.cli.flags import crew_size, words
    from cat_bench.benchmark.cli.follow import carry_out, leave
    from cat_bench.benchmark.errors import SpecError
    from cat_bench.benchmark.execution.workers.crew import Crew
    from cat_bench.benchmark.tuning.search import Search
    from cat_bench.benchmark.tuning.table import winners
    from cat_bench.methods.registry import methods

    names = methods.names() if every else words(method) or ()
    if not names:
        raise SpecError(f"tune: name a method, or give --all; there are: {', '.join(methods.names())}")
    if bracketed := next((name for name in names if "[" in name), None):
        raise SpecError(f"tune {bracketed!r}: give the method's name alone; which settings are tried is fixed")
    given = {key: value for key, value in {"backbone": backbone, "device": device}.items() if value is not None}
    crew, worst = Crew(crew_size(workers), workers_per_gpu, cluster), 0
    searches = [Search.of(methods.get(name), runs, given) for name in dict.fromkeys(names)]
    for search in searches:
        for wanted in search:
            code, _ = carry_out(wanted.spec, runs, wanted.name, crew)
            if code > 128:
                leave(code)
            worst = max(worst, code)
        typer.echo(search.write())
    if len(searches) > 1:
        typer.echo(winners({search.method.name: search.winner for search in searches}))
    raise typer.Exit(worst)
