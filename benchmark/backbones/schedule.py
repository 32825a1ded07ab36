"""How a backbone mixes pictures with noise, and what it was trained to predict: the one place that knows either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from cat_bench.benchmark.errors import BackboneError, SamplingError

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, eq=False)
class Schedule:
    """z_t = √ᾱ_t · z_0 + √(1 − ᾱ_t) · ε at whole time steps t (Ho et al. 2020, arXiv 2006.11239).

    Another kind, such as flow matching, is another class with these methods.
    """

    scheduler: Any  # diffusers' DDPMScheduler, which hides its attributes from type checkers

    @property
    def prediction_type(self) -> Literal["epsilon", "v_prediction"]:
        """What the network predicts: the noise ε, or the velocity v = √ᾱ·ε − √(1−ᾱ)·z0. Raises BackboneError."""
        kind: Literal["epsilon", "v_prediction"] = self.scheduler.config.prediction_type
        if kind not in PREDICTIONS:
            raise BackboneError(f"prediction_type {kind!r} is not supported ({' and '.join(PREDICTIONS)} are)")
        return kind

    def times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) uniform time steps, drawn on the CPU."""
        return torch.randint(self.scheduler.config.num_train_timesteps, (count,), generator=generator)

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """z_t (n, c, h, w) of clean latents z_0 (n, c, h, w), noise ε (n, c, h, w) and time steps (n,)."""
        noisy: Tensor = self.scheduler.add_noise(clean, noise, times)
        return noisy

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network should answer to `noised`, (n, c, h, w)."""
        if self.prediction_type == "epsilon":
            return noise
        velocity: Tensor = self.scheduler.get_velocity(clean, noise, times)
        return velocity

    def solver(self, name: str) -> Any:
        """What diffusers samples with: DPM-Solver++ (2M, deterministic) or DDIM (η = 0). Raises SamplingError."""
        if name == "dpm++":
            return DPMSolverMultistepScheduler.from_config(self.scheduler.config, algorithm_type="dpmsolver++")
        if name == "ddim":  # clipping is for pixels: latents are not within ±1
            return DDIMScheduler.from_config(self.scheduler.config, clip_sample=False)
        raise SamplingError(f"sampler {name!r} is unknown; use dpm++ or ddim")
