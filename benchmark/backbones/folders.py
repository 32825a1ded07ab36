"""Where backbones lie (shipped ones and the Hub's by name, any folder by path), and what their files tell unopened."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from pathlib import Path

from cat_bench.benchmark.backbones.registry import registered
from cat_bench.benchmark.errors import BackboneError

WEIGHTS = Path(__file__).parents[1] / "weights"
BACKBONE_MARK = "model_index.json"
COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
SECOND = ("text_encoder_2", "tokenizer_2")  # Stable Diffusion XL's
NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")
_LOAD_AS = re.compile(rb'("(?:torch_)?dtype": )"\w+"')
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_FAMILIES = {"StableDiffusionPipeline": "sd", "StableDiffusionXLPipeline": "sdxl"}


def find_backbone(name: str, *, fetch: bool = True) -> tuple[str, Path | None]:
    """The id and folder of a backbone: a registered name, a diffusers folder, or `owner/name` of the Hugging Face Hub.

    Only safetensors are fetched. fetch False: nothing is, and the folder of a Hub model that is not in the local cache
    is None. Raises BackboneError: one line on what to do.
    """
    known = registered()
    if name in known:
        entry = known[name]
        return name, WEIGHTS / name if entry.hub is None else _from_hub(name, entry.hub, entry.revision, fetch)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / BACKBONE_MARK).is_file():
            raise BackboneError(f"{folder} is no diffusers pipeline: it has no {BACKBONE_MARK}")
        folder = Path(os.path.abspath(folder))  # not through links: a model's neighbours are where its name is
        return f"{folder.name}-folder" if folder.name in known else folder.name, folder
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name, _from_hub(name, name, None, fetch)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise BackboneError(
        f"backbone {name!r} not found; {hint}give a name ({', '.join(known)}), a diffusers folder,"
        " or a Hub id owner/name"
    )


def backbone_folder(name: str) -> tuple[str, Path]:
    """The same, fetched if need be: the folder is there."""
    id_, folder = find_backbone(name)
    assert folder is not None  # fetched, or an error was raised
    return id_, folder


def family(folder: Path) -> str:
    """ "sd" or "sdxl", from the pipeline's own index. Raises BackboneError for any other pipeline."""
    try:
        name = json.loads((folder / BACKBONE_MARK).read_text("utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{folder / BACKBONE_MARK} cannot be read: {error}") from error
    if name not in _FAMILIES:
        raise BackboneError(f"{folder} is a {name}; supported are {' and '.join(_FAMILIES)}")
    return _FAMILIES[name]


def weight_file(folder: Path, part: str) -> tuple[str, str | None] | None:
    """Name and variant of a network's safetensors: the full ones if they are there, else fp16; None if neither."""
    stem = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
    for variant in (None, "fp16"):
        tag = f".{variant}" if variant else ""
        if any((folder / part).glob(f"{stem}{tag}.safetensors")) or any(
            (folder / part).glob(f"{stem}{tag}-*-of-*.safetensors")
        ):
            return f"{stem}{tag}.safetensors", variant
    return None


def hub_patterns(variant: str | None) -> list[str]:
    """The files of a pipeline that are fetched: one precision of each network, and nothing pickled."""
    tag = f".{variant}" if variant else ""
    return [
        BACKBONE_MARK,
        *(f"{part}/*" for part in ("tokenizer", "tokenizer_2")),
        "scheduler/*.json",
        *(f"{part}/config.json" for part in NETWORKS),
        *(f"{part}/diffusion_pytorch_model{tag}.safetensors" for part in ("unet", "vae")),
        *(f"{part}/model{tag}.safetensors" for part in ("text_encoder", "text_encoder_2")),
    ]


def _from_hub(name: str, repository: str, revision: str | None, fetch: bool) -> Path | None:
    """The snapshot in the local cache if it is whole, else fetched; HF_HUB_OFFLINE and the like are obeyed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    entry = registered().get(name)
    patterns = hub_patterns(entry.variant if entry else None)
    try:
        cached = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=True))
        if weight_file(cached, "unet"):  # the cache may hold the small files alone
            return cached
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass  # not there: it is fetched
    if not fetch:
        return None
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        pinned = f" --revision {revision}" if revision else ""
        raise BackboneError(
            f"backbone {name!r} is not on this machine and could not be fetched"
            f" ({str(error).strip().splitlines()[0]}); where there is a network, `hf download {repository}{pinned}`,"
            " then copy the cache or give its folder with --backbone"
        ) from error


def fingerprint(folder: Path) -> str:
    """sha256 over the names and bytes of all files of a pipeline that can be loaded (configs, weights, vocabulary)."""
    total = hashlib.sha256()
    files = (path for part in (*COMPONENTS, *SECOND) if (folder / part).is_dir() for path in (folder / part).iterdir())
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        if path.suffix in (".safetensors", ".json", ".txt"):
            total.update(f"{path.relative_to(folder).as_posix()} {_digest(path)}\n".encode())
    if (folder / SECOND[0]).is_dir():  # of XL the index says what the empty prompt is
        index = json.loads((folder / BACKBONE_MARK).read_text("utf-8"))
        total.update(f"zeros {index.get('force_zeros_for_empty_prompt', True)}\n".encode())
    return total.hexdigest()


def _digest(path: Path) -> str:
    """sha256 of a file. In which type others are to load the weights beside a configuration does not count: it is read
    as if it named the type they are stored in.
    """
    weights = next(iter(sorted(path.parent.glob("*.safetensors"))), None)
    if path.name == "config.json" and weights is not None:
        stored = f'"{stored_type(weights)}"'.encode()
        return hashlib.sha256(_LOAD_AS.sub(rb"\1" + stored, path.read_bytes())).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_type(weights: Path) -> str:
    """The type of the first tensor in a safetensors file, by PyTorch's name for it. Raises BackboneError."""
    try:
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, weights.stat().st_size)))
        first = next(str(entry["dtype"]) for name, entry in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        raise BackboneError(
            f"{weights} is no whole safetensors file: fetch it again (after a clone without git-lfs it is a pointer)"
        ) from None
    return _TYPES.get(first, first)


def resolution(folder: Path) -> int:
    """Side of the square images that a pipeline makes, in pixels. Raises BackboneError."""
    try:
        unet, vae = (json.loads((folder / part / "config.json").read_text("utf-8")) for part in ("unet", "vae"))
        return int(unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{folder}: the configurations of unet/ and vae/ cannot be read: {error}") from error
