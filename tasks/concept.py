"""What a concept is, wherever its pictures come from: one thing to learn, with captions and evaluation prompts."""

from __future__ import annotations

from typing import Protocol

from PIL.Image import Image

from cat_bench.tasks.errors import TaskError


class Concept(Protocol):
    """One thing to learn: training pictures with captions, held-out references, trigger, class noun, prompts."""

    @property
    def id(self) -> str:
        """Its name, unique in a sequence and fit for a folder's name."""
        ...

    @property
    def trigger(self) -> str:
        """The word that calls it up."""
        ...

    @property
    def noun(self) -> str:
        """Its class, e.g. "dog"."""
        ...

    @property
    def prompts(self) -> tuple[str, ...]:
        """Evaluation prompts: templates with "{}"."""
        ...

    @property
    def train_captions(self) -> tuple[str, ...]:
        """Templates with "{}", one for each training image."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that decides what is learned and what it is judged by."""
        ...

    @property
    def learning_fingerprint(self) -> str:
        """sha256 over what is learned from alone: another prompt or reference leaves what was learned as it is."""
        ...

    def train_images(self, size: int) -> list[Image]:
        """What is learned from: RGB, size × size pixels."""
        ...

    def reference_images(self, size: int) -> list[Image]:
        """What is scored against, never trained on: RGB, size × size pixels."""
        ...

    def fill(self, template: str, form: str) -> str:
        """A prompt from a template; form: "trigger" (trigger and class noun), "noun" (class noun alone) or "token"
        (trigger alone). Raises TaskError for another form.
        """
        ...


class Named(Protocol):
    """Whatever has a trigger and a class noun."""

    @property
    def trigger(self) -> str: ...
    @property
    def noun(self) -> str: ...


def subject(concept: Named, form: str) -> str:
    """The words that take the place of "{}" in a template; forms as in `Concept.fill`. Raises TaskError."""
    subjects = {"trigger": f"{concept.trigger} {concept.noun}", "noun": concept.noun, "token": concept.trigger}
    if form not in subjects:
        raise TaskError(f"unknown form {form!r} of a prompt; known: {', '.join(subjects)}")
    return subjects[form]
