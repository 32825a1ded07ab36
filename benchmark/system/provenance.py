"""Where results come from: versions, the state of the source, the machine, and how much memory was used."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("cat-bench", "torch", "diffusers", "transformers", "peft", "open_clip_torch", "safetensors", "numpy", "pillow"),
    *("pandas", "pyarrow", "scipy", "dicebear-core", "dicebear-styles", "resvg-py"),
)
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def versions() -> dict[str, str | None]:
    """Installed versions of Python and of the packages that numbers depend on; None where one is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def made_with(device: str) -> dict[str, str | None]:
    """What the numbers of one stage come from: the versions that decide them and, on a GPU, its model."""
    found = {package: versions()[package] for package in ("torch", "diffusers", "peft")}
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and device == "cuda" and torch.cuda.is_available() else None
    return {**found, "gpu": gpu}


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the checkout that the package runs from and whether it was changed; None for an installed package."""
    folder = folder or Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


@cache
def program_digest() -> str:
    """sha256 of the program's own text, wherever it is installed."""
    total = hashlib.sha256()
    for room in ("benchmark", "methods", "tasks", "results"):
        spec = importlib.util.find_spec(f"cat_bench.{room}")
        for folder in map(Path, (spec.submodule_search_locations or ()) if spec else ()):
            for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
                total.update(f"{room}/{path.relative_to(folder).as_posix()}\n".encode())
                total.update(path.read_bytes())
    return total.hexdigest()


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """What OMP_NUM_THREADS says, where someone set it; else one thread per core."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else cores()


def machine() -> dict[str, Any]:
    """The computer, without its name."""
    return {"system": platform.system(), "release": platform.release(), "processor": _processor(), "cores": cores()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def reset_peak_memory() -> None:
    """Start measuring anew, where the system can (Linux, CUDA); elsewhere the peak is the whole process's."""
    with suppress(OSError):  # a container may forbid it: peaks are then since the process's start, an upper bound
        _CLEAR.write_text("5", encoding="ascii")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """Bytes at the peak since `reset_peak_memory`: of the CUDA device if one is in use, else of the process."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc on this system: ask the C library below
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
