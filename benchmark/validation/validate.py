"""The tests of the instrument carried out: everything scored that `results.validation` judges. A generator of progress.

1  base      the references are embedded, the untouched backbone is drawn and scored
2  pictures  real pictures, worse and worse, and training pictures, in place of generated ones
3  adapter   naive LoRA learns the first concept alone; it is blended in by degrees, and its weights are disturbed
4  noise     the same adapter drawn again from other evaluation noise, and the base model with it
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.engine import Domain
from cat_bench.benchmark.planning.keys import SCORES
from cat_bench.benchmark.planning.plan import make_plan
from cat_bench.benchmark.planning.spec import RunSpec
from cat_bench.benchmark.text_to_image.models import TextToImage
from cat_bench.benchmark.text_to_image.references import REFERENCES, prepare_references
from cat_bench.benchmark.validation import adapters, real_pictures
from cat_bench.benchmark.validation.setup import Setup, Work
from cat_bench.results.records.long_table import read_scores
from cat_bench.results.validation.series import Measured
from cat_bench.tasks.sequence import load_sequence

METHOD = "lora"
LEAST_REFERENCES = 4


@dataclass(frozen=True)
class Progress:
    """So much of the work is done, in steps of training and pictures; what was done last."""

    done: int
    total: int
    what: str


def validate(spec: RunSpec, repeats: int, domain: Domain = TextToImage()) -> Generator[Progress, None, Measured]:
    """Carry out all tests; of the specification's methods only naive LoRA, of its orders 0, of its seeds the first.

    repeats: how often the adapter is drawn again from other noise. Raises SpecError, TaskError, BackboneError or
    MetricModelError for what the user can mend.
    """
    sequence = load_sequence(spec.sequence, Path(spec.data) if spec.data else None)
    sequence.check()
    once = {"sequence": sequence.id, "methods": (METHOD,), "orders": (0,), "seeds": spec.seeds[:1], "replicates": None}
    spec = domain.settled(spec).model_copy(update=once)
    with TemporaryDirectory() as folder:
        plan = make_plan(spec, Path(folder), sequence, domain.identity(spec))
        for concept in sequence.concepts:
            if len(concept.reference_images(plan.identity.resolution)) < LEAST_REFERENCES:
                raise SpecError(f"concept {concept.id} has fewer than {LEAST_REFERENCES} references: half judge half")
        with domain.open(spec) as engine:
            setup = Setup(plan, engine, domain.reader(spec))
            total = len(plan.base.items) + real_pictures.pictures(setup) + adapters.work(setup, repeats)
            return (yield from _shown(_all(setup, repeats), total))


def _shown(work: Generator[Work, None, Measured], total: int) -> Generator[Progress, None, Measured]:
    """From what was just done to what is done in all."""
    done = 0
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            measured: Measured = end.value
            return measured
        done += step.units
        yield Progress(min(done, total), total, step.what)


def _all(setup: Setup, repeats: int) -> Generator[Work, None, Measured]:
    prepare_references(setup.plan, setup.engine, setup.plan.folder / REFERENCES)
    base = setup.plan.base
    yield from setup.rows(setup.plan, base, None, "the base model")
    damaged = yield from real_pictures.damaged(setup)
    copies = real_pictures.copied(setup)
    learned = yield from adapters.adapters(setup)
    drawn = [learned[0].tables[-1]]
    for number in range(1, repeats + 1):
        drawn.append((yield from adapters.again(setup, number)))
    return Measured((*damaged, *learned), tuple(drawn), copies, read_scores(base.place / SCORES), _facts(setup))


def _facts(setup: Setup) -> dict[str, str]:
    plan, spec, steps = setup.plan, setup.plan.spec, setup.cell.config.steps
    sampler = f"{spec.sampler.name}, {spec.sampler.steps} steps, guidance {spec.sampler.guidance:g}"
    images = f"{spec.images_per_prompt} for an evaluation prompt, {spec.preservation_images} for a preservation prompt"
    return {
        "sequence": f"{plan.sequence.id}.v{plan.sequence.version}",
        "backbone": plan.identity.backbone.id,
        "judges": ", ".join(model.id for model in plan.identity.extractors.values()),
        "real pictures": f"{sum(setup.references.values())} references of {len(setup.concepts)} concepts",
        "adapter": f"naive LoRA, {steps} steps on {setup.concepts[0].id} alone",
        "pictures of an adapter": f"{len(setup.stage.items)}: {images} ({sampler})",
    }
