"""Rows of the long table about concepts: generated images, or the references themselves, against the references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cat_bench.results.errors import ResultError
from cat_bench.results.scoring import formulas
from cat_bench.results.scoring.reading_rows import READ, Block, Nouns, Reading, class_block, reading_blocks
from cat_bench.results.scoring.recognition import Recognition, Strangers, recognise, recognise_left_out

Embeddings = Mapping[str, npt.ArrayLike]
UNREAD = "nothing was read off its images"


@dataclass(frozen=True)
class SecondOpinion:
    """DINO's embeddings of the same pictures, for `dino_i`: concepts and references as in `score_stage`.

    extractor: id of the model that made them. concepts: none for the ceiling, which needs the references alone.
    """

    extractor: str
    references: Embeddings
    concepts: Embeddings = field(default_factory=dict)

    @property
    def columns(self) -> Block:
        """What tells its rows from the first model's."""
        return {"metric": "dino_i", "extractor": self.extractor}


@dataclass(frozen=True)
class Known:
    """What a run's images are compared with.

    references: (m, d) held-out pictures of every concept of the sequence. training: (k, d) what is learned from, of
    every concept. strangers: (m, d) by concept, the base
    model's own pictures of its class. second: another model's view of the same pictures; None: there is none.
    class_pictures: (m, d) by concept, other pictures of its class. nouns: by concept, for a look at the class without a
    reader.
    """

    references: Embeddings
    training: Embeddings
    strangers: Strangers
    second: SecondOpinion | None = None
    class_pictures: Embeddings = field(default_factory=dict)
    nouns: Mapping[str, Nouns] = field(default_factory=dict)


def numbered(name: str, size: int, each: int, noise: Sequence[int] | None) -> Block:
    """Which images `size` rows belong to, `each` a prompt; name: the concept or stratum. Raises ResultError."""
    block: Block = {"concept": name, "prompt": np.arange(size) // each, "image": np.arange(size) % each}
    if noise is not None and len(noise) != size:
        raise ResultError(f"{name!r} has {size} images and {len(noise)} seeds of noise: give one an image")
    return block if noise is None else block | {"noise": np.array(noise, dtype=np.int64)}


def concept_blocks(
    concept: str,
    x: npt.ArrayLike,
    texts: Embeddings,
    known: Known,
    noise: Sequence[int] | None = None,
    reading: Reading | str = UNREAD,
) -> list[Block]:
    """A concept's generated images x (prompts x images, d) against its references and the texts of its prompts.

    noise: the seed of each image's. reading: what was read off them, or why nothing was.
    """
    second, references = known.second, known.references
    if any(concept not in needed for needed in (references, known.training, texts)):
        raise ResultError(
            f"concept {concept!r} has images but no references, no training images or no prompt texts: embed them first"
        )
    images, prompts = np.asarray(x, dtype=np.float64), np.asarray(texts[concept], dtype=np.float64)
    size = len(images)
    if size == 0:
        metrics = ("clip_i", "clip_t", "concept_accuracy", "copying", "mmd", *READ, "class_accuracy", "class_mmd")
        which = [{"metric": m} for m in metrics] + ([second.columns] if second is not None else [])
        return [{"concept": concept, "value": None, "n": 0, "reason": "no images"} | w for w in which]
    if len(prompts) == 0 or size % len(prompts):
        raise ResultError(
            f"concept {concept!r} has {size} images for {len(prompts)} prompts: not the same for each prompt"
        )
    each = size // len(prompts)
    image = numbered(concept, size, each, noise)
    image["reason"] = "the image's embedding is not finite"
    scores = {
        "clip_i": formulas.clip_i(images, references[concept]),
        "clip_t": formulas.clip_t(images, np.repeat(prompts, each, axis=0)),
    }
    blocks: list[Block] = [{**image, "metric": metric, "value": value} for metric, value in scores.items()]
    blocks.append(image | _accuracy(recognise(images, references, concept, known.strangers), concept, known))
    copied = formulas.copying(images, known.training[concept], references[concept])
    blocks.append({**image, "metric": "copying", "value": copied})
    if second is not None:
        seen = formulas.clip_i(second.concepts[concept], second.references[concept])
        if len(seen) != size:
            raise ResultError(f"concept {concept!r} has {size} images, of which {second.extractor} saw {len(seen)}")
        blocks.append({**image, **second.columns, "value": seen})
    distance = formulas.mmd(images, references[concept])
    few = "needs two images and two references or more" if min(size, len(np.asarray(references[concept]))) < 2 else None
    blocks.append({"concept": concept, "metric": "mmd", "value": distance, "n": size, "reason": few})
    return blocks + _content_blocks(image, images, known, reading)


def ceiling_blocks(concept: str, texts: Embeddings, known: Known, reading: Reading | str = UNREAD) -> list[Block]:
    """A concept's references, each scored against those that are left when it is taken out."""
    rows, second = formulas.unit(known.references[concept]), known.second
    size, few = len(rows), "needs two references or more"
    image = {"concept": concept, "prompt": 0, "image": np.arange(size), "reason": few}
    blocks: list[Block] = [{**image, "metric": "clip_i", "value": formulas.clip_i_left_out(rows)}]
    if second is not None:
        blocks.append({**image, **second.columns, "value": formulas.clip_i_left_out(second.references[concept])})
    blocks.append(image | _accuracy(recognise_left_out(known.references, concept, known.strangers), concept, known))
    copied = formulas.copying_left_out(known.training[concept], rows)
    blocks.append({**image, "metric": "copying", "value": copied})
    if concept in texts:
        blocks.append({**image, "metric": "clip_t", "value": formulas.clip_t(rows, texts[concept])})
    else:
        reason = "the references were not drawn from the evaluation prompts"
        blocks.append({"concept": concept, "metric": "clip_t", "value": None, "n": size, "reason": reason})
    halves = formulas.mmd(rows[::2], rows[1::2])  # even against odd: the noise that is left when nothing differs
    reason = "needs four references or more"
    blocks.append({"concept": concept, "metric": "mmd", "value": halves, "n": size, "reason": reason})
    return blocks + _content_blocks(image, rows, known, reading)


def _content_blocks(image: Block, images: formulas.Array, known: Known, reading: Reading | str) -> list[Block]:
    """What images (n, d) show, whoever it is of: what is read off them, their class, its pictures."""
    concept, size = image["concept"], len(images)
    pictures = np.asarray(known.class_pictures.get(concept, np.empty((0, images.shape[1]))))
    few = "there are no pictures of its class to compare with" if not len(pictures) else None
    few = few or "needs two images and two pictures of the class or more"
    distance = formulas.mmd(images, pictures)
    return [
        *reading_blocks(image, formulas.finite_rows(images), reading),
        class_block(image, images, reading, known.nouns.get(concept)),
        {"concept": concept, "metric": "class_mmd", "value": distance, "n": size, "reason": few},
    ]


def _accuracy(found: Recognition, concept: str, known: Known) -> Block:
    """Rows of `concept_accuracy`: null where the class has no strangers, so that everybody would be somebody."""
    block: Block = {"metric": "concept_accuracy"}
    if not len(np.asarray(known.strangers.get(concept, ()))):
        reason = "no preservation prompt of the stratum `class` names the concept's class, so nobody has no picture"
        return block | {"value": np.full(len(found.correct), np.nan), "reason": reason}
    return block | {"value": found.correct, "seen": found.seen, "margin": found.margin}
