"""What there is to choose from, and what a run holds, as tables for the console."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from cat_bench.benchmark.planning.spec import pairs
from cat_bench.benchmark.store.files import read_json
from cat_bench.benchmark.store.record import CELL
from cat_bench.benchmark.store.stage import RECORD, whole
from cat_bench.results.records.run_json import recorded


def list_methods() -> Table:
    """Methods by name. Those in files here are read; only importing a package's says what they are, or why it fails."""
    from cat_bench.methods.errors import MethodError
    from cat_bench.methods.registry import methods

    rows: list[tuple[bool, str, str, str, str]] = []
    for entry in methods.entries():
        where = entry.where.removeprefix(f"{Path(__file__).parents[2]}{os.sep}")
        summary, carries, reference = entry.summary, entry.facts.get("carries", ""), entry.facts.get("reference", False)
        if not entry.facts and not summary:
            try:
                cls = methods.get(entry.name)
                summary, carries, reference = (cls.__doc__ or "").partition("\n")[0], cls.carries, cls.reference
            except MethodError as error:
                summary = str(error)
        rows.append((bool(reference), entry.name, summary, str(carries), where))
    table = _table("method", "what it is", "carries", "where it is")
    for _, *row in sorted(rows):
        table.add_row(*row)
    return table


def list_sequences() -> Table:
    """The sequences that ship with the package."""
    from cat_bench.tasks.entries import concept_ids, read_entry, sequence_names

    table = _table("sequence", "title", "concepts", "needs", "licence")
    for name in sequence_names():
        entry = read_entry(name)[0]
        needs = "--data PHOTOS" if entry.photos else ""
        table.add_row(entry.id, entry.title, ", ".join(concept_ids(name)), needs, entry.license)
    return table


def list_backbones() -> Table:
    """The backbones known by name, and how to give another."""
    from cat_bench.benchmark.backbones.folders import find_backbone
    from cat_bench.benchmark.backbones.registry import OTHER, registered

    table = _table("backbone", "what it is", "scored with", "where it is")
    table.columns[0].no_wrap = True
    for name, entry in registered().items():
        _, folder = find_backbone(name, fetch=False)
        about = f"{entry.title}; {entry.resolution} pixels, {entry.prediction}; {entry.license}"
        pinned = f"revision {entry.revision[:8]}" if entry.revision else "no pinned revision"
        here = "here" if folder else "not yet here"
        where = "ships with cat-bench" if entry.hub is None else f"{entry.hub} ({pinned}; {here})"
        table.add_row(name, about, entry.metric, where)
    other = "a pipeline of Stable Diffusion or Stable Diffusion XL"
    table.add_row("FOLDER", other, f"FOLDER-clip beside it, else {OTHER.metric}", "a diffusers folder")
    table.add_row("OWNER/NAME", other, OTHER.metric, "on the Hugging Face Hub")
    return table


def list_metrics() -> Table:
    """The declared metrics."""
    from cat_bench.results.measures.metrics import METRICS

    table = _table("metric", "title", "better", "scale", "formula")
    for metric in METRICS.values():
        title = f"{metric.title} (optional)" if metric.optional else metric.title
        table.add_row(metric.id, title, metric.arrow, metric.scale, metric.formula)
    return table


LISTS: dict[str, Callable[[], Table]] = {
    "methods": list_methods,
    "sequences": list_sequences,
    "backbones": list_backbones,
    "metrics": list_metrics,
}


def show_run(folder: Path) -> list[Table]:
    """A run's settings and the state of its cells. Raises ResultError if its record is damaged."""
    record = recorded(folder) or {}
    facts = _table("", "")
    facts.show_header = False
    spec = record.get("spec", {})
    for key, value in spec.items():
        facts.add_row(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    facts.add_row("computed on", ", ".join(f"{key} {value}" for key, value in record.get("computed", {}).items()))
    facts.add_row("started", str(record.get("started")))
    facts.add_row("finished", str(record.get("finished") or "not yet"))
    facts.add_row("spec hash", str(record.get("spec_hash"))[:16])
    for package in ("cat-bench", "torch", "diffusers", "peft"):
        facts.add_row(package, str(record.get("versions", {}).get(package)))
    git = record.get("git")
    if git:
        facts.add_row("commit", f"{str(git.get('commit'))[:12]}{' + changes' if git.get('dirty') else ''}")

    cells = _table("cell", "status", "stages", "seconds", "reason")
    sequence = record.get("sequence")
    wanted = len(sequence.get("concepts", ())) if isinstance(sequence, dict) else 0
    for path in cell_folders(folder, spec):
        state = read_json(path / CELL) or {"status": "missing" if not path.is_dir() else "interrupted", "reason": None}
        stages = [stage for stage in map(whole, _stages(path)) if stage]
        seconds: Counter[str] = Counter()
        for stage in stages:
            seconds.update(stage["seconds"])
        name = str(path.relative_to(folder))
        total = f"{sum(seconds.values()):.0f}" if stages else ""
        status, reason = state.get("status") or "interrupted", state.get("reason") or ""
        cells.add_row(name, str(status), f"{len(stages)}/{wanted}", total, str(reason))
    return [facts, cells]


def cell_folders(folder: Path, spec: dict[str, Any]) -> list[Path]:
    """The run's planned cells, then others that lie in its folder."""
    planned = [
        folder / method / f"order{order}-seed{seed}"
        for method in spec.get("methods", ())
        for order, seed in pairs(spec.get("replicates"), spec.get("orders", ()), spec.get("seeds", ()))
    ]
    found = sorted(path for path in folder.glob("*/order*-seed*") if re.fullmatch(r"order\d+-seed\d+", path.name))
    return list(dict.fromkeys([*planned, *found]))


def show_between(
    ours: Path, theirs: Path, names: tuple[str, str], figures: Sequence[str], method: str | None, to: str | None
) -> Iterator[Table | str]:
    """Two runs compared: a sentence a question, then the table, then what must be known of it."""
    from cat_bench.results.tables.between import between

    found = between(ours, theirs, names, figures, method, to)
    yield from found.sentences
    made = found.table
    table = _table(*made.columns)
    for row in made.rows:
        table.add_row(*(entry.text for entry in row))
    yield table
    yield from (*found.notes, *(f"– {gap}" for gap in made.gaps))


def _stages(cell: Path) -> list[Path]:
    return sorted(path.parent for path in cell.glob(f"[0-9]*/{RECORD}"))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
