"""The models of a run, resolved once from its specification: which they are, where they lie, what they make of a run.

PyTorch is imported only where a device must be known.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.backbones import folders as backbones
from cat_bench.benchmark.backbones.registry import Registered, entry_for, known_as
from cat_bench.benchmark.errors import CatBenchError, SpecError
from cat_bench.benchmark.extractors import folders as extractors
from cat_bench.benchmark.planning.identity import CLIP, DINO, Identity, Model
from cat_bench.benchmark.planning.spec import Economy, RunSpec
from cat_bench.benchmark.system.compiler import compiler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cat_bench.benchmark.planning.engine import Engine, Reader


@dataclass(frozen=True)
class Models:
    """Ids and folders. A folder is None where a model is not on this machine, or is one of open_clip's own."""

    backbone: str
    folder: Path | None
    extractors: Mapping[str, tuple[str, Path | None]]  # by role

    @classmethod
    def find(cls, spec: RunSpec, *, fetch: bool = False) -> Models:
        """Those that a specification names. Raises BackboneError or MetricModelError.

        fetch: have what is not here yet from the Hub.
        """
        backbone, folder = backbones.find_backbone(spec.backbone, fetch=fetch)
        judges = {CLIP: extractors.find_metric(spec.metric or extractors.metric_for(backbone, folder))}
        if spec.dino:
            judges[DINO] = extractors.find_dino(spec.dino, fetch=fetch)
        return cls(backbone, folder, judges)

    @property
    def registered(self) -> Registered:
        """What is known of the backbone, from the one whose settings suit it where it is not registered itself."""
        return entry_for(self.backbone, self.folder)


class TextToImage:
    """The domain of text-to-image models: what `planning.engine.Domain` asks for."""

    def settled(self, spec: RunSpec) -> RunSpec:
        """The sampler's settings are the backbone's own unless given. Raises SpecError for what cannot be had here."""
        if spec.economy.compile and compiler() is None:
            raise SpecError(
                "economy compile: no C++ compiler is found (CXX, g++, clang++): install one, or leave it out"
            )
        known = Models.find(spec).registered
        usual = {"name": known.scheduler, "steps": known.steps, "guidance": known.guidance}
        missing = {key: value for key, value in usual.items() if getattr(spec.sampler, key) is None}
        return spec.model_copy(update={"sampler": spec.sampler.model_copy(update=missing)})

    def files(self, spec: RunSpec) -> tuple[Path, ...] | None:
        """The folders of the models; None if one cannot be found."""
        try:
            models = Models.find(spec)
        except CatBenchError:
            return None
        places = (models.folder, *(folder for _, folder in models.extractors.values()))
        return tuple(place for place in places if place is not None)

    def identity(self, spec: RunSpec) -> Identity:
        """From the models' files, fetched if need be; none is loaded, except one that open_clip knows by name."""
        models = Models.find(spec, fetch=True)
        assert models.folder is not None  # fetched, or an error was raised
        return Identity(
            backbone=Model(models.backbone, backbones.fingerprint(models.folder)),
            extractors={
                role: Model(id, _fingerprint(role, id, place)) for role, (id, place) in models.extractors.items()
            },
            presets=known_as(models.backbone, models.folder),
            resolution=backbones.resolution(models.folder),
            how=how(spec, models),
        )

    def reader(self, spec: RunSpec) -> Reader | None:
        """That of the metric model, where it has one; only NumPy."""
        from cat_bench.benchmark.extractors.part_reader import PartReader

        return PartReader.beside(Models.find(spec).extractors[CLIP][1])

    def open(self, spec: RunSpec) -> AbstractContextManager[Engine]:
        """The engine, with PyTorch."""
        from cat_bench.benchmark.text_to_image.engine import TorchEngine

        return TorchEngine(spec)


def _fingerprint(role: str, id: str, folder: Path | None) -> str:
    if folder is not None:
        return extractors.fingerprint(role, folder)
    from cat_bench.benchmark.extractors.clip import MetricModel

    return MetricModel.load(id, "cpu").fingerprint  # its files are open_clip's affair; its weights are what counts


def how(spec: RunSpec, models: Models) -> dict[str, Any]:
    """What numbers depend on besides the inputs."""
    from cat_bench.benchmark.system.device import resolve_device, resolve_precision, weights_dtype

    device = resolve_device(spec.device)
    usual = Economy().model_dump()
    return {
        "device": device.type,
        "precision": resolve_precision(spec.precision, device),
        "weights": str(weights_dtype(spec.weights, device, models.registered.weights)).removeprefix("torch."),
        **{key: value for key, value in spec.economy.model_dump().items() if value != usual[key]},
    }
