"""One process works in a run's folder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cat_bench.benchmark.errors import RunError

NAME = ".lock"
PATIENCE = 1.0  # seconds


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises RunError if another process holds it.

    The kernel releases the lock when the process ends, however it ends: a leftover file locks nothing.
    """
    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # A process that was killed while it started another may leave that one holding the lock for a moment.
        until = time.monotonic() + PATIENCE
        while not (free := _taken(descriptor)) and time.monotonic() < until:
            time.sleep(0.05)
        if not free:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise RunError(f"{folder} is in use by {holder}: wait until it ends, or give this run another --name")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
        raise RunError(
            f"the disk of this folder has no file locks ({error.strerror}), so two runs could spoil one another: "
            "choose another --runs folder, or have it mounted with flock"
        ) from error
    return True
