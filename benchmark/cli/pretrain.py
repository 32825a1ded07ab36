"""The command `pretrain`: make the shipped models from the avatar world alone, or measure them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    out: Annotated[Path, typer.Option(help="Where the models are written.")] = Path("pretrained"),
    part: Annotated[
        list[str] | None,
        typer.Option(help="A part; again or with commas for more, in order.  [default: all that are needed]"),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Of training: 9000 for each part, or autoencoder=2200,diffusion=30000.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--afresh", help="Go on from checkpoints, or start over.")] = True,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Measure the models instead of training them.")] = False,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or mps.")] = "auto",
) -> None:
    """Train the shipped model and its metric model from the avatar world alone, or measure them.

    On a CPU processes of one thread each are faster: torchrun --nproc-per-node 2 --no-python cat-bench pretrain.
    """
    from cat_bench.benchmark.cli.flags import words

    if evaluate:
        raise typer.Exit(_measure(out, device))
    raise typer.Exit(_make(out, words(part), steps, resume, device))


def _make(out: Path, parts: Sequence[str] | None, steps: str | None, resume: bool, device: str) -> int:
    """Make the parts in order, each going on where it stopped. The exit code: 0, or 130 if interrupted."""
    from rich.console import Console

    from cat_bench.benchmark.cli.flags import INTERRUPTED, as_given
    from cat_bench.benchmark.errors import SpecError
    from cat_bench.benchmark.planning.spec import suggestion
    from cat_bench.benchmark.pretrain.make import NAME, PARTS, SHARDS, Update, Workshop, parse_steps
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.system.device import resolve_device

    for part in parts or ():
        if part not in PARTS:
            raise SpecError(f"--part {part!r}: there is no such part{suggestion(part, list(PARTS))}")
    workshop = Workshop(out / "work", str(resolve_device(device)), parse_steps(steps), SHARDS)
    console = Console(stderr=True)
    news = Update("", 0.0)
    try:
        with plain_errors(out):
            for part in [part for part in PARTS if part in (parts or PARTS)]:
                if not resume:
                    (workshop.folder / f"{part}.ckpt").unlink(missing_ok=True)
                shown = -1
                for news in workshop.make(part, out):
                    if (percent := int(news.share * 100)) > shown:
                        shown = percent
                        loss = f", step {news.step}, loss {news.loss:.4f}" if news.loss is not None else ""
                        console.print(f"{part}: {percent} %{loss}", highlight=False)
    except KeyboardInterrupt:
        typer.echo(f"interrupted in {news.part or 'the beginning'}; to go on, repeat: {as_given()}", err=True)
        return INTERRUPTED
    if not parts or "save" in parts:
        typer.echo(f"written: {out / NAME} and {out / f'{NAME}-clip'}; measure them with --evaluate")
    return 0


def _measure(out: Path, device: str) -> int:
    """Measure the models in `out`, or the shipped ones if there are none. The exit code: 1 if a figure is missed."""
    from cat_bench.benchmark.backbones.folders import WEIGHTS
    from cat_bench.benchmark.pretrain.figures.evaluate import evaluate
    from cat_bench.benchmark.pretrain.make import NAME

    folder = out if (out / NAME).is_dir() else WEIGHTS
    typer.echo(f"{folder / NAME}, judged by {NAME}-clip")
    missed = 0
    for figure in evaluate(folder / NAME, folder / f"{NAME}-clip", device):
        missed += not figure.reached
        verdict = "reached" if figure.reached else "MISSED"
        goal = f"at {'most' if figure.at_most else 'least'} {figure.goal:g}{figure.unit}: {verdict}"
        typer.echo(f"{figure.title}: {figure.value:.3f}{figure.unit} (n = {figure.n}; {goal})")
    return 1 if missed else 0
