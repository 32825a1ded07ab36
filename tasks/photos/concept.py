"""Concepts made of photos."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property

from PIL.Image import Image

from cat_bench.tasks.concept import subject
from cat_bench.tasks.entries import CAPTION
from cat_bench.tasks.errors import TaskError
from cat_bench.tasks.photos.captions import fill, template, whole
from cat_bench.tasks.photos.findings import refuse
from cat_bench.tasks.photos.folder import PhotoFolder
from cat_bench.tasks.photos.photo import PROCESSING, Photo


@dataclass(frozen=True)
class PhotoConcept:
    """One thing to learn from photos: training images with captions, held-out references, trigger, class noun."""

    id: str
    trigger: str
    noun: str
    prompts: tuple[str, ...]  # templates with "{}"
    train: tuple[Photo, ...]
    references: tuple[Photo, ...]
    train_captions: tuple[str, ...]  # templates, one for each training image

    def train_images(self, size: int) -> list[Image]:
        """The training photos, RGB, size × size pixels."""
        return [photo.image(size) for photo in self.train]

    def reference_images(self, size: int) -> list[Image]:
        """The reference photos, RGB, size × size pixels."""
        return [photo.image(size) for photo in self.references]

    def fill(self, template: str, form: str) -> str:
        """A prompt from a template; forms as in `Concept.fill`."""
        return fill(template, subject(self, form))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files' content and split, the captions, prompts, trigger and noun; never over paths."""
        files = [[photo.sha256 for photo in part] for part in (self.train, self.references)]
        content = ["photos", PROCESSING, self.id, self.trigger, self.noun, self.train_captions, self.prompts, files]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def learning_fingerprint(self) -> str:
        """sha256 over the training files' content, their captions, trigger and noun."""
        files = [photo.sha256 for photo in self.train]
        content = ["photos", PROCESSING, self.id, self.trigger, self.noun, self.train_captions, files]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def photo_concept(
    folder: PhotoFolder, id: str, trigger: str, noun: str, prompts: tuple[str, ...], caption: str = CAPTION
) -> PhotoConcept:
    """The concept in a folder that was examined. Raises TaskError with the first error's line, or for the words."""
    refuse(folder.errors)
    written = [folder.captions.get(photo.path, caption) for photo in folder.train]
    captions = tuple(template(words, trigger, noun) for words in written)
    concept = PhotoConcept(id, trigger, noun, prompts, folder.train, folder.references, captions)
    for words in (*captions, *prompts):
        if re.search(whole(trigger), concept.fill(words, "noun"), re.IGNORECASE):
            raise TaskError(
                f"concept {id}: its trigger {trigger!r} is also a word of {concept.fill(words, 'noun')!r}, where the "
                "concept is not named; choose another trigger"
            )
    return concept
