"""What is left of the base model: declarations."""

from cat_bench.results.measures.declared.metric import DAMAGE, Metric

PRESERVATION = (
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
        answers=(*DAMAGE, "blend"),
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
        answers=(*DAMAGE, "blend"),
    ),
    Metric(
        id="class_leak",
        title="Class leak, concepts where none was asked for",
        direction="lower",
        range=(0.0, 1.0),
        scale="share of images",
        formula='share of images of the class drawn without a trigger (stratum `class`, and "a NOUN") in which one '
        "of the concepts learned so far is seen, as in concept_accuracy; the base model's picture of the same prompt "
        "and noise is left out of nobody",
        source="defined by this project",
        trap="A base model's stranger may look like a concept: read it against the floor, which an unchanged model has "
        "exactly. A class that is drawn badly is nobody and leaks nothing.",
        unit="image",
        group="class",
        of="stratum",
        column="leak",
        answers=("blend",),
    ),
    Metric(
        id="class_diversity",
        title="Class diversity, relative to the base model",
        direction="higher",
        range=(0.0, None),
        scale="ratio; 1: as many different pictures as the base model draws",
        formula="Vendi score exp(−Σ λ log λ), λ the eigenvalues of K / n, K the cosines of n images of one prompt "
        '"a NOUN" (16 noise seeds), divided by the base model\'s over the same seeds; mean over the nouns',
        source="Friedman and Dieng 2022 (Vendi score, arXiv 2210.02410); relative to the base model: this project",
        trap="Damage makes pictures different, too: above 1 is not better drawing. The metric model's features see who "
        "and what, little of clothes and background. The Vendi score depends on n: only equal n compare.",
        unit="set",
        group="class",
        of="stratum",
        column="diversity",
        answers=("blend",),
    ),
)
