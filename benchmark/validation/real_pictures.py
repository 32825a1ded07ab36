"""Real pictures in place of generated ones: damaged, worse and worse, and copied from the training pictures.

Half of each concept's references are judged by the other half, then the other way round. What is kept of the base model
is the base model's own pictures, damaged the same, beside themselves undamaged.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import pandas as pd

from cat_bench.benchmark.planning.items import Item
from cat_bench.benchmark.validation.damages import DAMAGES, REDRAWN, Damage, Pixels, Redrawn, mild, redrawn
from cat_bench.benchmark.validation.held_out import Bench, captions, held_out
from cat_bench.benchmark.validation.setup import Setup, Work
from cat_bench.results.validation.series import FOLD, Series

Pictures = Mapping[str, Sequence[Pixels]]  # by concept


def pictures(setup: Setup) -> int:
    """How many will be judged: for the progress, at most."""
    strengths = sum(1 + len(damage.strengths) for damage in DAMAGES) + sum(len(series.strengths) for series in REDRAWN)
    return strengths * _at_once(setup)


def _at_once(setup: Setup) -> int:
    return sum(setup.references.values()) + 2 * len(setup.kept_items)


def damaged(setup: Setup) -> Generator[Work, None, list[Series]]:
    """All series of damage that apply to the sequence."""
    folds = []
    for number in (0, 1):  # the even references judged by the odd ones, then the other way round
        held = [
            held_out(concept, captions(concept, setup.references[concept.id])[number::2], slice(1 - number, None, 2))
            for concept in setup.concepts
        ]
        folds.append(Bench.prepared(setup, f"fold{number}", held))
    found = []
    every: tuple[Damage | Redrawn, ...] = (*DAMAGES, *REDRAWN)
    for series in every:
        strengths = (series.none, *series.strengths) if isinstance(series, Damage) else series.strengths
        tables = []
        for strength in strengths:
            if isinstance(series, Damage):
                shown, kept = _damaged(setup, series, strength)
            else:
                shown, kept = _redrawn(setup, series, strength), setup.kept
            if shown:
                tables.append(_judged(folds, f"{series.id}-{strength:g}", shown, kept, isinstance(series, Redrawn)))
            yield Work(_at_once(setup), series.title.lower())
        if tables:
            found.append(Series(series.id, series.title, series.unit, "pictures", strengths, tuple(tables)))
    return found


def _damaged(setup: Setup, series: Damage, strength: float) -> tuple[Pictures, Mapping[Item, Pixels]]:
    """All references, and all that is kept of the base model, at one strength."""

    def worse(pixels: Pixels, number: int) -> Pixels:
        return pixels if strength == series.none else series.damaged(pixels, number, strength)

    size = setup.plan.identity.resolution
    shown = {
        concept.id: [worse(np.asarray(picture), n) for n, picture in enumerate(concept.reference_images(size))]
        for concept in setup.concepts
    }
    return shown, {item: worse(pixels, n) for n, (item, pixels) in enumerate(setup.kept.items())}


def _redrawn(setup: Setup, series: Redrawn, strength: float) -> Pictures:
    """The references of the concepts that the series applies to."""
    found = {concept.id: redrawn(concept, series, strength) for concept in setup.concepts}
    return {id: pixels for id, pixels in found.items() if pixels is not None}


def _judged(
    folds: Sequence[Bench], name: str, shown: Pictures, kept: Mapping[Item, Pixels], concepts_alone: bool
) -> pd.DataFrame:
    """Rows of all references over both folds."""
    tables = []
    for number, bench in enumerate(folds):
        half = {id: pixels[number::2] for id, pixels in shown.items()}
        table = bench.score(name, half, kept).assign(**{FOLD: number})
        tables.append(table[table["concept"].isin(list(shown))] if concepts_alone else table)
    return pd.concat(tables, ignore_index=True)


def copied(setup: Setup) -> dict[str, pd.DataFrame]:
    """Rows of the training pictures in place of generated ones, by what was done to them."""
    bench = Bench.prepared(setup, "copies", [held_out(c, c.train_captions, slice(None)) for c in setup.concepts])
    made = {concept.id: mild(concept.train_images(setup.plan.identity.resolution)) for concept in setup.concepts}
    ways = list(next(iter(made.values())))
    return {way: bench.score(way, {id: found[way] for id, found in made.items()}, setup.kept) for way in ways}
