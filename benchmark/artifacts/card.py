"""The model card of an exported adapter: what it is, how to prompt it, what it scored, how to load it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cat_bench.benchmark.artifacts.learned import Learned
from cat_bench.benchmark.artifacts.tokens import Token
from cat_bench.benchmark.backbones.registry import registered
from cat_bench.benchmark.learning.low_rank import LowRank
from cat_bench.benchmark.planning.keys import SCORES
from cat_bench.benchmark.store.record import Named

_SCHEDULERS = {
    "dpm++": ("DPMSolverMultistepScheduler", 'algorithm_type="dpmsolver++"'),
    "ddim": ("DDIMScheduler", "clip_sample=False"),
}
_ANYWHERE = " A learned word stands for its concept wherever it is written, also inside a longer word."
_COLUMNS = ("concept_accuracy", "clip_i", "dino_i", "clip_t")  # as far as they were scored


def card(learned: Learned, adapter: LowRank, tokens: Sequence[Token]) -> str:
    """The whole card, as Markdown with the header that model hubs read."""
    info, method = learned.run.info, learned.method
    sequence = info["sequence"]
    stage = f"stage {learned.info['stage']} of {len(learned.run.concepts)}"
    cell = learned.folder.parent.name.replace("-", ", ")
    base = _hub_id(learned)
    head = ["library_name: diffusers", "pipeline_tag: text-to-image", "tags: [lora, personalization, cat-bench]"]
    head += [f"base_model: {base}"] if base else []
    settings = {key: value for key, value in learned.info["config"].items() if value is not None}
    said = (f"{key} {' '.join(value) if isinstance(value, list) else value}" for key, value in settings.items())
    model, fingerprint = base or info["backbone"]["id"], info["backbone"]["fingerprint"][:16]
    parts = [
        "---\n" + "\n".join(head) + "\n---",
        f"# {method.title or method.name} on {sequence['id']}, {stage}",
        f"A LoRA that was taken from a run of cat-bench, a continual personalization benchmark: {len(learned.concepts)}"
        f" concept{'s' * (len(learned.concepts) > 1)}, learned one after another without going back.",
        _table(
            ("", ""),
            [
                ("base model", f"{model}, fingerprint `{fingerprint}`"),
                ("method", f"{method.title or method.name} (`{learned.label}`, version {method.version})"),
                ("source", method.source or "none given"),
                ("settings", ", ".join(said)),
                ("sequence", f"`{sequence['id']}`, version {sequence['version']}: {sequence['title']}"),
                ("state", f"after {stage}; {cell}"),
                ("rank", f"{adapter.rank}; {_exactness(adapter, learned)}"),
                ("made with", f"cat-bench {learned.info['versions']['cat-bench']}, {learned.info['written'][:10]}"),
            ],
        ),
        "## Concepts",
        _prompting(learned, tokens),
        "## Load it",
        f"```python\n{_code(learned, tokens, base)}\n```",
        "No scale has to be given: it is inside the weights." + (_ANYWHERE if tokens else ""),
        "## Scores",
        _scores(learned),
        "## Licence",
        f"An adapter changes its base model and is under that model's licence as well{_licence(learned)}."
        f" The pictures it learned from: {sequence['license']} ({sequence['citation']}).",
    ]
    return "\n\n".join(parts) + "\n"


def _exactness(adapter: LowRank, learned: Learned) -> str:
    if adapter.error == 0:
        return "exactly what the run sampled from" + (", its adapters side by side" * (len(learned.factors) > 1))
    return f"relative error of the change of weights {adapter.error:.2g} (‖ΔW − BA‖ / ‖ΔW‖, all layers together)"


def _prompting(learned: Learned, tokens: Sequence[Token]) -> str:
    learns = {token.trigger for token in tokens}
    rows = []
    for number, concept in enumerate(learned.concepts, 1):
        kind = "learned token" if concept.trigger in learns else "plain text"
        rows.append((str(number), concept.id, concept.noun, kind, f"`{_prompt(learned, concept, tokens)}`"))
    return _table(("stage", "concept", "class", "trigger", "prompt"), rows)


def _prompt(learned: Learned, concept: Named, tokens: Sequence[Token]) -> str:
    word = {token.trigger: token.word for token in tokens}.get(concept.trigger, concept.trigger)
    return f"a photo of {replace(concept, trigger=word).subject(learned.method.config.noun)}"


def _code(learned: Learned, tokens: Sequence[Token], base: str | None) -> str:
    """Runs as it is, once `base` and `folder` say where the two are."""
    sampler = learned.run.spec.sampler
    scheduler, options = _SCHEDULERS[str(sampler.name)]  # settled in a record
    two = any(token.two for token in tokens)
    where = "" if base else "  # the folder of this model"
    lines = [
        "import torch",
        f"from diffusers import DiffusionPipeline, {scheduler}",
        *(["from safetensors.torch import load_file"] if two else []),
        "",
        f'base = "{base or learned.run.info["backbone"]["id"]}"{where}',
        'folder = "."  # of this card',
        # Parts stored in half precision stay so when others do not, and a mixture cannot be computed with.
        f"pipe = DiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32{_files(learned)})",
        f"pipe.scheduler = {scheduler}.from_config(pipe.scheduler.config, {options})",
        'pipe.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")',
    ]
    for token in tokens:
        if token.two:
            lines.append(f'learned = load_file(f"{{folder}}/{token.file}")')
            for key, n in (("clip_l", ""), ("clip_g", "_2")):
                given = f'learned["{key}"], "{token.word}", pipe.tokenizer{n}, pipe.text_encoder{n}'
                lines.append(f"pipe.load_textual_inversion({given})")
        else:
            lines.append(f'pipe.load_textual_inversion(f"{{folder}}/{token.file}")')
    if two:
        lines += [
            "# Else the second encoder sums a prompt up at its highest token id: the new word instead of the end.",
            "pipe.text_encoder_2.text_model.eos_token_id = pipe.tokenizer_2.eos_token_id",
        ]
    settings = f"num_inference_steps={sampler.steps}, guidance_scale={sampler.guidance:g}"
    lines.append(f'image = pipe("{_prompt(learned, learned.concepts[-1], tokens)}", {settings}).images[0]')
    return "\n".join(lines)


def _scores(learned: Learned) -> str:
    """Means over the stage's images, with the same of the untouched model (floor) and of real pictures (ceiling)."""
    from cat_bench.results.errors import ResultError
    from cat_bench.results.measures.metrics import METRICS
    from cat_bench.results.records.long_table import BASE, BASE_TOKEN, REAL, read_scores
    from cat_bench.results.scoring.scores import ALL

    base = learned.run.folder / BASE
    try:
        here, bounds = read_scores(learned.folder / SCORES), read_scores(base / SCORES)
    except ResultError as error:
        return f"Not at hand: {error}."
    own = BASE_TOKEN if learned.method.form == "token" else BASE
    floor = own if own in set(bounds["method"]) else BASE
    tables = [here, *(bounds[bounds["method"] == name] for name in (floor, REAL))]
    means: list[dict[Any, float]] = [table.groupby(["metric", "concept"])["value"].mean().to_dict() for table in tables]

    def shown(metric: str, concept: str) -> str:
        values = [mean.get((metric, concept), math.nan) for mean in means]
        text = ["–" if math.isnan(value) else f"{value:.{METRICS[metric].digits}f}" for value in values]
        return f"{text[0]} ({text[1]} … {text[2]})"

    scored = {metric for metric, _ in means[0]}
    columns = [metric for metric in _COLUMNS if metric in scored]
    concepts = [[concept.id, *(shown(metric, concept.id) for metric in columns)] for concept in learned.concepts]
    strata = [concept for metric, concept in means[0] if metric == "kps" and concept != ALL]
    kept = [[stratum, shown("kps", stratum)] for stratum in (ALL, *strata)]
    model = learned.run.info["metric_model"]["fingerprint"][:16]
    return "\n\n".join(
        [
            "Value (floor: the untouched model … ceiling: real pictures against each other); higher is better. Scored"
            f" after this stage by the metric model with fingerprint `{model}`; cat-bench's protocol defines them.",
            _table(("concept", *(METRICS[metric].title for metric in columns)), concepts),
            "What is left of the model's own knowledge, by kind of prompt:",
            _table(("prompts", METRICS["kps"].title), kept),
        ]
    )


def _hub_id(learned: Learned) -> str | None:
    """Where everybody finds the base model; None if it is a folder of this machine or ships with cat-bench."""
    name = learned.run.spec.backbone
    if name in registered():
        return registered()[name].hub
    return name if name == learned.run.info["backbone"]["id"] and "/" in name else None


def _licence(learned: Learned) -> str:
    entry = registered().get(learned.run.spec.backbone)
    return f" ({entry.license})" if entry else ""


def _files(learned: Learned) -> str:
    """Which of the Hub's files the run used, as further arguments."""
    entry = registered().get(learned.run.spec.backbone)
    given = {"revision": entry.revision, "variant": entry.variant} if entry and entry.hub else {}
    return "".join(f', {key}="{value}"' for key, value in given.items() if value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([" ".join(cell.replace("|", "\\|").split()) for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
