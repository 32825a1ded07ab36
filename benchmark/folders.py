"""Where models lie: the ones that ship with the package by name, any folder by its path, the Hub's by owner/name."""

from __future__ import annotations

import difflib
from pathlib import Path

from cat_bench.benchmark.errors import BackboneError, MetricModelError

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT_METRIC = "ViT-B-32:openai"  # what papers on personalization score with

BACKBONE_MARK = "model_index.json"
METRIC_MARK = "open_clip_config.json"
# The files of Stable Diffusion's layout, without half-precision duplicates and without anything pickled.
HUB_PATTERNS = [
    BACKBONE_MARK,
    "tokenizer/*",
    "scheduler/*.json",
    *(f"{part}/config.json" for part in ("unet", "vae", "text_encoder")),
    *(f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")),
    "text_encoder/model.safetensors",
]


def backbone_names() -> tuple[str, ...]:
    """The backbones that ship with the package."""
    return tuple(sorted(mark.parent.name for mark in WEIGHTS.glob(f"*/{BACKBONE_MARK}")))


def find_backbone(name: str) -> tuple[str, Path]:
    """The id and folder of a backbone: a shipped name, a diffusers folder, or `owner/name` on the Hugging Face Hub.

    Only the last may download, and only safetensors. Raises BackboneError with one line on what to do.
    """
    if name in backbone_names():
        return name, WEIGHTS / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / BACKBONE_MARK).is_file():
            raise BackboneError(f"{folder} is no diffusers pipeline: it has no {BACKBONE_MARK}")
        return folder.resolve().name, folder.resolve()
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name, _from_hub(name)
    near = difflib.get_close_matches(name, backbone_names(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    known = ", ".join(backbone_names()) or "none"
    raise BackboneError(
        f"backbone {name!r} not found; {hint}give a shipped name ({known}), a diffusers folder, or a Hub id owner/name"
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BackboneError(f"backbone {name!r} is no folder here, and the Hub did not give it: {reason}") from error


def metric_for(backbone: Path) -> str:
    """The metric model a backbone is scored with: the folder `<backbone>-clip` beside it, else CLIP ViT-B/32."""
    beside = backbone.with_name(f"{backbone.name}-clip")
    return str(beside) if (beside / METRIC_MARK).is_file() else DEFAULT_METRIC


def find_metric(name: str) -> tuple[str, Path | None]:
    """The id and folder of a metric model: a shipped name, an open_clip folder, or `ARCHITECTURE:TAG` (no folder)."""
    shipped = WEIGHTS / name
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
