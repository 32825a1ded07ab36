"""What pretraining keeps in its folder: what each part makes, and notes on what was done.

A part's note, `<part>.json`, says how many steps it trained (`steps`), from how many shards, the one kept aside among
them (`shards`), and by which autoencoder its latents were made (`autoencoder`, a digest). Folders made before there
were notes lack them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from cat_bench.benchmark.pretrain.loop import steps_done
from cat_bench.benchmark.pretrain.recipe import NAME, PARTS, SEEDS, TRAINED, PretrainError
from cat_bench.benchmark.pretrain.team import leads
from cat_bench.benchmark.store.files import read_arrays, read_json, write_json

# Beside checkpoint, plateau and note. What `save` writes lies elsewhere and is written over.
PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "pictures": ("pictures",),
    "metric": ("metric-tokenizer", f"{NAME}-clip", "pictures/*/*.answers.npy"),
    "autoencoder": ("autoencoder",),
    "latents": ("latents",),
    "diffusion": ("tokenizer", "unet", "text_encoder"),
    "save": (),
}


def digest(model: Path) -> str | None:
    """Of all weights in a model's folder, however the files are laid out; None if there are none that can be read."""
    found = hashlib.sha256()
    files = sorted(model.glob("*.safetensors"))
    try:
        for name, array in (entry for file in files for entry in read_arrays(file).items()):
            found.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    except SafetensorError:
        return None
    return found.hexdigest() if files else None


@dataclass(frozen=True)
class Kept:
    """The folder of one pretraining, and how many shards of pictures are to be in it."""

    folder: Path
    shards: Mapping[str, int]

    def used(self, which: str) -> range:
        """All but the first, which is kept for looking at a training from outside."""
        return range(1, self.shards[which])

    def checkpoint(self, part: str) -> Path:
        """Where a training goes on from."""
        return self.folder / f"{part}.ckpt"

    def needed(self, name: str) -> Path:
        """What an earlier part has made. Raises PretrainError if it is not there."""
        path = self.folder / name
        if not path.exists():
            raise PretrainError(f"{path} is not there yet; make the parts in order: {', '.join(PARTS)}")
        return path

    def check_drawn(self, which: str) -> None:
        """Raises PretrainError if a shard of pictures is not there, or none of their twins."""
        folder = self.folder / "pictures"
        if missing := len(self.used(which)) - len(_there(folder / which, self.used(which))):
            raise PretrainError(
                f"{folder / which} lacks {missing} shards of pictures; make them first: --part pictures"
            )
        if which == "metric" and not _there(folder / "twins", self.used(which)):
            raise PretrainError(f"{folder / 'twins'} has no twins of the pairs; make them first: --part pictures")

    def encoded(self) -> list[int]:
        """The shards of which there are latents."""
        return _there(self.folder / "latents", self.used("backbone"))

    def latents(self, shard: int) -> Path:
        """The file of a shard's latents."""
        return self.folder / "latents" / f"{shard:04d}.npy"

    def remove(self, part: str) -> None:
        """Remove what a part has made."""
        if part == "autoencoder":
            self.note_origin()
        for pattern in (f"{part}.ckpt", f"{part}.plateau", *PRODUCTS[part], f"{part}.json"):
            for path in list(self.folder.glob(pattern)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def noted(self, part: str) -> dict[str, Any]:
        """A part's note, empty if there is none."""
        return read_json(self.folder / f"{part}.json") or {}

    def note(self, part: str, **facts: Any) -> None:
        """Add to a part's note; of a team the first does."""
        if leads():
            write_json(self.folder / f"{part}.json", {**self.noted(part), **facts})

    def note_done(self, part: str, **facts: Any) -> None:
        """The same, and how far it is trained."""
        self.note(part, steps=steps_done(self.checkpoint(part)), **facts)

    def note_origin(self) -> None:
        """Before the autoencoder is replaced: what has no other origin is this one's."""
        own = digest(self.folder / "autoencoder")
        for part in ("latents", "diffusion"):
            if own and self._made(part) and not self.noted(part).get("autoencoder"):
                self.note(part, autoencoder=own)

    def foreign(self, part: str) -> bool:
        """Whether a part was made by another autoencoder than the one that is there; not if nobody knows."""
        origin, there = self.noted(part).get("autoencoder"), digest(self.folder / "autoencoder")
        return self._made(part) and origin is not None and there is not None and origin != there

    def check_origin(self) -> None:
        """Raises PretrainError if the latents, or what was learned from them, are another autoencoder's."""
        if self.foreign("latents"):
            raise PretrainError(f"{self.folder / 'latents'} are another autoencoder's; make them anew: --part latents")
        if self.foreign("diffusion"):
            raise PretrainError(
                f"{self.folder}: diffusion was trained on another autoencoder's latents; start it over:"
                " --part diffusion,save --afresh"
            )

    def made_by(self) -> dict[str, Any]:
        """From how many steps and shards the models are; steps are null where nobody knows."""
        notes = {part: self.noted(part) for part in TRAINED}
        pairs = _there(self.folder / "pictures" / "metric", self.used("metric"))
        return {
            "steps": {p: notes[p].get("steps", steps_done(self.checkpoint(p))) for p in TRAINED},
            "shards": {
                "backbone": notes["diffusion"].get("shards", 1 + len(self.encoded())),
                "metric": notes["metric"].get("shards", 1 + len(pairs)),
            },
            "seeds": dict(SEEDS),
            "torch": torch.__version__,
        }

    def _made(self, part: str) -> bool:
        products = (f"{part}.ckpt", *PRODUCTS[part])
        return any((self.folder / name).exists() for name in products if name != "tokenizer")


def _there(folder: Path, shards: Iterable[int]) -> list[int]:
    return [index for index in shards if (folder / f"{index:04d}.npy").exists()]
