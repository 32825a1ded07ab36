"""What the embedded models are made by: the parts, and how long, from how much and from which seed each is made."""

from __future__ import annotations

from collections.abc import Mapping

from cat_bench.benchmark.errors import CatBenchError

PARTS = ("pictures", "metric", "autoencoder", "latents", "diffusion", "save")
STEPS: Mapping[str, int] = {"metric": 6400, "autoencoder": 2200, "diffusion": 9000}
SEEDS: Mapping[str, int] = {"autoencoder": 1, "metric": 2, "diffusion": 3}
SHARDS: Mapping[str, int] = {"backbone": 120, "metric": 60}
NAME = "avatars64.v2"
TRAINED = ("metric", "autoencoder", "diffusion")


class PretrainError(CatBenchError):
    """A part cannot be made yet, or its settings are wrong."""


def parse_steps(text: str | None) -> dict[str, int]:
    """ "9000" (each part) or "autoencoder=2200,diffusion=9000"; raises PretrainError."""
    found = dict(STEPS)
    for entry in text.split(",") if text else ():
        part, _, number = entry.rpartition("=")
        names = [part.strip()] if part else list(STEPS)
        if not number.strip().isdecimal() or int(number) < 1 or any(name not in STEPS for name in names):
            raise PretrainError(f"--steps {text!r}: write a number, or PART=NUMBER for parts of {', '.join(STEPS)}")
        found.update(dict.fromkeys(names, int(number)))
    return found
