"""How many workers a run has, and where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.system.compiler import keep_compiled
from cat_bench.benchmark.system.memory import available_memory
from cat_bench.benchmark.system.provenance import cores

if TYPE_CHECKING:
    from cat_bench.benchmark.execution.workers.executor import Executor
    from cat_bench.benchmark.planning.engine import Domain
    from cat_bench.benchmark.planning.plan import Plan

COMPILED = ".compiled"  # in the folder of runs: what torch.compile has made; safe to delete
SCRATCH = ".workers"  # in a run's folder: what workers of this machine have in hand

# What a worker on the CPU needs, from what `faces5` and Stable Diffusion 1.5 took (docs/performance.md): libraries and
# a batch's activations, and its models' files several times over (weights in fp32, the adapted copy, gradients).
_LIBRARIES = 5 << 28
_MODELS = 2.5


@dataclass(frozen=True)
class Crew:
    """What is wished for. Results do not depend on it.

    workers  None: as many as cores or GPUs, cells and memory allow
    per_gpu  how many workers share a GPU
    cluster  address of a Ray cluster, or `local` for one started on this machine; None: no cluster
    """

    workers: int | None = 1
    per_gpu: int = 1
    cluster: str | None = None

    def __post_init__(self) -> None:
        """Raises SpecError."""
        for flag, count in (("--workers", self.workers), ("--workers-per-gpu", self.per_gpu)):
            if count is not None and count < 1:
                raise SpecError(f"{flag} {count}: there must be at least one")


def assemble(crew: Crew, plan: Plan, domain: Domain, chains: int) -> tuple[Executor, str | None]:
    """The executor, not yet entered, and how many workers it has and why, in one line if there is something to say.

    chains: how many things can be made side by side.
    """
    from cat_bench.benchmark.execution.workers.executor import Setup

    if plan.spec.economy.compile:
        keep_compiled(plan.folder.parent / COMPILED)
    setup = Setup(replace(plan, cells=()), domain)
    if crew.cluster is not None:
        from cat_bench.benchmark.execution.workers.cluster import Cluster

        return Cluster(setup, crew.cluster, crew.workers, crew.per_gpu, chains), None
    gpus = visible_gpus() if plan.identity.how.get("device") == "cuda" else ()
    if gpus:
        most, each = len(gpus) * crew.per_gpu, "one for each GPU" if crew.per_gpu == 1 else f"{crew.per_gpu} a GPU"
    elif plan.identity.how.get("device") == "cpu":
        most, each = _cpu(plan, domain)
    else:
        most, each = 1, f"there is one {plan.identity.how.get('device')} device"
    count, why = number(crew.workers, most, each, chains)
    scratch = plan.folder / SCRATCH
    if count == 1:
        from cat_bench.benchmark.execution.workers.inline import Inline

        return Inline(setup, scratch), why
    from cat_bench.benchmark.execution.workers.processes import Processes

    places: list[Mapping[str, str]] = [
        {"CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)]} if gpus else {} for n in range(count)
    ]
    return Processes(setup, scratch, places), why


def number(wanted: int | None, most: int, each: str, chains: int) -> tuple[int, str | None]:
    """How many workers, and the line that says why; None where one was asked for.

    most, each: how many the machine bears, and which of its limits that is.
    """
    count = max(1, min(wanted or most, chains))
    if wanted == 1:
        return count, None
    if count == chains and count < (wanted or most):
        why = f"as many as there are cells left{' and the base model' if chains > 1 else ''}"
        why = "one cell is left" if chains == 1 else why
    else:
        why = each if wanted is None else "as asked"
    return count, f"{count} worker{'' if count == 1 else 's'}: {why}"


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return tuple(name.strip() for name in given.split(",") if name.strip())
    return tuple(map(str, range(torch.cuda.device_count())))


def _cpu(plan: Plan, domain: Domain) -> tuple[int, str]:
    """As many as cores, unless memory holds fewer."""
    files = (path for folder in domain.files(plan.spec) or () for path in folder.rglob("*") if path.is_file())
    need = int(_LIBRARIES + _MODELS * sum(path.stat().st_size for path in files))
    fit = available_memory() // need
    if fit < cores():
        return max(1, fit), f"each needs about {need / 2**30:.1f} GiB, {available_memory() / 2**30:.1f} GiB are free"
    return cores(), "one for each core"
