"""Is everything there that a run needs? Versions, devices, disk, models, sequences."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from cat_bench.benchmark.system.provenance import cores, machine, versions

ENOUGH_DISK = 1 << 30
ENOUGH_MEMORY = 3 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. trouble: what to do about it; None if all is well."""

    what: str
    found: str
    trouble: str | None = None


def examine(runs: Path) -> Iterator[Finding]:
    """Look at everything, cheapest first."""
    yield from _packages()
    yield from _machine(runs)
    yield from _devices()
    yield from _models()
    yield from _sequences()


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    yield Finding("python", str(versions()["python"]))
    for line in requires("cat-bench") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "missing", f"pip install '{requirement}'")
            continue
        fits = requirement.specifier.contains(installed, prereleases=True)
        yield Finding(requirement.name, installed, None if fits else f"pip install '{requirement}'")


def _machine(runs: Path) -> Iterator[Finding]:
    facts = machine()
    yield Finding("processor", f"{facts['processor']}, {facts['cores']} cores")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        few = "a run needs about 3 GB" if memory < ENOUGH_MEMORY else None
        yield Finding("memory", f"{memory / 2**30:.1f} GiB", few)
    above = (runs.absolute(), *runs.absolute().parents)
    place = next(folder for folder in above if os.path.isdir(folder))
    free = shutil.disk_usage(place).free
    little = "a run needs about 1 GB" if free < ENOUGH_DISK else None
    yield Finding("free disk", f"{free / 2**30:.1f} GiB at {place}", little)
    there = next(path for path in above if os.path.lexists(path))
    unfit = "is no folder" if there != place else "is not writable" if not os.access(place, os.W_OK) else None
    yield Finding("runs", str(runs), f"{there} {unfit}: choose another with --runs" if unfit else None)


def _devices() -> Iterator[Finding]:
    try:
        import torch

        from cat_bench.benchmark.system.device import resolve_device, resolve_precision
    except ImportError:
        return  # named among the packages already
    device = resolve_device("auto")
    named = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores()} threads"
    yield Finding("device", f"{device.type} ({named}), precision {resolve_precision('auto', device)}")


def _models() -> Iterator[Finding]:
    from cat_bench.benchmark.backbones.folders import backbone_folder
    from cat_bench.benchmark.errors import CatBenchError
    from cat_bench.benchmark.extractors.folders import find_metric, metric_for
    from cat_bench.benchmark.planning.spec import RunSpec

    name = RunSpec().backbone
    try:
        id_, folder = backbone_folder(name)
        _, metric = find_metric(metric_for(id_, folder))
    except CatBenchError as error:
        yield Finding("backbone", "missing", str(error))
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield Finding("backbone", f"{name}, {size / 2**20:.0f} MiB, scored with {metric.name if metric else 'CLIP'}")


def _sequences() -> Iterator[Finding]:
    from cat_bench.methods.registry import methods
    from cat_bench.tasks.entries import concept_ids, read_entry, sequence_names
    from cat_bench.tasks.sequence import load_sequence

    for name in sequence_names():
        try:
            count = len(concept_ids(name))
            photos = read_entry(name)[0].photos
            if not photos:
                load_sequence(name)
        except ValueError as error:
            yield Finding(f"sequence {name}", "broken", str(error))
        else:
            yield Finding(f"sequence {name}", f"{count} concepts" + (" made of photos of yours" if photos else ""))
    try:
        yield Finding("methods", ", ".join(methods.names()))
    except ValueError as error:
        yield Finding("methods", "broken", str(error))
