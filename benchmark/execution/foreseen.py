"""What is known before a run to go less well on its backbone than it might, in a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cat_bench.benchmark.backbones.registry import registered
from cat_bench.benchmark.execution.workers.executor import Opened
from cat_bench.benchmark.planning.plan import Plan
from cat_bench.tasks.photos.concept import PhotoConcept

MANY_TOKENS = 4  # a trigger of more is worth a warning


def foreseen(plan: Plan, opened: Opened) -> Iterator[str]:
    """The lines, each once."""
    yield from _photos_of_drawings(plan)
    yield from _long_triggers(plan, opened.tokens)
    yield from dict.fromkeys(_of_methods(plan, opened.inputs))


def _photos_of_drawings(plan: Plan) -> Iterator[str]:
    """What ships has never seen a photo, and neither has its judge."""
    model = plan.identity.backbone.id
    known = registered().get(model)
    if known and known.hub is None and any(isinstance(concept, PhotoConcept) for concept in plan.sequence.concepts):
        yield (
            f"{model} draws cartoons of {plan.identity.resolution} pixels: with photos it shows that all works, and no "
            "more; for results say --backbone sd15, or a diffusers folder"
        )


def _long_triggers(plan: Plan, counts: Mapping[str, int]) -> Iterator[str]:
    """A word that the tokenizer cuts into many pieces is a poor trigger where no token is learned in its place."""
    if all(cell.config.token for cell in plan.cells):
        return
    if long := {trigger: count for trigger, count in counts.items() if count > MANY_TOKENS}:
        named = ", ".join(f"{trigger} ({count} tokens)" for trigger, count in long.items())
        yield f"triggers are learned best as one to {MANY_TOKENS} rare tokens; this backbone reads {named}"


def _of_methods(plan: Plan, inputs: Mapping[str, int]) -> Iterator[str]:
    """What the methods say of their settings and these layers."""
    for cell in plan.cells:
        targets = tuple(f".{target}" for target in cell.config.targets)
        adapted = {name: width for name, width in inputs.items() if f".{name}".endswith(targets)}
        try:
            line = cell.method.foresee(cell.config, adapted, len(plan.sequence.concepts)) if adapted else None
        except Exception as error:  # of a method's own code; it only wanted to say something, so the run goes on
            line = f"foresee() failed: {type(error).__name__}: {error}"
        if line:
            yield f"{cell.cell.method}: {line}"
