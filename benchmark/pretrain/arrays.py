"""Arrays on disk: whole or not there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cat_bench.benchmark.store.files import write_bytes


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file; an older one stays until the new one is there."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_bytes(path, buffer.getvalue())
