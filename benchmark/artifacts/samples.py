"""Pictures for looking at: any prompts, from what a run has learned or from the untouched model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from cat_bench.benchmark.artifacts.learned import Learned
from cat_bench.benchmark.artifacts.output_folder import check_free, own_folder
from cat_bench.benchmark.backbones.backbone import Backbone
from cat_bench.benchmark.errors import SamplingError
from cat_bench.benchmark.planning.identity import THREADS
from cat_bench.benchmark.planning.plan import BASE
from cat_bench.benchmark.planning.spec import Sampler
from cat_bench.benchmark.store.files import png, write_bytes
from cat_bench.benchmark.store.record import Named, RunRecord
from cat_bench.benchmark.system.determinism import deterministic
from cat_bench.benchmark.system.device import resolve_device, resolve_precision
from cat_bench.benchmark.text_to_image.sampling import SamplerConfig, sample

RECORD = "samples.json"
SHEET = "sheet"


@dataclass(frozen=True)
class Look:
    """What is to be seen: every prompt from every noise seed, with the run's model. learned None: untouched."""

    run: RunRecord
    learned: Learned | None
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    sampler: Sampler

    @property
    def title(self) -> str:
        """How its folder is called."""
        return self.learned.title if self.learned else BASE

    @property
    def count(self) -> int:
        """Of images."""
        return len(self.prompts) * len(self.seeds)


def filled(prompts: Sequence[str], concepts: Sequence[Named], noun: bool) -> tuple[str, ...]:
    """Each prompt once; one with "{}" once for every concept, named as this method's prompts name it."""
    from cat_bench.tasks.photos.captions import fill

    found = []
    for prompt in prompts:
        if not prompt.strip():
            raise SamplingError("--prompt is empty; say what to draw, with {} or a trigger for a concept")
        if "{}" in prompt:
            found += [fill(prompt, concept.subject(noun)) for concept in concepts]
        else:
            found.append(prompt)
    return tuple(dict.fromkeys(found))


def draw(look: Look, out: Path, device: str | None = None) -> Iterator[int]:
    """Write `out`: `<prompt>-<seed>.png` for each image, a sheet of all of them, a record. Yields how many are done.

    device: None for the run's. Raises ExportError where `out` cannot be used, SamplingError or BackboneError.
    """
    check_free(out, RECORD)
    spec = look.run.spec
    where = resolve_device(device or spec.device)
    backbone = Backbone.load(spec.backbone, where, spec.weights)
    if backbone.fingerprint != look.run.info["backbone"]["fingerprint"]:
        raise SamplingError(
            f"{backbone.folder} is not the model that {look.run.folder} was made with: its files changed"
        )
    items = [(number, prompt, seed) for number, prompt in enumerate(look.prompts, 1) for seed in look.seeds]
    names = [f"{number:02d}-{seed}.png" for number, _, seed in items]
    facts: dict[str, Any] = {
        "model": look.title,
        "backbone": look.run.info["backbone"],
        "prompts": {f"{number:02d}": prompt for number, prompt in enumerate(look.prompts, 1)},
        "seeds": look.seeds,
        "sampler": look.sampler.model_dump(),
    }
    with deterministic(THREADS), own_folder(out, RECORD, facts) as folder:
        batches = sample(
            backbone,
            look.learned.change if look.learned else None,
            [prompt for _, prompt, _ in items],
            [seed for _, _, seed in items],
            SamplerConfig(**look.sampler.model_dump()),
            tokens=(look.learned.tokens if look.learned else None) or None,
            precision=resolve_precision(spec.precision, where),
        )
        for first, pictures in batches:
            for name, picture in zip(names[first:], pictures, strict=False):
                write_bytes(folder / name, png(picture), durable=False)
            yield first + len(pictures)
        _sheet(look, folder)


def _sheet(look: Look, folder: Path) -> None:
    """Rows are prompts, columns noise seeds."""
    from cat_bench.results.pictures.grids import Grid, Tile, compose

    rows = {
        "\n".join(wrap(prompt, 40, max_lines=6, placeholder=" …")): [
            Tile(folder / f"{number:02d}-{seed}.png") for seed in look.seeds
        ]
        for number, prompt in enumerate(look.prompts, 1)
    }
    image = compose(rows, [f"noise {seed}" for seed in look.seeds], look.title)
    Grid.of(SHEET, look.title, "Rows are prompts, columns noise seeds.", image).write(folder)
