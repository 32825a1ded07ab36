"""What runs on a cluster's node: a worker that first makes sure it is the same program with the same weights."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cat_bench.benchmark.execution.workers.executor import Message, Setup, Task
from cat_bench.benchmark.execution.workers.worker import Notes, Worker, noted, verdict
from cat_bench.benchmark.system.provenance import program_digest, versions

EVERY = 0.5  # seconds between two reports of a training's progress


def about() -> dict[str, Any]:
    """What must be equal wherever a run is made (the program, packages that numbers depend on), and where this is."""
    packages = {package: versions()[package] for package in ("cat-bench", "torch", "diffusers", "peft")}
    return {"packages": packages, "program": program_digest(), "folder": os.getcwd(), "path": list(sys.path)}


class Guest:
    """An actor. Its methods' signatures must not change: a node with another version answers them, too."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._notes = Notes()
        logging.getLogger("cat_bench").addHandler(self._notes)

    def meet(self, theirs: Mapping[str, Any], setup: bytes) -> str | None:
        """Why this node cannot work for a driver that tells this about itself, in one line; None if it can."""
        try:
            if line := _other_program(theirs):
                return line
            with suppress(OSError):  # paths in the specification are meant from there
                os.chdir(theirs["folder"])
            # So are methods of one's own, where the disk is the same.
            sys.path += [place for place in theirs["path"] if place not in sys.path and Path(place).is_dir()]
            known: Setup = pickle.loads(setup)
            if line := _other_models(known):
                return line
            self._worker = Worker(known, _scratch(), EVERY)
        except Exception as error:
            return verdict(error)[1]
        return None

    def work(self, task: Task) -> Iterator[Message]:
        """The messages of a task."""
        assert self._worker is not None
        # No `yield from`: Ray sends values into its generators, and the lists further down cannot take them.
        for message in noted(self._worker.work(task), self._notes):  # noqa: UP028
            yield message


def _other_program(theirs: Mapping[str, Any]) -> str | None:
    ours = about()
    for package, version in theirs["packages"].items():
        if ours["packages"].get(package) != version:
            return f"it has {package} {ours['packages'].get(package)}, this is {version}"
    if ours["program"] != theirs["program"]:
        return f"its cat-bench {ours['packages']['cat-bench']} differs from this one: install the same on every node"
    return None


def _other_models(setup: Setup) -> str | None:
    theirs, ours = setup.plan.identity, setup.domain.identity(setup.plan.spec)
    if ours.backbone.fingerprint != theirs.backbone.fingerprint:
        return f"its {theirs.backbone.id} has other weights"
    for role, model in theirs.extractors.items():
        if role not in ours.extractors or ours.extractors[role].fingerprint != model.fingerprint:
            return f"its {model.id} has other weights"
    for key, value in theirs.how.items():
        if ours.how.get(key) != value:
            return f"it computes with {key} {ours.how.get(key)}, this run with {value}: say which with --{key}"
    for concept in setup.plan.sequence.concepts:
        if _afresh(concept) != concept.fingerprint:
            return f"its pictures of {concept.id} are others"
    return None


def _afresh(concept: Any) -> str:
    """A concept's fingerprint from its pictures on this machine: a copy knows nothing of what the driver has read."""
    fields = getattr(type(concept), "__dataclass_fields__", {})
    again = type(concept)(**{name: getattr(concept, name) for name in fields}) if fields else concept
    return str(again.fingerprint)


def _scratch() -> Path:
    """A folder to work in; those of workers that were killed are removed."""
    start = f"cat-bench-{os.getuid()}-"
    for path in Path(tempfile.gettempdir()).glob(f"{start}*"):
        try:
            os.kill(int(path.name.removeprefix(start)), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, PermissionError):
            pass  # somebody else's
    return Path(tempfile.gettempdir()) / f"{start}{os.getpid()}"
