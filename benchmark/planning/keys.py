"""The hash chain: what a stage's key is made of. Equal keys mean equal content, whatever run asked for it.

    learning    key(0) = H(backbone);  key(t) = H(key(t-1), what is learned from, method, config, seed, machine)
    images      H(key(t), sampler, every prompt and the seed of its noise)
    embeddings  H(images, the models that judge)
    scores      H(embeddings, the references and texts of the whole sequence, the base's embeddings, the protocol, the
                cell's name)

Each of the four is looked up by its own key, so a change redoes what depends on it and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Raise one when a change of the program changes what comes out of that part; older results of it are then redone.
# Learning 2, sampling 3: one CPU thread everywhere (`identity.THREADS`); their number is no part of a key any more.
# Learning 3: the CPU's fused attention in fp32; its sums are in another order than those of plain products.
# Sampling 4: images of two concepts share no batch (`Item.company`).
LEARNING_VERSION = "3"
SAMPLING_VERSION = "4"
SCORING_VERSION = "4"


# The parts of a stage's folder.
ADAPTER = "adapter.safetensors"
EMBEDDINGS = "embeddings.safetensors"
SCORES = "scores.parquet"
IMAGES = "images.parquet"


@dataclass(frozen=True)
class Keys:
    """What a stage holds, part by part; each includes the ones before it."""

    key: str  # the adapter
    samples_key: str  # the images
    embeddings_key: str
    scores_key: str


def digest(*parts: Any) -> str:
    """sha256 of parts that JSON can hold, in an encoding that is the same everywhere."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 over the names, sizes and times of a file or of those below a folder: was it touched? Reads none."""
    below = [folder] if folder.is_file() else _below(folder, set())
    files = sorted(path for path in below if path.is_file() and "__pycache__" not in path.parts)
    return digest(*((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files))


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """All files below a folder, those of linked folders among them; none twice, and none of what cannot be read."""
    if (real := folder.resolve()) in seen:
        return
    seen.add(real)
    with suppress(OSError):
        for path in list(folder.iterdir()):
            yield from _below(path, seen) if path.is_dir() else [path]


def protocol_key(
    *,
    backbone: str,
    references: str,
    sampler: Mapping[str, Any],
    how: Mapping[str, Any],
    sequence: tuple[str, str],
    images: tuple[int, int, int],
) -> str:
    """What is equal where scores may stand in one table.

    backbone: its fingerprint; references: key of the references; sequence: id and fingerprint; images: of a prompt, of
    a preservation prompt, of a class noun.
    """
    return digest(backbone, references, dict(sampler), dict(how), *sequence, *images)


def base_key(backbone: str) -> str:
    """Key of stage 0, the untouched backbone. backbone: its fingerprint."""
    return digest("base", backbone)


def learning_key(
    *,
    previous: str,
    concept: str,
    method: str,
    version: str,
    code: str,
    config: Mapping[str, Any],
    seed: int,
    how: Mapping[str, Any],
) -> str:
    """Key of a stage's adapter.

    concept: its learning fingerprint; code: `code_digest` of the method; how: precision, device.
    """
    return digest("learn", LEARNING_VERSION, previous, concept, method, version, code, dict(config), seed, dict(how))


def images_key(learning: str, sampler: Mapping[str, Any], items: str, how: Mapping[str, Any]) -> str:
    """Key of a stage's images. items: digest of each image's path, prompt and noise seed, in order (batches follow it).

    The file's name is part of it: stages of the time when each image had a file of its own are made again.
    """
    return digest(IMAGES, SAMPLING_VERSION, learning, dict(sampler), items, dict(how))


def embeddings_key(images: str, judges: Sequence[str]) -> str:
    """Key of the embeddings of these images by the models with these fingerprints."""
    return digest("embeddings", images, *judges)


def scores_key(embeddings: str, cell: Mapping[str, Any], context: str) -> str:
    """Key of a stage's rows. context: digest of everything they are compared with."""
    return digest("scores", SCORING_VERSION, embeddings, dict(cell), context)
