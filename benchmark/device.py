"""Where and in which precision to compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cat_bench.benchmark.errors import SpecError

Precision = Literal["fp32", "bf16"]


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else Apple's MPS, else the CPU; a device named outright must exist."""
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise SpecError(f"device {str(device)!r} is unknown; use auto, cuda, cpu or mps") from error
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(resolved.type, False):
        raise SpecError(f"device {str(device)!r} is not available to PyTorch on this machine; use auto or cpu")
    return resolved


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """`auto` is bf16 autocast where the hardware multiplies bf16 itself, else fp32 (emulated bf16 is slower)."""
    if precision == "fp32":
        return "fp32"
    if precision == "bf16":
        return "bf16"
    if precision != "auto":
        raise SpecError(f"precision {precision!r} is unknown; use auto, bf16 or fp32")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast region of a precision: bf16 for matrix products, or nothing at all."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def compute_dtype(precision: Precision) -> torch.dtype | None:
    """What static weights may be cast to once, so that autocast need not cast them at every call; None: leave them."""
    return torch.bfloat16 if precision == "bf16" else None


def training_attention(device: torch.device, precision: Precision, places: int) -> AbstractContextManager[None]:
    """The attention kernel to train with, where PyTorch's own choice is a bad one; `places` is the latent's h · w.

    On the CPU the fused kernel's backward in bf16 takes six times as long as in fp32 and eats up what bf16 gains
    elsewhere; plain matrix products do not. They hold all scores at once, so large images are left to the fused one.
    """
    if device.type == "cpu" and precision == "bf16" and places <= 1024:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
