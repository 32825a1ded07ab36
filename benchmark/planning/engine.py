"""What a run asks of whatever computes: a domain that knows its models, and an engine that has them loaded."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.events import Learning
    from cat_bench.benchmark.planning.identity import Identity
    from cat_bench.benchmark.planning.plan import CellPlan, StagePlan
    from cat_bench.benchmark.planning.spec import RunSpec

Pictures = Sequence[Image.Image] | NDArray[np.uint8]  # the array: (n, H, W, 3)


class Domain(Protocol):
    """A field in which concepts are learned. It answers for a run's models without loading them.

    `TextToImage` is the real one. What a user can mend (a model that is not there, a device) is a CatBenchError.
    """

    def settled(self, spec: RunSpec) -> RunSpec:
        """The specification with what it leaves to the backbone filled in; raises for models that cannot be found."""

    def files(self, spec: RunSpec) -> tuple[Path, ...] | None:
        """The folders of the run's models; None if one of them is not on this machine."""

    def identity(self, spec: RunSpec) -> Identity:
        """What the run's numbers depend on besides the specification."""

    def reader(self, spec: RunSpec) -> Reader | None:
        """What reads parts off vectors of the role `clip`; None: its model has none."""

    def open(self, spec: RunSpec) -> AbstractContextManager[Engine]:
        """The engine, its models loaded; asked for only when something is left to compute."""


class Reader(Protocol):
    """The part reader of a metric model. It needs stored vectors only, so that who scores need not load a model."""

    def read(self, vectors: NDArray[np.float32]) -> Mapping[str, Sequence[str]]:
        """Question → n answers, of vectors (n, d)."""


class Engine(Protocol):
    """Everything that depends on the machine is behind this; `TorchEngine` is the real one."""

    @property
    def batch(self) -> int:
        """How many images are sampled at once, at most."""

    def tokens(self, text: str) -> int:
        """Into how many tokens the backbone cuts a text; the most, where it has several tokenizers."""

    def inputs(self) -> Mapping[str, int]:
        """How many inputs each linear layer has, by name."""

    def learn(self, cell: CellPlan, stage: StagePlan, target: Path) -> Generator[Learning, None, dict[str, Any]]:
        """Learn the stage's concept on top of `stage.previous` and write the adapter to `target`.

        Returns facts for the record: trainable_parameters, bytes_carried, delta_norm (of all that was learned) and
        change_norm (of what this stage changed).
        """

    def sample(
        self, cell: CellPlan | None, stage: StagePlan, adapter: Path | None, start: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Sample `stage.items[start:]`; yields (number of the first item, pictures (n, H, W, 3)) batch by batch.

        Batches are the `portions` of the items' companies, and `start` is where one begins, so that they are the same
        after an interruption.
        adapter: the stage's adapter file; None for the untouched backbone.
        """

    def embed(self, role: str, pictures: Pictures) -> NDArray[np.float32]:
        """(n, d), each row of length 1, by the model that has this role in the run's identity."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d), each row of length 1, in the space of the role `clip`."""
