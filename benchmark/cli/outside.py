"""The commands about what comes from outside: a user's own photos, and results that go to others or come from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PAGE = "check-data.html"
_TITLE = b" \xc2\xb7 cat-bench check-data</title>"  # how the title of each page of check-data ends
_HEAD = 8192  # bytes within which a page's title ends


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (check_data, new_sequence, submit, leaderboard):
        app.command()(command)


def check_data(
    folder: Annotated[Path, typer.Argument(help="Images of one concept, or a folder of such folders.")],
    out: Annotated[Path, typer.Option(help="The page of thumbnails.")] = Path(PAGE),
) -> None:
    """Look through a folder of photos: what is there, what is wrong, and what is done about it."""
    from cat_bench.benchmark.store.files import write_bytes
    from cat_bench.tasks.errors import TaskError
    from cat_bench.tasks.photos.check_page import check_page, summary
    from cat_bench.tasks.photos.new_sequence import encoded
    from cat_bench.tasks.photos.photo_set import survey

    if out.suffix.lower() not in (".html", ".htm"):
        raise TaskError(f"--out {out}: the page is an .html file")
    if out.is_file() and not _own(out):
        raise TaskError(f"{out} is there already, and no page of check-data; choose another with --out")
    photos = survey(folder)
    page = b"" if photos.errors else encoded(check_page(photos))
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
        write_bytes(out.resolve(), page)
    except OSError as error:
        raise TaskError(f"{out} cannot be written ({error.strerror}); choose another with --out") from None
    typer.echo(f"good to use; every photo as it will be seen: {out}")


def _own(page: Path) -> bool:
    """Whether check-data made this page: its title says so."""
    with open(page, "rb") as file:
        return _TITLE in file.read(_HEAD)


def new_sequence(
    folder: Annotated[Path, typer.Argument(help="A folder of folders of photos, one for each concept.")],
    out: Annotated[Path | None, typer.Option(help="The file.  [default: ID.toml]", metavar="FILE.toml")] = None,
    id: Annotated[str | None, typer.Option(help="The sequence's id.  [default: the folder's name]")] = None,
) -> None:
    """Write a sequence of your own photos, ready to be read through and run."""
    from cat_bench.tasks.photos.new_sequence import write_sequence

    written = write_sequence(folder, out, id)
    typer.echo(f"written: {written}; read it through, then: cat-bench run --sequence {written}")


def submit(
    out: Annotated[Path, typer.Option(help="Where to write: a new folder, by whose name pages call the submission.")],
    run: Annotated[str | None, typer.Argument(help="Name or folder of a run.  [default: the latest]")] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder in which runs lie.", metavar="FOLDER")] = Path("runs"),
) -> None:
    """Pack what a finished run has to show, to be handed in to a leaderboard."""
    from cat_bench.benchmark.artifacts.submitted import rules
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.benchmark.store.record import find_run
    from cat_bench.results.leaderboard.pack import pack

    folder = find_run(run, runs)
    with plain_errors(out, "another --out"):
        checked = pack(folder, out, rules())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"{out}: {len(checked.record.methods)} methods, {size / 1000:.0f} kB, all checks passed")


def leaderboard(
    folders: Annotated[list[Path], typer.Argument(help="Folders of submissions, or of whole runs.", metavar="FOLDER…")],
    out: Annotated[Path, typer.Option(help="Where to write the site.", metavar="FOLDER")] = Path("leaderboard-site"),
) -> None:
    """Check result folders of anyone and build a site of those that pass. Exit code 1 if one was refused."""
    from cat_bench.benchmark.artifacts.submitted import rules
    from cat_bench.benchmark.store.files import plain_errors
    from cat_bench.results.leaderboard.site import write_board

    with plain_errors(out, "another --out"):
        board = write_board(folders, out, rules())
    for one in board.refused:
        typer.echo(f"refused: {one.name}: {one.reason}", err=True)
    entries = sum(len(group.entries) for group in board.groups)
    taken = len({one.name for group in board.groups for one in group.submissions})
    typer.echo(f"{taken} of {len(folders)} folders taken, {entries} entries: {out / 'index.html'}")
    if board.refused:
        raise typer.Exit(1)
