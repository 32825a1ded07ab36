"""The declared metrics: what each score is, which way is better, how it is computed and where it comes from.

The formulas themselves are in `formulas`; `scores` makes the rows of the long table with them.
"""

import difflib
from dataclasses import dataclass
from typing import Literal

from cat_bench.results.errors import ResultError

Direction = Literal["higher", "lower"]
ARROW: dict[str, str] = {"higher": "↑", "lower": "↓"}
_ALL = ("average", "plasticity", "forgetting", "retention", "bwt")


@dataclass(frozen=True)
class Metric:
    """One declared metric.

    range: least and greatest possible value (None: unbounded). least: the smallest difference that means something; a
    concept that rose by no more was not learned. unit: what one row of the long table is. of: whether
    rows belong to concepts or to preservation strata. digits: decimals in tables. trap: how the number misleads.

    Its figures follow from: group, the table they stand in; kinds, the ways R[t, k] is summed up (see `kinds`);
    contested, whether other code bases' definitions of forgetting are shown too; drawn, whether it has curves, a heat
    map and a panel in the trade-offs. optional: only runs that ask for it have it.
    """

    id: str
    title: str
    direction: Direction
    range: tuple[float | None, float | None]
    scale: str
    formula: str
    source: str
    trap: str
    unit: Literal["image", "set"]
    group: str
    kinds: tuple[str, ...] = ()
    least: float | None = None
    contested: bool = False
    drawn: bool = False
    optional: bool = False
    of: Literal["concept", "stratum"] = "concept"
    extractor: str = "image and text features of the backbone's metric model (open_clip), L2-normalised"
    digits: int = 3

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is."""
        return ARROW[self.direction]

    @property
    def short(self) -> str:
        """The title without what explains it."""
        return self.title.partition(",")[0]


_DECLARED = (
    Metric(
        id="clip_i",
        title="CLIP-I, image fidelity",
        direction="higher",
        range=(-1.0, 1.0),
        scale="raw cosine",
        formula="mean over generated images g and held-out references r of cos(f(g), f(r))",
        source="Ruiz et al. 2023 (DreamBooth, arXiv 2208.12242), against held-out references instead of training "
        "images",
        trap="Against the training images copying would win, so the references are never trained on. Pictures of one "
        "class are alike already: read it between the floor and the ceiling row.",
        unit="image",
        group="fidelity",
        kinds=_ALL,
        least=0.02,
        contested=True,
        drawn=True,
    ),
    Metric(
        id="dino_i",
        title="DINO-I, image fidelity by DINO",
        direction="higher",
        range=(-1.0, 1.0),
        scale="raw cosine",
        formula="mean over generated images g and held-out references r of cos(d(g), d(r)), d the CLS feature of DINO",
        source="Ruiz et al. 2023 (DreamBooth, arXiv 2208.12242), against held-out references instead of training "
        "images; DINO ViT-S/16 of Caron et al. 2021 (arXiv 2104.14294)",
        trap="Papers score against the training images, where copying wins; these references are never trained on. "
        "DINO was trained on photos at 224 pixels: what it says of small drawings is a guess. Its cosines lie lower "
        "than CLIP's, so neither number says anything about the other: read it between its own floor and ceiling.",
        unit="image",
        group="fidelity_dino",
        kinds=_ALL,
        least=0.02,
        contested=True,
        drawn=True,
        optional=True,
        extractor="CLS token of DINO ViT-S/16, L2-normalised; resized to 256 (bicubic), centre crop of 224",
    ),
    Metric(
        id="clip_t",
        title="CLIP-T, text alignment",
        direction="higher",
        range=(-1.0, 1.0),
        scale="raw cosine (elsewhere also ×2.5 clipped at 0, or ×100)",
        formula="mean over generated images g of cos(f(g), t(prompt of g with the class noun in place of the trigger))",
        source="Hessel et al. 2021 (CLIPScore, arXiv 2104.08718), without its factor 2.5 and clipping",
        trap="Papers print three scales of it. A model that ignores the concept and obeys the rest of the prompt "
        "scores best, so the base model is often on top.",
        unit="image",
        group="alignment",
        kinds=("average", "forgetting"),
    ),
    Metric(
        id="concept_accuracy",
        title="Concept accuracy",
        direction="higher",
        range=(0.0, 1.0),
        scale="share of images; who knows none of the concepts has about 0, not 1 / number of concepts",
        formula="mean over generated images g of [argmax over concepts c and strangers s of cos(f(g), centroid of c), "
        "cos(f(g), f(s)) = the prompted concept]; centroid of c = normalised mean of its normalised references; s: the "
        "base model's own pictures of the class, of which each is nobody",
        source="defined by this project",
        trap="The centroids are those of all concepts of the sequence, also of those not learned yet. It tells a "
        "concept from a neighbour's and from nobody, but says little about how good the likeness is. The base model's "
        "pictures differ from references by how they are drawn, too, so a good drawing of a stranger can be somebody.",
        unit="image",
        group="accuracy",
        kinds=_ALL,
        least=0.1,
        contested=True,
        drawn=True,
    ),
    Metric(
        id="mmd",
        title="MMD² to the references",
        direction="lower",
        range=(None, None),
        scale="×1000, RBF kernel with σ = 10 on L2-normalised features",
        formula="1000 · (mean k(g, g′) over g≠g′ + mean k(r, r′) over r≠r′ − 2 · mean k(g, r)), k(a, b) = exp(−|a−b|² "
        "/ 2σ²)",
        source="Gretton et al. 2012 (unbiased estimator); kernel and scale of CMMD, Jayasumana et al. 2024 (arXiv "
        "2401.09603)",
        trap="Unbiased, so it can be negative when the sets are alike. CMMD's released code uses the biased estimator, "
        "which is larger for small sets. FID and KID mean nothing at tens of images.",
        unit="set",
        group="distribution",
        kinds=("a_mmd", "f_mmd"),
    ),
    Metric(
        id="copying",
        title="Copying of training images",
        direction="lower",
        range=(-2.0, 2.0),
        scale="difference of raw cosines",
        formula="mean over generated images g of max over training images t of cos(f(g), f(t)) − max over references r "
        "of cos(f(g), f(r)); the first min(m, k) of both",
        source="defined by this project",
        trap="It says nothing about likeness: a picture of somebody else copies nothing. Features that see the "
        "individual and not the picture miss a copy with another background.",
        unit="image",
        group="distribution",
        kinds=("average",),
    ),
    Metric(
        id="kps",
        title="KPS, knowledge preservation score",
        direction="higher",
        range=(0.0, 1.0),
        scale="harmonic mean of (1 + cosine) / 2",
        formula="n / Σ 1/s, s = (1 + cos(f(base image), f(adapted image))) / 2 over preservation prompts and seeds, "
        "same noise",
        source="named by Park et al. 2024 (CAT, arXiv 2404.07554), whose exact formula was not found; pinned by this "
        "project",
        trap="(1 + cos)/2 squeezes the range: two unrelated base images already score far above 0, which the floor row "
        "shows, and other pictures of the same prompt far more (the row of other noise); kps_cos beside it is the "
        "unsqueezed mean.",
        unit="set",
        group="preservation",
        of="stratum",
    ),
    Metric(
        id="kps_cos",
        title="Raw cosine behind KPS",
        direction="higher",
        range=(-1.0, 1.0),
        scale="raw cosine",
        formula="mean over preservation prompts and seeds of cos(f(base image), f(adapted image)), same noise",
        source="defined by this project",
        trap="A plain mean, so a few destroyed prompts hide in it: the harmonic mean of kps does not let them.",
        unit="image",
        group="preservation",
        of="stratum",
    ),
)
METRICS: dict[str, Metric] = {m.id: m for m in _DECLARED}


def metric(name: str) -> Metric:
    """The declared metric of that id. Raises ResultError with what was probably meant."""
    if name not in METRICS:
        close = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(METRICS)}"
        raise ResultError(f"unknown metric {name!r}: {hint}")
    return METRICS[name]
