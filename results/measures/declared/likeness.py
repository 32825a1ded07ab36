"""How like the references: declarations."""

from cat_bench.results.measures.declared.metric import ADAPTER, ALL_KINDS, DAMAGE, Metric

LIKENESS = (
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
        kinds=ALL_KINDS,
        least=0.02,
        contested=True,
        drawn=True,
        answers=(*DAMAGE, "face", "parts", *ADAPTER),
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
        kinds=ALL_KINDS,
        least=0.02,
        contested=True,
        drawn=True,
        optional=True,
        extractor="CLS token of DINO ViT-S/16, L2-normalised; resized to 256 (bicubic), centre crop of 224",
        answers=(*DAMAGE, "face", "parts", *ADAPTER),
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
        kinds=ALL_KINDS,
        least=0.1,
        contested=True,
        drawn=True,
        answers=(*DAMAGE, "face", "parts", *ADAPTER),
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
        answers=(*DAMAGE, "face", "parts", *ADAPTER),
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
        column="copying",
        answers=("copies",),
    ),
)
