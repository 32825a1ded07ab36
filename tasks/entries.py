"""Sequences as written in TOML: the keys there are, and the files that ship."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError

from cat_bench.tasks.errors import TaskError

SHIPPED = files("cat_bench.tasks").joinpath("sequences")
CAPTION = "a photo of {}"  # of a photo that has none


class AvatarEntry(BaseModel, frozen=True, extra="forbid"):
    """A concept of the avatar world."""

    id: str
    kind: str
    trigger: str = ""  # the id, if not given
    parts: dict[str, str] = {}
    colors: dict[str, str] = {}


class PhotoEntry(BaseModel, frozen=True, extra="forbid"):
    """A concept made of photos."""

    id: str
    folder: str = Field(min_length=1)
    noun: str = Field(pattern=r"\S")
    trigger: str = Field(pattern=r"^\S+$")
    references: int | None = Field(default=None, ge=1)  # how many of the last images are held out
    caption: str = Field(default=CAPTION, pattern=r"\{\}")  # of images that have none


def _world(entry: Any) -> str:
    if not isinstance(entry, dict):
        return "photo" if isinstance(entry, PhotoEntry) else "avatar"
    # a misspelt `folder` makes no avatar of it
    own = PhotoEntry.model_fields.keys() - AvatarEntry.model_fields.keys()
    return "photo" if "folder" in entry or (own & entry.keys() and "kind" not in entry) else "avatar"


ConceptEntry = Annotated[
    Annotated[AvatarEntry, Tag("avatar")] | Annotated[PhotoEntry, Tag("photo")], Discriminator(_world)
]


class SequenceEntry(BaseModel, frozen=True, extra="forbid"):
    """A sequence."""

    id: str
    version: str
    title: str
    license: str
    citation: str
    extends: str | None = None
    data: str | None = None  # folder of the photos, as seen from the TOML's own; --data goes before it
    prompts: dict[str, tuple[str, ...]] = {}  # by kind, or for photos by concept, noun, or "all"
    preservation: dict[Literal["class", "other", "unknown", "named"], tuple[str, ...]] = {}
    concept: tuple[ConceptEntry, ...]

    @property
    def photos(self) -> bool:
        """Whether it needs photos that do not ship."""
        return any(isinstance(concept, PhotoEntry) for concept in self.concept)


def sequence_names() -> tuple[str, ...]:
    """The shipped sequences."""
    names = (Path(entry.name) for entry in SHIPPED.iterdir())
    return tuple(sorted(n.stem for n in names if n.suffix == ".toml" and n.stem != "fingerprints"))


def read_entry(name: str | Path) -> tuple[SequenceEntry, Path | None]:
    """A shipped sequence by name, or one from a TOML file, and the folder that the file is in; None: it ships.

    Needs no photos. Raises TaskError: what is wrong, where, how to mend it.
    """
    known = sequence_names()
    path = Path(name)
    source: Any = SHIPPED.joinpath(f"{name}.toml") if str(name) in known else path
    if source is path and path.suffix != ".toml" and not path.is_file():
        close = get_close_matches(str(name), known, 1)
        hint = f"did you mean {close[0]!r}? Shipped" if close else "give one of these, or the path of a TOML file"
        raise TaskError(f"unknown sequence {str(name)!r}: {hint}: {', '.join(known)}")
    try:
        entry = SequenceEntry.model_validate(tomllib.loads(source.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"sequence {name} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"sequence {name} is not valid TOML: {error}") from error
    except ValidationError as error:
        # a misspelt key before what is missing for it
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"] if part not in ("avatar", "photo"))
        said = first["msg"]
        if first["type"] == "extra_forbidden":
            entries: dict[object, type[BaseModel]] = {"photo": PhotoEntry, "avatar": AvatarEntry}
            model = next((entries[part] for part in first["loc"] if part in entries), SequenceEntry)
            close = get_close_matches(str(first["loc"][-1]), model.model_fields, 1)
            said = f"there is no such key{f'; did you mean {close[0]!r}?' if close else ''}"
        raise TaskError(f"sequence {name}, key {key}: {said}") from error
    return entry, path.parent if source is path else None


def concept_ids(name: str | Path) -> tuple[str, ...]:
    """The concepts of a sequence in order, those it takes over first. Needs no photos."""
    entry = read_entry(name)[0]
    earlier = concept_ids(entry.extends) if entry.extends is not None else ()
    return (*earlier, *(concept.id for concept in entry.concept))
