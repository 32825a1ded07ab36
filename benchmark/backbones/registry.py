"""The backbones known by name, read from `backbones.toml`: data, not code."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel


class Registered(BaseModel, frozen=True, extra="forbid"):
    """A backbone as `backbones.toml` describes it, where each key is explained."""

    title: str
    hub: str | None = None  # None: it ships with the package
    revision: str | None = None
    variant: Literal["fp16"] | None = None  # which of the Hub's files are fetched
    resolution: int
    prediction: Literal["epsilon", "v_prediction"]
    scheduler: Literal["dpm++", "ddim"]
    steps: int
    guidance: float
    weights: Literal["fp32", "fp16"]
    metric: str
    context: int
    license: str


# Of a folder that is none of the known ones.
OTHER = Registered(
    title="a diffusers folder",
    resolution=512,
    prediction="epsilon",
    scheduler="dpm++",
    steps=20,
    guidance=7.5,
    weights="fp32",
    metric="ViT-B-32-quickgelu:openai",  # OpenAI's weights want QuickGELU; plain "ViT-B-32" would misread them
    context=0,
    license="see its own card",
)


@cache
def registered() -> Mapping[str, Registered]:
    """All of them by name."""
    content = tomllib.loads(Path(__file__).with_name("backbones.toml").read_text("utf-8"))
    return {name: Registered.model_validate(entry) for name, entry in content.items()}


def known_as(id_: str, folder: Path | None) -> str | None:
    """The known backbone whose settings suit this one: itself, or the one whose text embeddings are as wide.

    None if there is no such, or if the folder is not here yet.
    """
    if id_ in registered():
        return id_
    try:
        width = json.loads((folder / "unet" / "config.json").read_text("utf-8"))["cross_attention_dim"] if folder else 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((name for name, entry in registered().items() if entry.context == width), None)


def entry_for(id_: str, folder: Path | None) -> Registered:
    """What is known of this backbone, from the one whose settings suit it where it is not registered itself."""
    name = known_as(id_, folder)
    return registered()[name] if name is not None else OTHER
