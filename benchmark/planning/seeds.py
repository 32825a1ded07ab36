"""Named streams of randomness from one root seed, so that no two uses ever share numbers by accident.

| stream | drawn from it | axes it depends on |
| --- | --- | --- |
| `order` | permutations of a sequence's concepts | the sequence |
| `init` | fresh adapters and learned tokens | the concept of the stage that draws them |
| `data` | which training pictures make up a batch, and are kept | the concept; "kept", "survey", "pool" and its name |
| `noise` | the noise and time steps of training, pictures of pools | the concept; "survey", "pool" and its name |
| `eval` | the initial noise of one evaluation image | prompt, image; "other noise", "diversity": what else it is for |

No stream depends on the method or the stage: two methods see the same batches, the same noise and the same initial
images, so their difference is the methods' own.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Name = Literal["order", "init", "data", "noise", "eval"]


def stream(root: int, name: Name, *axes: str | int) -> int:
    """The 63-bit seed of a named stream: the same arguments give the same seed on every machine and version.

    The arguments are hashed as JSON, so `("a", "b")` and `("ab",)`, or `1` and `"1"`, are different axes.
    """
    text = json.dumps(["cat-bench", root, name, *axes], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, name: Name, *axes: str | int) -> torch.Generator:
    """A CPU generator at the start of a named stream. Drawing on the CPU makes the numbers the same on every device."""
    import torch

    return torch.Generator("cpu").manual_seed(stream(root, name, *axes))
