"""The commands about the instrument itself: `pretrain` makes the shipped models or measures them, `validate` tests the
metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def pretrain(
    out: Annotated[Path, typer.Option(help="Where the models are written.")] = Path("pretrained"),
    part: Annotated[
        list[str] | None,
        typer.Option(help="A part; again or with commas for more, in order.  [default: all that are needed]"),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Of training: 9000 for each part, or autoencoder=2200,diffusion=9000.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--afresh", help="Go on from checkpoints, or start over.")] = True,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Measure the models instead of training them.")] = False,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or mps.")] = "auto",
) -> None:
    """Train the shipped model and its metric model from the avatar world alone, or measure them.

    On a CPU processes of one thread each are faster: torchrun --nproc-per-node 2 --no-python cat-bench pretrain.
    """
    from cat_bench.benchmark.cli.flags import words
    from cat_bench.benchmark.errors import SpecError

    if evaluate:
        given = [flag for flag, value in (("--part", part), ("--steps", steps), ("--afresh", not resume)) if value]
        if given:
            raise SpecError(f"--evaluate measures models that are there: leave out {', '.join(given)}")
        raise typer.Exit(_measure(out, device))
    raise typer.Exit(_make(out, words(part), steps, resume, device))


def _make(out: Path, parts: Sequence[str] | None, steps: str | None, resume: bool, device: str) -> int:
    """Make the parts in order, each going on where it stopped. The exit code: 0, or 130 if interrupted."""
    from rich.console import Console

    from cat_bench.benchmark.cli.flags import INTERRUPTED, as_given
    from cat_bench.benchmark.errors import RunError, SpecError
    from cat_bench.benchmark.planning.spec import suggestion
    from cat_bench.benchmark.pretrain.make import Update, Workshop
    from cat_bench.benchmark.pretrain.recipe import NAME, PARTS, SHARDS, parse_steps
    from cat_bench.benchmark.pretrain.team import leads
    from cat_bench.benchmark.store.files import disk_trouble
    from cat_bench.benchmark.system.device import resolve_device

    for part in parts or ():
        if part not in PARTS:
            raise SpecError(f"--part {part!r}: there is no such part{suggestion(part, list(PARTS))}")
    workshop = Workshop(out / "work", str(resolve_device(device)), parse_steps(steps), SHARDS)
    console = Console(stderr=True)
    news = Update("", 0.0)
    try:
        if not resume:  # pictures are the same every time: they stay unless they are named
            workshop.clear(part for part in PARTS if part in (parts or PARTS[1:]))
        for part in [part for part in PARTS if part in (parts or PARTS)]:
            shown = -1
            for news in workshop.make(part, out):
                if (percent := int(news.share * 100)) > shown:
                    shown = percent
                    loss = f", step {news.step}, loss {news.loss:.4f}" if news.loss is not None else ""
                    console.print(f"{part}: {percent} %{loss}", highlight=False)
    except KeyboardInterrupt:
        again = as_given().replace(" --afresh", "")
        typer.echo(f"interrupted in {news.part or 'the beginning'}; to go on, repeat: {again}", err=True)
        return INTERRUPTED
    except Exception as error:  # the libraries that write models have errors of their own
        if line := disk_trouble(error, out):
            raise RunError(line) from error
        raise
    if leads() and (not parts or "save" in parts):
        typer.echo(f"written: {out / NAME} and {out / f'{NAME}-clip'}; measure them with --evaluate")
    return 0


def _measure(out: Path, device: str) -> int:
    """Measure the models in `out`, or the shipped ones if there are none. The exit code: 1 if a figure is missed."""
    from cat_bench.benchmark.backbones.folders import WEIGHTS
    from cat_bench.benchmark.pretrain.figures.evaluate import evaluate
    from cat_bench.benchmark.pretrain.recipe import NAME

    folder = out if (out / NAME).is_dir() else WEIGHTS
    typer.echo(f"{folder / NAME}, judged by {NAME}-clip")
    missed = 0
    for figure in evaluate(folder / NAME, folder / f"{NAME}-clip", device):
        missed += not figure.reached
        verdict = "reached" if figure.reached else "MISSED"
        goal = f"at {'most' if figure.at_most else 'least'} {figure.goal:g}{figure.unit}: {verdict}"
        typer.echo(f"{figure.title}: {figure.value:.3f}{figure.unit} (n = {figure.n}; {goal})")
    return 1 if missed else 0


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
    given: dict[str, Any] = {
        "sequence": sequence,
        "data": data,
        "backbone": backbone,
        "metric": metric,
        "dino": dino,
        "device": device,
        "images_per_prompt": images,
    }
    spec = resolve(
        {"methods": ("lora",)},
        QUICK if quick else {},
        {key: value for key, value in given.items() if value is not None},
        {"overrides": overrides(set_ or [], ("lora",))},
    )
    _check_place(out)
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


def _check_place(page: Path) -> None:
    """See, before hours of work, that a page and what belongs beside it can be written. Raises SpecError."""
    from tempfile import TemporaryFile

    from cat_bench.benchmark.errors import SpecError

    for path in (page, page.with_suffix(".json")):
        if path.is_dir():
            raise SpecError(f"--out {page}: {path} is a folder; choose another name")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=page.parent):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SpecError(f"--out {page}: nothing can be written there ({why}); choose another place") from None
