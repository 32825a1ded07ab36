"""A finished stage of a run, opened: what was learned by then, in any backbone's terms and without loading one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.learning.adapter_state import AdapterState, Factor
from cat_bench.benchmark.learning.routed import Route, Routed, route_of
from cat_bench.benchmark.planning.keys import ADAPTER
from cat_bench.benchmark.planning.spec import suggestion
from cat_bench.benchmark.planning.variant import Variant
from cat_bench.benchmark.store.files import read_json
from cat_bench.benchmark.store.record import CELL, Named, RunRecord
from cat_bench.benchmark.store.stage import whole
from cat_bench.methods.base import Method
from cat_bench.methods.registry import methods


@dataclass(frozen=True)
class Learned:
    """All that a cell had learned when a stage ended: ΔW = dense + Σ B A of the factors, and learned tokens."""

    run: RunRecord
    folder: Path
    info: Mapping[str, Any]  # stage.json
    method: Method
    concepts: tuple[Named, ...]  # in the order in which they were learned; the last is this stage's
    factors: tuple[Factor, ...]  # scaling is inside B; an adapter that goes on training is the last
    dense: Mapping[str, Tensor]  # (out, in) by layer; {} where there is none
    tokens: Mapping[str, Tensor]  # (1, d) by trigger

    @property
    def label(self) -> str:
        """What the run calls the method: its name, with the settings of a variant."""
        return self.folder.parent.parent.name

    @property
    def title(self) -> str:
        """How its folders are called: `cat-02-mikato`, and the order and seed where they are not the run's first."""
        spec, cell = self.run.spec, self.folder.parent.name
        first = cell == "order{}-seed{}".format(*spec.pairs[0])
        return f"{self.label}-{self.folder.name}{'' if first else f'-{cell}'}"

    @cached_property
    def deltas(self) -> dict[str, Tensor]:
        """ΔW (out, in) by layer, in fp32: what is folded into the backbone's weights."""
        layers = dict.fromkeys([*self.dense, *(name for factor in self.factors for name in factor)])
        found = {}
        for name in layers:
            parts = [factor[name][1] @ factor[name][0] for factor in self.factors if name in factor]
            parts = [self.dense[name], *parts] if name in self.dense else parts
            found[name] = sum(parts[1:], start=parts[0])
        return found

    @cached_property
    def route(self) -> Route:
        """How the method weighs the factors for a prompt."""
        return route_of(self.method, self.concepts)

    @property
    def routed(self) -> bool:
        """Whether prompts of different concepts are drawn with different weights."""
        return self._weighed is not None

    @property
    def _weighed(self) -> int | None:
        """How many factors a route weighs; None where there is none."""
        routes = (self.route(concept.fill("a photo of a {}", self.method.form)) for concept in self.concepts)
        return next((len(weights) for weights in routes if weights is not None), None)

    @property
    def change(self) -> Mapping[str, Tensor] | Routed:
        """What is folded into the backbone's weights to draw: ΔW by layer, prompt by prompt where it is routed."""
        if (count := self._weighed) is None:
            return self.deltas
        nothing = {name: (A[:0], B[:, :0]) for name, (A, B) in self.factors[-1].items()}
        return Routed(self.factors[:count], self.dense, next(iter(self.factors[count:]), nothing), self.route)


def open_stage(
    folder: Path, method: str, stage: str | None = None, order: int | None = None, seed: int | None = None
) -> Learned:
    """What `method`, by its label, had learned after a stage of the run in `folder`.

    stage: its number from 1, or the id of the concept it learned; None: the last of the sequence. order and seed: None
    means the first there is. Raises RunError with what there is instead, MethodError if the method is not installed.
    """
    run = RunRecord.read(folder)
    spec, variant = run.spec, Variant.parse(method)
    method = variant.label
    if method not in spec.methods:
        hint = suggestion(method, list(spec.methods))
        raise RunError(f"method {method!r} is not in {folder}{hint}")
    pairs = [pair for pair in spec.pairs if order in (None, pair[0]) and seed in (None, pair[1])]
    if not pairs:
        given = [f"{what} {number}" for what, number in (("order", order), ("seed", seed)) if number is not None]
        there = ", ".join(f"{order} with {seed}" for order, seed in spec.pairs)
        raise RunError(f"{folder} has no {' with '.join(given)}; its orders with their seeds: {there}")
    order, seed = pairs[0]
    cell = folder / method / f"order{order}-seed{seed}"
    finished = dict(sorted(_finished(cell)))  # by number
    number = _number(stage, run, {id: n for n, (id, _) in finished.items()})
    if number not in finished:
        there = ", ".join(f"{number} ({id})" for number, (id, _) in finished.items()) or "none"
        status = (read_json(cell / CELL) or {}).get("status", "not run to its end")
        wanted = f"stage {stage}" if stage else "the last stage"
        raise RunError(f"{cell}: {wanted} is not finished (the cell is {status}); finished stages: {there}")
    if lacking := sorted(set(range(1, number)) - set(finished)):
        raise RunError(f"{cell}: stage {lacking[0]} is not there, and later ones go on from it: run again to make it")
    return _read(run, variant.name, finished[number][1], [id for n, (id, _) in finished.items() if n <= number])


def _finished(cell: Path) -> Iterator[tuple[int, tuple[str, Path]]]:
    for path in cell.glob("[0-9]*-*"):
        number, _, concept = path.name.partition("-")
        if number.isdecimal() and whole(path):
            yield int(number), (concept, path)


def _number(stage: str | None, run: RunRecord, finished: Mapping[str, int]) -> int:
    """Which stage is meant, from 1; 0 for that of a concept which is still to come."""
    ids = [concept.id for concept in run.concepts]
    if stage is None:
        return len(ids)
    if stage in ids:
        return finished.get(stage, 0)
    if stage.isdecimal() and 1 <= int(stage) <= len(ids):
        return int(stage)
    raise RunError(f"{run.folder} has no stage {stage!r}; give 1 to {len(ids)} or a concept: {', '.join(ids)}")


def _read(run: RunRecord, name: str, place: Path, ids: list[str]) -> Learned:
    path = place / ADAPTER
    try:
        state = AdapterState.unpack(dict(sorted(load(path.read_bytes()).items())))
    except (OSError, KeyError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read ({error}): delete its folder and run again") from error
    info = whole(place) or {}
    cls = methods.get(name)
    method = cls(cls.configure(overrides=info["config"]))
    method.load(state.extra)
    method.tokens = state.tokens
    known = {concept.id: concept for concept in run.concepts}
    concepts = tuple(known[id] for id in ids)
    return Learned(
        run=run,
        folder=place,
        info=info,
        method=method,
        concepts=concepts,
        factors=_factors(state, method.config),
        dense=state.dense,
        tokens={concept.trigger: state.tokens[concept.id] for concept in concepts if concept.id in state.tokens},
    )


def _factors(state: AdapterState, config: Method.Config) -> tuple[Factor, ...]:
    """Those of the past, oldest first, then what trains on, unless it is as fresh as a merge leaves it (B = 0)."""
    scaling = (config.rank if config.alpha is None else config.alpha) / config.rank
    last = {name: (state.A[name], scaling * state.B[name]) for name in state.A}
    nothing_else = not state.factors and not state.dense
    if nothing_else or any(bool(B.any()) for _, B in last.values()):
        return (*state.factors, last)
    return state.factors
