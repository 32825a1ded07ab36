"""Where and in which precision to compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cat_bench.benchmark.errors import SpecError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_COMPUTE: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    match precision:
        case "fp32" | "bf16" | "fp16":
            return precision
        case "auto":
            pass
        case _:
            raise SpecError(f"precision {precision!r} is unknown; use auto, bf16, fp16 or fp32")
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"


def weights_dtype(weights: str, device: torch.device, on_gpu: str = "fp32") -> torch.dtype:
    """How a backbone's weights are held. `auto` is fp32, and on a GPU as the backbone's entry says (`on_gpu`).

    Adapters are folded into these weights, and bf16's 8 bits would swallow small ones; autocast gives half precision
    its speed anyway.
    """
    if weights not in ("auto", *DTYPES):
        raise SpecError(f"weights {weights!r} are unknown; use one of auto, {', '.join(DTYPES)}")
    if weights == "auto":
        weights = on_gpu if device.type == "cuda" else "fp32"
    if weights == "fp16" and device.type == "cpu":
        raise SpecError("weights fp16 cannot be computed with on a CPU; use fp32 or bf16")
    return DTYPES[weights]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast region of a precision: half precision for matrix products, or nothing at all."""
    return torch.autocast(device.type, dtype=_COMPUTE[precision] or torch.bfloat16, enabled=precision != "fp32")


def compute_dtype(precision: Precision) -> torch.dtype | None:
    """What static weights may be cast to once, so that autocast need not cast them at every call; None: leave them."""
    return _COMPUTE[precision]


def input_dtype(precision: Precision, weights: torch.dtype) -> torch.dtype:
    """What a network held in `weights` is given: fp32 under autocast, which casts as it needs, else its own type."""
    return weights if precision == "fp32" else torch.float32


def training_attention(device: torch.device, precision: Precision, places: int) -> AbstractContextManager[None]:
    """The attention kernel to train with, where PyTorch's own choice is a bad one; `places` is the latent's h · w.

    Plain matrix products hold all scores at once, so large images are left to the fused kernel.
    """
    plain = attention_in_full(device, precision) and places <= 1024
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()


def attention_in_full(device: torch.device, precision: Precision) -> bool:
    """Whether to train with attention in fp32.

    On the CPU the fused kernel's backward in bf16 takes six times as long as in fp32 and eats up what bf16 gains
    elsewhere.
    """
    return device.type == "cpu" and precision == "bf16"
