"""The claims: by which paper, in a sentence, and in which figure of which methods each is looked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "not lower"]

PAPERS = {
    "cat": "Contrastive Adapter Training (Park et al. 2024, arXiv 2404.07554)",
    "clora": "Continual Diffusion, C-LoRA (Smith et al. 2024, arXiv 2304.06027)",
    "lowrank": "Low-Rank Continual Personalization (Staniszewski et al. 2024, arXiv 2410.04891)",
}


@dataclass(frozen=True)
class Claim:
    """One claim: in `figure`, `method` is higher, lower, or not lower than each of `against`.

    text: what is claimed, in a sentence. reading: why it is looked for in that figure, where a paper measured another.
    """

    id: str
    paper: str
    text: str
    figure: str
    method: str
    against: tuple[str, ...]
    direction: Direction
    reading: str = ""


_KPS = "The paper's own formula of KPS was not found; this is the project's, over all strata."
_LEARNED = "The paper learns one concept at a time, so it is looked for just after learning."
_MMD = "The paper names A_mmd and F_mmd; their formulas were not found and are this project's."
CHANGE = "change_last_to_first"  # no figure of the tables, see `judged`

CLAIMS: tuple[Claim, ...] = (
    Claim("cat-kps-lora", "cat", "CAT has a higher KPS than LoRA.", "kps", "cat", ("lora",), "higher", _KPS),
    Claim(
        "cat-kps-dreambooth",
        "cat",
        "CAT has a higher KPS than DreamBooth.",
        "kps",
        "cat",
        ("dreambooth",),
        "higher",
        _KPS,
    ),
    Claim(
        "cat-identity",
        "cat",
        "CAT loses no identity similarity against LoRA and DreamBooth.",
        "clip_i_plasticity",
        "cat",
        ("lora", "dreambooth"),
        "not lower",
        _LEARNED,
    ),
    Claim(
        "cat-prompt",
        "cat",
        "CAT loses no prompt similarity against LoRA and DreamBooth.",
        "clip_t_average",
        "cat",
        ("lora", "dreambooth"),
        "not lower",
        "The paper learns one concept at a time; here it is the mean over all concepts after the last.",
    ),
    Claim(
        "cat-collapse",
        "cat",
        "With CAT the class collapses less than with LoRA.",
        "class_diversity",
        "cat",
        ("lora",),
        "higher",
    ),
    Claim(
        "clora-forgetting",
        "clora",
        "C-LoRA forgets less than training the same adapter on.",
        "f_mmd",
        "clora",
        ("lora",),
        "lower",
        _MMD,
    ),
    Claim(
        "clora-end",
        "clora",
        "After the last concept C-LoRA's images are nearer to the concepts than with the same adapter trained on.",
        "a_mmd",
        "clora",
        ("lora",),
        "lower",
        _MMD,
    ),
    Claim(
        "clora-baselines",
        "clora",
        "C-LoRA is better than the usual ways against forgetting, weights held in place and generated replay.",
        "a_mmd",
        "clora",
        ("ewc", "genreplay"),
        "lower",
        f"{_MMD} Both baselines are this project's own.",
    ),
    Claim(
        "clora-zero",
        "clora",
        "With C-LoRA later concepts are pushed towards zero weights (a criticism of it).",
        CHANGE,
        "clora",
        ("lora",),
        "lower",
        "The norm of what the last stage changed, as a share of what the first did.",
    ),
    *(
        Claim(
            f"{name}-forgetting",
            "lowrank",
            f"{title} forgets less than naive LoRA.",
            "clip_i_forgetting",
            name,
            ("lora",),
            "lower",
        )
        for name, title in (("merge", "Merging"), ("ortho", "Merging with orthogonal init"), ("magmax", "MagMax"))
    ),
    Claim(
        "naive-drift",
        "lowrank",
        "Naive LoRA drifts back towards the base model: less is left of what was learned than with the other three.",
        "clip_i_retention",
        "lora",
        ("merge", "ortho", "magmax"),
        "lower",
        "Retention is 0 where a concept is back at what the base model draws, 1 where nothing was lost.",
    ),
    Claim(
        "merge-balance",
        "lowrank",
        "Starting afresh and merging is the best balance of learning and keeping.",
        "clip_i_average",
        "merge",
        ("lora", "ortho", "magmax"),
        "higher",
        "The average after the last stage needs both: what was never learned lowers it as what was forgotten does.",
    ),
    Claim(
        "ortho-plastic",
        "lowrank",
        "Orthogonal init is the most plastic.",
        "clip_i_plasticity",
        "ortho",
        ("lora", "merge", "magmax"),
        "higher",
    ),
    Claim(
        "magmax-least",
        "lowrank",
        "MagMax forgets least.",
        "clip_i_forgetting",
        "magmax",
        ("lora", "merge", "ortho"),
        "lower",
    ),
)
