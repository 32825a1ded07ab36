"""The ways to sum up R[t, k] in one figure, each with its formula and where it comes from."""

from collections.abc import Callable
from dataclasses import dataclass

from cat_bench.results.measures import matrices
from cat_bench.results.measures.matrices import Array
from cat_bench.results.measures.metrics import Direction


@dataclass(frozen=True)
class Kind:
    """A way to sum up R. `still`: it means something for a model that learns nothing, as the mean of its only row.

    by_concept: what it is the mean of, a value for each of the first concepts; None if that is not wanted.
    """

    title: str
    short: str
    direction: Direction
    compute: Callable[[Array], float] | None  # of R[1..T]; None: it needs R[0] as well, see `figures`
    formula: str
    source: str
    still: bool = False
    by_concept: Callable[[Array], Array] | None = None


LOPEZ = "Lopez-Paz and Ranzato 2017 (arXiv 1706.08840)"
_RISE = "1/(T−1) Σ_{k<T} (R[T,k] − R[k,k])"
_METRICS_OF_CLORA = "named by Smith et al. 2024 (C-LoRA, arXiv 2304.06027), formula pinned by this project"
KINDS: dict[str, Kind] = {
    "average": Kind(
        "average after the last stage",
        "average",
        "higher",
        matrices.average,
        "1/T Σ_k R[T,k]",
        LOPEZ,
        True,
        matrices.left,
    ),
    "plasticity": Kind(
        "just after learning",
        "plasticity",
        "higher",
        matrices.plasticity,
        "1/T Σ_k R[k,k]",
        "common use",
        True,
        matrices.learned,
    ),
    "forgetting": Kind(
        "forgetting",
        "forgetting",
        "lower",
        matrices.forgetting,
        "1/(T−1) Σ_{k<T} (max_{k≤t<T} R[t,k] − R[T,k])",
        "Chaudhry et al. 2018 (arXiv 1801.10112)",
        by_concept=matrices.forgotten,
    ),
    "retention": Kind(
        "retention",
        "retention",
        "higher",
        None,
        "1/(T−1) Σ_{k<T} (R[T,k] − R[0,k]) / (R[k,k] − R[0,k])",
        "defined by this project",
    ),
    "bwt": Kind("backward transfer", "BWT", "higher", matrices.bwt, _RISE, LOPEZ, by_concept=matrices.gained),
    "forgetting_continual_lora": Kind(
        "forgetting as in continual-lora",
        "continual-lora",
        "lower",
        matrices.forgetting_continual_lora,
        "1/T Σ_k (max_{k≤t≤T} R[t,k] − R[T,k])",
        "code of Staniszewski et al. 2024 (arXiv 2410.04891)",
    ),
    "forgetting_mammoth": Kind(
        "forgetting as in mammoth",
        "mammoth",
        "lower",
        matrices.forgetting_mammoth,
        "1/(T−1) Σ_{k<T} (max_{k≤t≤T} R[t,k] − R[T,k])",
        "code of mammoth (Boschini et al. 2022, arXiv 2201.00766)",
    ),
    "forgetting_avalanche": Kind(
        "forgetting as in avalanche",
        "avalanche",
        "lower",
        matrices.forgetting_avalanche,
        "1/(T−1) Σ_{k<T} (R[k,k] − R[T,k])",
        "code of avalanche (Lomonaco et al. 2021, arXiv 2104.00405)",
    ),
    "a_mmd": Kind(
        "A_mmd", "A_mmd", "lower", matrices.a_mmd, "1/T Σ_k MMD²[T,k]", _METRICS_OF_CLORA, True, matrices.left
    ),
    "f_mmd": Kind(
        "F_mmd",
        "F_mmd",
        "lower",
        matrices.f_mmd,
        _RISE.replace("R[", "MMD²["),
        _METRICS_OF_CLORA,
        by_concept=matrices.gained,
    ),
}
