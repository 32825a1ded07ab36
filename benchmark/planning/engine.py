"""What the runner asks of whatever computes: learn a concept, sample images, embed them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.events import Learning
    from cat_bench.benchmark.planning.plan import CellPlan, StagePlan

Pictures = Sequence[Image.Image] | NDArray[np.uint8]  # the array: (n, H, W, 3)


class Engine(Protocol):
    """Everything that depends on the machine is behind this; `TorchEngine` is the real one."""

    @property
    def backbone_id(self) -> str: ...
    @property
    def presets(self) -> str | None:
        """The registered backbone whose settings suit this one; None if none does."""

    @property
    def fingerprint(self) -> str:
        """Of the backbone's files."""

    @property
    def metric_id(self) -> str:
        """What the metric model is called in the records."""

    @property
    def metric_fingerprint(self) -> str:
        """Of the metric model's files."""

    @property
    def dino_id(self) -> str | None:
        """What the model behind `dino_i` is called in the records; None if the run does without."""

    @property
    def dino_fingerprint(self) -> str | None:
        """Of its files."""

    @property
    def resolution(self) -> int:
        """Side of the square images, in pixels."""

    def tokens(self, text: str) -> int:
        """Into how many tokens the backbone cuts a text; the most, where it has several tokenizers."""

    @property
    def batch(self) -> int:
        """How many images are sampled at once."""

    @property
    def how(self) -> Mapping[str, Any]:
        """What numbers depend on besides the inputs: device, precision, threads."""

    def learn(self, cell: CellPlan, stage: StagePlan, target: Path) -> Generator[Learning, None, dict[str, Any]]:
        """Learn the stage's concept on top of `stage.previous` and write the adapter to `target`.

        Returns facts for the record: trainable_parameters, bytes_carried, delta_norm.
        """

    def sample(
        self, cell: CellPlan | None, stage: StagePlan, adapter: Path | None, start: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Sample `stage.items[start:]`; yields (number of the first item, pictures (n, H, W, 3)) batch by batch.

        `start` is a multiple of the sampler's batch, so that batches are the same after an interruption.
        adapter: the stage's adapter file; None for the untouched backbone.
        """

    def embed(self, pictures: Pictures) -> NDArray[np.float32]:
        """(n, d), each row of length 1."""

    def embed_dino(self, pictures: Pictures) -> NDArray[np.float32]:
        """(n, d), each row of length 1, by the model behind `dino_i`; only where there is one."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d), each row of length 1."""
