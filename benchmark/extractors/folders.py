"""Where the models that judge lie: shipped ones and the Hub's by their names, any folder by its path."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cat_bench.benchmark.backbones.folders import WEIGHTS as SHIPPED
from cat_bench.benchmark.backbones.registry import OTHER, entry_for
from cat_bench.benchmark.errors import MetricModelError
from cat_bench.benchmark.planning.identity import CLIP

METRIC_MARK = "open_clip_config.json"
DINO = "facebook/dino-vits16"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def metric_for(id_: str, folder: Path | None) -> str:
    """The metric model a backbone is scored with: the folder `<backbone>-clip` beside it, else what is registered."""
    if folder is not None:
        beside = folder.with_name(f"{folder.name}-clip")
        if (beside / METRIC_MARK).is_file():
            return str(beside)
    entry = entry_for(id_, folder)
    return entry.metric if ":" in entry.metric else OTHER.metric  # a registered folder is beside its own backbone only


def find_metric(name: str) -> tuple[str, Path | None]:
    """The id and folder of a metric model: a shipped name, an open_clip folder, or `ARCHITECTURE:TAG` (no folder)."""
    shipped = SHIPPED / name
    folder = shipped if (shipped / METRIC_MARK).is_file() else Path(name).expanduser()
    if folder.is_dir():
        if not (folder / METRIC_MARK).is_file():
            raise MetricModelError(f"{folder} is no open_clip folder: it has no {METRIC_MARK}")
        if not any(folder.glob("*.safetensors")):
            raise MetricModelError(f"{folder} has no safetensors weights (pickled ones are never loaded)")
        return folder.resolve().name, folder.resolve()
    if ":" in name:
        return name, None
    raise MetricModelError(f"metric model {name!r} not found; give an open_clip folder or ARCHITECTURE:TAG")


def find_dino(name: str, *, fetch: bool = True) -> tuple[str, Path | None]:
    """The id and folder of a DINO model: a folder (its name is the id), or `owner/name` of the Hugging Face Hub.

    Only configuration and safetensors are fetched; HF_HUB_OFFLINE is obeyed. fetch False: nothing is, and the folder
    of a Hub model that is not in the local cache is None. Raises MetricModelError: one line on what to do.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve().name, _checked(folder.resolve())
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        hint = f"did you mean {DINO!r}? " if name and name in DINO else ""
        raise MetricModelError(
            f"DINO model {name!r} not found; {hint}give {DINO}, another Hub id owner/name, or a folder"
        )
    cached = _snapshot(name, local=True)
    if cached is not None:
        return name, _checked(cached)
    if not fetch:
        return name, None
    found = _snapshot(name, local=False)
    assert found is not None  # or an error was raised
    return name, _checked(found)


def _snapshot(name: str, *, local: bool) -> Path | None:
    """The Hub's files in the local cache, fetched unless local; None if local and they are not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS], local_files_only=local))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if local:
            return None
        raise MetricModelError(
            f"DINO model {name!r} is not on this machine and could not be fetched"
            f" ({(str(error).strip() or repr(error)).splitlines()[0]}); where there is a network,"
            f" `hf download {name} {CONFIG} {WEIGHTS}`, then copy the cache or give its folder with --dino"
        ) from error
    return found if not local or (found / WEIGHTS).is_file() else None  # the cache may hold the small files alone


def _checked(folder: Path) -> Path:
    """The folder, if it holds a vision transformer that can be read."""
    if not (folder / CONFIG).is_file():
        raise MetricModelError(f"{folder} is no DINO model: it has no {CONFIG}")
    try:
        kind = json.loads((folder / CONFIG).read_text("utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricModelError(f"{folder / CONFIG} cannot be read: {error!r}") from error
    if kind != "vit":
        raise MetricModelError(f"{folder} is no DINO ViT: its model_type is {kind!r}, not 'vit' (DINO v1, {DINO})")
    if not (folder / WEIGHTS).is_file():
        raise MetricModelError(
            f"{folder} has no {WEIGHTS} (pickled ones are never loaded): save the model once with transformers'"
            " save_pretrained and give that folder with --dino"
        )
    return folder


def fingerprint(role: str, folder: Path) -> str:
    """sha256 over the names and bytes of the files that make up the model of this role."""
    if role == CLIP:
        files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt"))
    else:
        files = [folder / CONFIG, folder / WEIGHTS]
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
