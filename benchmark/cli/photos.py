"""The commands about the user's own photos: check-data and new-sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PAGE = "check-data.html"


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(check_data)
    app.command()(new_sequence)


def check_data(
    folder: Annotated[Path, typer.Argument(help="Images of one concept, or a folder of such folders.")],
    out: Annotated[Path, typer.Option(help="The page of thumbnails.")] = Path(PAGE),
) -> None:
    """Look through a folder of photos: what is there, what is wrong, and what is done about it."""
    from cat_bench.tasks.errors import TaskError
    from cat_bench.tasks.photos.check_page import check_page, summary
    from cat_bench.tasks.photos.photo_set import survey

    if out.suffix.lower() not in (".html", ".htm"):
        raise TaskError(f"--out {out}: the page is an .html file")
    photos = survey(folder)
    width = max((len(found.path.name) for found in photos.folders), default=0)
    for found in photos.folders:
        if not found.errors:
            typer.echo(f"{found.path.name or folder.resolve().name:<{width}}  {summary(found)}")
    for finding in photos.findings:
        typer.echo(f"{finding.kind:<5}  {finding.line}", err=finding.kind == "error")
    if count := len(photos.errors):
        typer.echo(f"{count} error{'s' if count > 1 else ''}: nothing was written", err=True)
        raise typer.Exit(2)
    try:
        out.write_text(check_page(photos), encoding="utf-8")
    except OSError as error:
        raise TaskError(f"{out} cannot be written ({error.strerror}); choose another with --out") from None
    typer.echo(f"good to use; every photo as it will be seen: {out}")


def new_sequence(
    folder: Annotated[Path, typer.Argument(help="A folder of folders of photos, one for each concept.")],
    out: Annotated[Path | None, typer.Option(help="The file.  [default: ID.toml]", metavar="FILE.toml")] = None,
    id: Annotated[str | None, typer.Option(help="The sequence's id.  [default: the folder's name]")] = None,
) -> None:
    """Write a sequence of your own photos, ready to be read through and run."""
    from cat_bench.tasks.photos.new_sequence import write_sequence

    written = write_sequence(folder, out, id)
    typer.echo(f"written: {written}; read it through, then: cat-bench run --sequence {written}")
