"""What an image shows, whoever it is of: declarations."""

from cat_bench.results.measures.declared.metric import ADAPTER, ALL_KINDS, DAMAGE, Metric

READER = "answers of the part reader in the metric model's folder, from its image features"

CONTENTS = (
    Metric(
        id="part_accuracy",
        title="Part accuracy, identity read off the image",
        direction="higher",
        range=(0.0, 1.0),
        scale="share of questions",
        formula="mean over generated images g of the share of the concept's identity questions (each part, each "
        "visible colour) to which the part reader's answer for g is the concept's",
        source="defined by this project",
        trap="Strangers share parts with the concept, above all absent ones (no glasses, no beard), so the floor lies "
        "far above 0. An image of another class answers none of the questions. Null for photos and without a part "
        "reader.",
        unit="image",
        group="parts",
        column="parts",
        kinds=ALL_KINDS,
        least=0.08,
        drawn=True,
        extractor=READER,
        answers=(*DAMAGE, "parts", *ADAPTER),
    ),
    Metric(
        id="held_out_accuracy",
        title="Held-out accuracy, parts the base model never saw",
        direction="higher",
        range=(0.0, 1.0),
        scale="share of questions",
        formula="part_accuracy over those questions alone whose answer is held out of pretraining",
        source="defined by this project",
        trap="One to three questions a concept, so it moves in large steps. The base model cannot draw the answer "
        "but by chance: its floor should be near 0.",
        unit="image",
        group="parts",
        column="held-out",
        kinds=("average", "plasticity", "forgetting"),
        extractor=READER,
        answers=(*DAMAGE, "parts", *ADAPTER),
    ),
    Metric(
        id="scene_accuracy",
        title="Scene accuracy, what the prompt asks for",
        direction="higher",
        range=(0.0, 1.0),
        scale="share of questions",
        formula="mean over generated images g, of prompts that ask for something, of the share of it (expression, "
        "clothes, their colour, background) that the part reader reads off g; variants called by the same words all "
        "count",
        source="defined by this project",
        trap="It says nothing about who is on the image: the base model is often on top. The ceiling is what is read "
        "off the references of what their captions say. Null for photos and without a part reader.",
        unit="image",
        group="alignment",
        column="scene",
        kinds=("average", "forgetting"),
        extractor=READER,
        answers=(*DAMAGE, "face"),
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
        column="CLIP-T",
        kinds=("average", "forgetting"),
        answers=(*DAMAGE, "face"),
    ),
    Metric(
        id="class_accuracy",
        title="Class accuracy, is it still of its class?",
        direction="higher",
        range=(0.0, 1.0),
        scale="share of images",
        formula="mean over generated images g of [the class read off g = the concept's]; without a part reader [argmax "
        "over class nouns c of cos(f(g), t(c)) = the concept's noun]",
        source="the part reader: defined by this project; by nouns: zero-shot classification, Radford et al. 2021 "
        "(CLIP, arXiv 2103.00020)",
        trap="By nouns it depends on which nouns there are to choose from: of photos those of the sequence and twelve "
        "common ones, and a synonym among them is a wrong answer. A pass says nothing about who or how good it is.",
        unit="image",
        group="quality",
        column="class",
        kinds=("average", "forgetting"),
        extractor=f"{READER}; without a reader image and text features of the metric model",
        answers=DAMAGE,
    ),
    Metric(
        id="readable",
        title="Readable, quality of the single image",
        direction="higher",
        range=(0.0, 1.0),
        scale="share of images",
        formula="mean over generated images g of [a class is read off g, and if that class has a face, an expression, "
        'neither answer is "too: not readable"]',
        source="defined by this project",
        trap="Whatever can be read counts, a wrong class or a stranger too. The reader was taught what is illegible on "
        "blurred, erased, coarse and noisy pictures: other damage may pass. Null for photos and without a part reader.",
        unit="image",
        group="quality",
        column="readable",
        kinds=("average",),
        extractor=READER,
        answers=(*DAMAGE, "face"),
    ),
    Metric(
        id="class_mmd",
        title="MMD² to pictures of the class, quality of all images",
        direction="lower",
        range=(None, None),
        scale="×1000, RBF kernel with σ = 10 on L2-normalised features",
        formula="mmd with pictures of the concept's class in place of the references: 48 inhabitants drawn from the "
        "world, or for photos the base model's own pictures of the class",
        source="Gretton et al. 2012 (unbiased estimator); kernel and scale of CMMD, Jayasumana et al. 2024 (arXiv "
        "2401.09603)",
        trap="One individual is not a class: the references themselves are at some distance, which the ceiling row "
        "shows. Below the ceiling a model draws the class and not the concept; far above it, neither.",
        unit="set",
        group="quality",
        column="class MMD²",
        kinds=("average",),
        answers=DAMAGE,
    ),
)
