"""The report as one HTML page that needs no other file and no network, and may not use any."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cat_bench.results.measures.available import metrics_of
from cat_bench.results.pictures.style import Plot, looks
from cat_bench.results.records.run_folder import Run
from cat_bench.results.report import reading
from cat_bench.results.report.tiles import Tiles
from cat_bench.results.tables.answers import MARKS, ablations, answers, glance
from cat_bench.results.tables.formats import group_tables, headline
from cat_bench.results.tables.notes import SAMPLED
from cat_bench.results.tables.sentences import few, sentences, stopped
from cat_bench.results.tables.summary import Summary
from cat_bench.results.tables.verdicts import verdict_table
from cat_bench.results.verdicts.comparison import Comparison

TEMPLATES = Path(__file__).parent / "templates"


def page(
    run: Run,
    summary: Summary,
    compared: Sequence[Comparison],
    figures: Sequence[Plot],
    tiles: Tiles | None,
) -> str:
    """The page. Its one script is named by its hash, so that nothing else that stands in it can run."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html.j2").render(
        run=run,
        summary=summary,
        script=script,
        script_hash=f"sha256-{digest}",
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        headline=headline(summary),
        tables=[*group_tables(summary), *reading.change_tables(run)],
        plots=figures,
        looks=looks(run.methods),
        tiles=tiles,
        seen=_seen(tiles) if tiles else None,
        best=reading.verdicts(summary),
        compared=compared,
        few=few(compared),
        stopped=stopped(run),
        answers=answers(compared),
        sentences=sentences(compared),
        glance=glance(compared),
        ablations=ablations(run, compared),
        marks=MARKS,
        verdicts=verdict_table(compared, summary),
        sampled=SAMPLED[run.stages],
        trouble=reading.trouble(run),
        mixtures=reading.mixtures(run),
        missing=reading.missing_scores(run),
        metrics=metrics_of(run),
        extractors=reading.extractors(run),
        provenance=reading.provenance(run.info),
        methods=reading.method_settings(run),
    )


def _seen(tiles: Tiles) -> dict[str, Any]:
    """What the script must know of the pictures: where which one is, and what to say of it."""
    cells = [
        {
            "method": cell.method,
            "turns": tiles.turns(cell),
            "there": [sheets[number].there for sheets in tiles.sheets],
            "words": [[tiles.word(cell, t, k) for k in range(len(tiles.concepts))] for t in tiles.stages],
            "scores": tiles.scores[number],
        }
        for number, cell in enumerate(tiles.cells)
    ]
    texts = [[each[concept] for concept in tiles.concepts] for each in tiles.texts]
    still = [sheet.there for sheet in tiles.still]
    return {
        "concepts": tiles.concepts,
        "stages": tiles.stages,
        "names": tiles.names,
        "cells": cells,
        "still": still,
        "texts": texts,
    }
