"""The processes that train one model together, where torchrun started several; else there is but one."""

from __future__ import annotations

import atexit
import os
from datetime import timedelta

import torch
import torch.distributed as team
import torch.distributed.nn  # later, its defaults would hold on to the team, whose threads then outlast it

PATIENCE = timedelta(days=1)  # the others wait while the first draws all pictures


def join_team() -> None:
    """Take part in what torchrun started, if it did; a process then computes with one thread."""
    if "WORLD_SIZE" in os.environ and not team.is_initialized():
        torch.set_num_threads(1)
        team.init_process_group("gloo", timeout=PATIENCE)
        # its threads end before the interpreter does: one that wants Python's lock later aborts the process
        atexit.register(team.destroy_process_group)


def leads() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return not team.is_initialized() or team.get_rank() == 0


def team_size() -> int:
    """How many processes train together."""
    return team.get_world_size() if team.is_initialized() else 1


def wait_for_all() -> None:
    """Go on when every process of the team has come this far: what the first has written is there then."""
    if team.is_initialized():
        team.barrier()
