"""One machine repeats itself exactly: the same thread count and the same kernels, every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic(threads: int | None = None) -> Iterator[None]:
    """Within it PyTorch uses deterministic kernels only, and `threads` CPU threads (None: as many as now).

    Sums are split among threads, so another thread count gives other last bits: the count belongs to a run's
    provenance. Everything is put back afterwards. An operation that has no deterministic kernel raises a RuntimeError.
    """
    # cuBLAS reads it when its first handle is made; without it matrix products on CUDA raise in deterministic mode.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic  # its one setting is hidden from type checkers
    fill = memory.fill_uninitialized_memory
    before = torch.get_num_threads()
    try:
        # Nothing here reads memory that it has not written; one operation in ten would be such a filling.
        memory.fill_uninitialized_memory = False
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        memory.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(before)
