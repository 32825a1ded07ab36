"""What a run has learned, in the files that stock diffusers loads."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from cat_bench.benchmark.artifacts.card import card
from cat_bench.benchmark.artifacts.learned import Learned
from cat_bench.benchmark.artifacts.output_folder import check_free, own_folder
from cat_bench.benchmark.artifacts.tokens import learned_tokens
from cat_bench.benchmark.errors import ExportError
from cat_bench.benchmark.learning.low_rank import LowRank, concatenated, truncated
from cat_bench.benchmark.store.files import write_bytes
from cat_bench.benchmark.system.provenance import versions

RECORD = "export.json"
WEIGHTS = "pytorch_lora_weights.safetensors"  # where load_lora_weights looks by itself
CARD = "README.md"


def export(learned: Learned, out: Path, rank: int | None = None) -> LowRank:
    """Write `out`: the adapter, learned tokens if there are any, a model card, a record. Returns the adapter written.

    rank: None is exact where all that was learned is low-rank, and otherwise the least that keeps the error within a
    hundredth. Raises ExportError where `out` cannot be used, BackboneError where tokens need a backbone that is gone.
    """
    if rank is not None and rank < 1:
        raise ExportError(f"--rank {rank}: the adapter needs a rank of 1 or more")
    if learned.routed:
        raise ExportError(
            f"{learned.label} draws every prompt with weights of its own for the adapters of its concepts, which "
            "no single LoRA can do; `cat-bench sample` draws with it"
        )
    check_free(out, RECORD)  # before the long part
    tokens = learned_tokens(learned)
    adapter = low_rank(learned, rank)
    facts = {
        "run": learned.run.info["name"],
        "backbone": learned.run.info["backbone"],
        "method": learned.label,
        "cell": learned.folder.parent.name,
        "stage": learned.folder.name,
        "key": learned.info["key"],
        "rank": adapter.rank,
        "error": adapter.error,
        "words": {token.trigger: token.word for token in tokens},
        "versions": versions(),
    }
    with own_folder(out, RECORD, facts) as folder:
        write_bytes(folder / WEIGHTS, save(_named(adapter), metadata={"format": "pt"}))
        for token in tokens:
            (folder / token.file).parent.mkdir(exist_ok=True)
            write_bytes(folder / token.file, save(dict(token.parts), metadata={"format": "pt"}))
        write_bytes(folder / CARD, card(learned, adapter, tokens).encode())
    return adapter


def low_rank(learned: Learned, rank: int | None = None) -> LowRank:
    """What was learned as one adapter; exact where it can be, unless a lower rank is asked for."""
    if not learned.dense:
        whole = concatenated(learned.factors)
        if rank is None or rank >= whole.rank:
            return whole
    return truncated(learned.deltas, rank)


def _named(adapter: LowRank) -> dict[str, Tensor]:
    """By the names of peft's layers in the pipeline's UNet. Without an alpha the scale is 1."""
    return {
        f"unet.{name}.lora_{part}.weight": tensor.contiguous()
        for name, pair in adapter.layers.items()
        for part, tensor in zip("AB", pair, strict=True)
    }
