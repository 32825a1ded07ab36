"""How much memory there is for a process that begins now."""

from __future__ import annotations

import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


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
