"""How much memory there is for a process that begins now, and how a process holds what it has."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")
_TRIM, _MMAP, _HELD = -1, -3, 1 << 30  # of mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, bytes


def hold_freed_memory() -> None:
    """Let this process keep what it frees instead of giving it back: the next training step needs as much again.

    glibc gives large blocks back at once, and the system then clears every page anew, step by step: a tenth of a
    step's time. Elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM, _HELD)
        mallopt(_MMAP, _HELD)


def available_memory() -> int:
    """Bytes that can be had without taking them from others: of the machine, or of the container if that has less."""
    left = [_machine()]
    try:
        # The cache of files counts as used there, and gives way when memory is wanted.
        cache = dict(line.split() for line in (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        used = int((_GROUP / "memory.current").read_text(encoding="ascii")) - int(cache.get("inactive_file", 0))
        left.append(int((_GROUP / "memory.max").read_text(encoding="ascii")) - used)
    except (OSError, ValueError):  # no such group, or "max": no limit
        pass
    return max(0, min(left))


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc on this system: all of its memory, below
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
