"""What torch.compile needs of the machine: a C++ compiler, and a place for what it has compiled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def compiler() -> str | None:
    """The C++ compiler that it would use: the environment's CXX, or the first of the usual ones that is there."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++", "c++"))), None)


def keep_compiled(folder: Path) -> None:
    """From now on, here and in processes begun from here, compiled code is kept in `folder` and taken from there.

    Where the environment says another place (TORCHINDUCTOR_CACHE_DIR), that stays.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.absolute()))
