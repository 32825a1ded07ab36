"""The pages: an index of sequences and backbones, and one page for each group of results that may stand in one table.

Every text is escaped by the templates, style and script stand in the page and are named by their sha256 in its
Content-Security-Policy, and pictures are data that was made here: nothing that was handed in can run.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cat_bench.results.errors import ResultError
from cat_bench.results.leaderboard.folder import plain
from cat_bench.results.leaderboard.pack import Submission, take
from cat_bench.results.leaderboard.rules import Rules
from cat_bench.results.leaderboard.union import Entry, Group, as_run, cautions, grouped, reference_entry
from cat_bench.results.records.long_table import write_atomically
from cat_bench.results.tables.formats import Entry as Cell
from cat_bench.results.tables.formats import Table, headline
from cat_bench.results.tables.notes import note
from cat_bench.results.tables.sentences import few, sentences
from cat_bench.results.tables.summary import Summary, summarise
from cat_bench.results.tables.verdicts import verdict_table, verdicts

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN = ("python", "cat-bench", "torch", "diffusers", "transformers", "peft", "open_clip_torch")
_LONGEST = 2000  # characters of a fact
_MARK = "<!-- cat-bench leaderboard -->"  # by which pages of an earlier build are known


@dataclass(frozen=True)
class Refusal:
    """A folder that was not taken, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Board:
    """What a leaderboard shows: groups of entries, and what was refused."""

    groups: tuple[Group, ...]
    refused: tuple[Refusal, ...]


def write_board(folders: Sequence[Path], out: Path, rules: Rules) -> Board:
    """Check folders and write the site of those that pass. The same folders, in the same order, give the same bytes.

    Raises ResultError, with nothing written, if there is no such folder, two have one name, or `out` is one of them.
    """
    folders = [Path(os.path.abspath(folder)) for folder in folders]  # `.` has a name, too; links stay links
    _check_given(folders, out)
    taken: list[Submission] = []
    refused: list[Refusal] = []
    with TemporaryDirectory(prefix="cat-bench-leaderboard-") as work:
        for number, folder in enumerate(folders):
            try:
                one = take(folder, rules, Path(work) / str(number))
                _group_page(grouped([one])[0])  # what cannot be shown alone shall not spoil the page of others
                taken.append(one)
            except ResultError as error:
                refused.append(Refusal(plain(folder.name), plain(str(error).replace(str(work), ""))))
            except Exception as error:  # of strangers' data anything can come, and the others are to be shown
                why = f"cannot be checked ({type(error).__name__}: {error})"
                refused.append(Refusal(plain(folder.name), plain(why.replace(str(work), ""))))
        board = Board(grouped(taken), tuple(refused))
        pages = {f"{group.slug}.html": _group_page(group) for group in board.groups}
        pages["index.html"] = _page("index.html.j2", board=board, computed=_computed)
    out.mkdir(parents=True, exist_ok=True)
    for name in pages:
        _check_ours(out / name)
    for name, page in pages.items():
        write_atomically(out / name, page.encode())
    for path in sorted(out.glob("*.html")):
        if path.name not in pages and _ours(path):
            path.unlink()
    return board


def _ours(path: Path) -> bool:
    return path.is_file() and _MARK in path.read_text(encoding="utf-8", errors="replace")[:200]


def _check_ours(path: Path) -> None:
    if path.exists() and not _ours(path):
        raise ResultError(f"{path} is there, and no page of an earlier build: choose another --out, or move it away")


def _check_given(folders: Sequence[Path], out: Path) -> None:
    names: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ResultError(f"there is no folder {folder}: give the folders of runs or submissions")
        if folder.name in names:
            raise ResultError(f"{names[folder.name]} and {folder} have one name: rename one, for pages name them by it")
        names[folder.name] = folder
        if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
            raise ResultError(f"--out {out} is inside of {folder}: choose another folder")
    if out.exists() and not out.is_dir():
        raise ResultError(f"--out {out} is a file: choose a folder")
    _check_ours(out / "index.html")


def _group_page(group: Group) -> str:
    run = as_run(group)
    summary = summarise(run)
    compared = verdicts(run, summary, reference_entry(group))
    short, table = few(compared), headline(summary)
    return _page(
        "group.html.j2",
        group=group,
        computed=_computed(group),
        table=table,
        note=note(summary),
        rows=list(_rows(group, summary, table)),
        carries=sorted({entry.method.carries for entry in group.entries if entry.method.carries}),
        few=short,
        sentences=[] if short else sentences(compared),
        against=compared[0].against if compared else None,
        verdicts=verdict_table(compared, summary),
        cautions=cautions(group),
        facts=_facts,
    )


def _rows(group: Group, summary: Summary, table: Table) -> Iterable[tuple[tuple[Cell, ...], str, Entry | None]]:
    """Each row of a table with its role and its entry; None for the base model and the references."""
    entries = {entry.name: entry for entry in group.entries}
    of_title = {row.title: entries.get(row.name) for row in summary.learning}
    for row, role in zip(table.rows, table.roles, strict=True):
        yield row, role, of_title.get(row[0].text)


def _computed(group: Group) -> str:
    return ", ".join(f"{key} {value}" for key, value in group.record.computed.items())


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """Where an entry comes from: whose, by what code and settings, on what machine, when."""
    record, method, one = entry.submission.record, entry.method, entry.submission
    pairs = record.spec.pairs
    kind = "replicates" if record.spec.replicates is not None else "cells"
    until = f", until decided, {most} at most" if (most := record.spec.until_decided) is not None else ""
    commit = record.git and f"{record.git.commit}{' with changes' if record.git.dirty else ''}"
    made = {str(part["gpu"]) for c in one.run.of(entry.label) for s in c.stages for part in _made(s.info) if part}
    return [
        ("submission", f"{one.name}, packed by {one.manifest.packed_by}"),
        ("method", f"{method.title}, version {method.version}"),
        ("source", method.source),
        ("carries", method.carries),
        ("code digest", method.code),
        ("settings", _said(method.config)),
        (
            kind,
            f"{len(pairs)}{until}; order/seed {plain(', '.join(f'{order}/{seed}' for order, seed in pairs), _LONGEST)}",
        ),
        ("images made", "not recorded" if one.images is None else f"{one.images} in all of the submission"),
        ("sampler", _said(record.spec.sampler)),
        ("images a prompt", f"{record.spec.images_per_prompt}; stages sampled: {record.spec.stages}"),
        ("computed", _said(record.computed)),
        ("machine", _said(record.machine)),
        ("GPU", ", ".join(sorted(made)) or "none"),
        ("versions", _said({name: record.versions[name] for name in _SHOWN if name in record.versions})),
        ("commit", commit or "not recorded"),
        ("date", f"{record.started} to {record.finished}"),
        ("spec hash", record.spec_hash),
    ]


def _made(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [part for part in (info.get("made") or {}).values() if part.get("gpu")]


def _said(facts: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        return " + ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)

    return plain(", ".join(f"{key} {text(value)}" for key, value in facts.items()), _LONGEST)


def _page(template: str, **what: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Markup((_TEMPLATES / name).read_text(encoding="utf-8")) for name in ("board.css", "board.js"))
    policy = f"default-src 'none'; style-src {_sha(style)}; script-src {_sha(script)}; img-src data:; base-uri 'none'"
    return environment.get_template(template).render(
        style=style, script=script, policy=f"{policy}; form-action 'none'", mark=Markup(_MARK), **what
    )


def _sha(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
