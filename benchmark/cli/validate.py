"""The command `validate`: tests of the instrument, and the page that says what came of them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

# Every test once, on few pictures: whether it runs, not what the metrics are worth.
QUICK: dict[str, Any] = {
    "sequence": "smoke2",
    "images_per_prompt": 4,
    "diversity_images": 4,
    "sampler": {"steps": 10},
    "overrides": {"lora": {"steps": 60}},
}
REPEATS, QUICK_REPEATS = 8, 2


def validate(
    out: Annotated[Path, typer.Option(help="The page; pictures and a .json beside it.")] = Path("validation.md"),
    quick: Annotated[bool, typer.Option("--quick", help="Few pictures and steps: do the tests run?")] = False,
    ship: Annotated[bool, typer.Option("--ship", help="Mark metrics that fail in every table from now on.")] = False,
    sequence: Annotated[str | None, typer.Option(help="Name or TOML file of a sequence.  [default: faces5]")] = None,
    data: Annotated[str | None, typer.Option(help="Folder of the photos a sequence is made of.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Name, diffusers folder or owner/name.")] = None,
    metric: Annotated[str | None, typer.Option(help="What scores: open_clip folder or ARCHITECTURE:TAG.")] = None,
    dino: Annotated[str | None, typer.Option(help="Test dino_i as well: facebook/dino-vits16 or a folder.")] = None,
    images: Annotated[int | None, typer.Option(help="Images for each evaluation prompt.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Times that other noise is drawn.  [default: 8]", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cuda, cpu or mps.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 is OMP_NUM_THREADS or one per core.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of naive LoRA: steps=200.")] = None,
) -> None:
    """Test the metrics: does each move as it must when pictures or adapters are known to get worse or better?"""
    from rich.console import Console
    from rich.progress import Progress

    from cat_bench.benchmark.cli.flags import overrides
    from cat_bench.benchmark.errors import SpecError
    from cat_bench.benchmark.planning.spec import resolve

    if out.suffix.lower() != ".md":
        raise SpecError(f"--out {out}: the page is an .md file")
    if quick and ship:
        raise SpecError("--ship: verdicts of so few pictures as --quick takes are not to be shipped")
    given = {"sequence": sequence, "data": data, "backbone": backbone, "metric": metric, "dino": dino, "device": device}
    given |= {"images_per_prompt": images, "threads": threads}
    spec = resolve(
        {"methods": ("lora",)},
        QUICK if quick else {},
        {key: value for key, value in given.items() if value is not None},
        {"overrides": overrides(set_ or [], ("lora",))},
    )
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.validation.validate import validate as carry_out
    from cat_bench.results.measures.marks import ship as keep
    from cat_bench.results.validation.page import as_data, write_page
    from cat_bench.results.validation.verdicts import Judgement

    work = carry_out(spec, repeats or (QUICK_REPEATS if quick else REPEATS))
    console = Console(stderr=True)
    with plain_errors(out), Progress(console=console, transient=True) if console.is_terminal else nullcontext() as bars:
        bar = bars.add_task("loading the models", total=None) if bars else None
        while True:
            try:
                step = next(work)
            except StopIteration as end:
                judgement = Judgement(end.value)
                break
            if bars and bar is not None:
                bars.update(bar, total=step.total, completed=step.done, description=step.what)
        written = write_page(judgement, out)
        if ship:
            keep(as_data(judgement))
    for verdict in judgement.failed:
        typer.echo(f"{verdict.metric} fails {verdict.test}: {verdict.reason}")
    judged = sum(verdict.passed is not None for verdict in judgement.verdicts)
    typer.echo(f"{judged - len(judgement.failed)} of {judged} tests passed: {written[0]}")
