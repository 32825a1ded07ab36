"""What the JSON files of a submission must hold: declared, and checked before anything else looks at them."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cat_bench.results.leaderboard.folder import CONCEPT, LABEL, LONGEST, RESERVED, WORD, RefusedError

T = TypeVar("T")


def _no_reserved(label: str) -> str:
    if label.partition("[")[0] in RESERVED:
        raise ValueError("this name is taken")
    return label


def _distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(values)) < len(values):
        raise ValueError("something stands there twice")
    return values


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("characters that do not print")
    return text


Label = Annotated[
    str, StringConstraints(pattern=LABEL, max_length=LONGEST), AfterValidator(_no_reserved)
]  # of a method
Concept = Annotated[str, StringConstraints(pattern=CONCEPT, max_length=LONGEST)]
Word = Annotated[str, StringConstraints(pattern=WORD, max_length=LONGEST)]
Hash = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_printable)]
Plain = Text | bool | int | float | None
Facts = Annotated[dict[Word, Plain | Annotated[list[Plain], Field(max_length=200)]], Field(max_length=200)]
Count = Annotated[int, Field(ge=0, le=10**9)]
R = TypeVar("R", bound="_Record")


class _Record(BaseModel):
    """Keys that are not declared are let be: they are not shown."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    @classmethod
    def of(cls: type[R], content: Mapping[str, Any], path: str) -> R:
        """Checked. Raises RefusedError with the first thing that is wrong, and where."""
        try:
            return cls.model_validate_json(json.dumps(content))  # strict: "1" is no number, but a list a tuple
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            given = "" if first["type"] == "missing" else f" (it is {str(first['input'])[:80]!r})"
            raise RefusedError(f"{path}: {where}: {first['msg'][:1].lower()}{first['msg'][1:]}{given}") from None


class Model(_Record):
    """A model by name, and the sha256 of its files."""

    id: Word
    fingerprint: Hash


class Keys(_Record):
    """What a stage's parts were made of, as keys."""

    key: Hash
    samples_key: Hash
    embeddings_key: Hash
    scores_key: Hash


class Spec(_Record):
    """The part of a run's specification that results are read by."""

    sequence: Word
    methods: Annotated[tuple[Label, ...], Field(min_length=1, max_length=200), AfterValidator(_distinct)]
    replicates: Annotated[int, Field(ge=1, le=10_000)] | None = None
    until_decided: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seeds: Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(_distinct)] = (0,)
    orders: Annotated[
        tuple[Annotated[int, Field(ge=0, le=10_000)], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = (0,)
    images_per_prompt: Count
    preservation_images: Count
    diversity_images: Count
    stages: Literal["all", "diagonal+last", "last"]
    sampler: Facts

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Order and seed of each cell of a method."""
        if self.replicates is not None:
            return tuple((r, r) for r in range(self.replicates))
        return tuple((order, seed) for order in self.orders for seed in self.seeds)


class Sequence(_Record):
    """The sequence, as the run recorded it."""

    id: Word
    version: Word
    title: Text
    fingerprint: Hash
    concepts: tuple[Concept, ...]

    @property
    def name(self) -> str:
        """`faces5.v2`."""
        return f"{self.id}.v{self.version}"


class Method(_Record):
    """A method of the run. method: its name without settings."""

    version: Word
    title: Text
    source: Text
    carries: Text = ""
    reference: bool = False
    code: Hash
    config: Facts


class Complete(_Record):
    """What a finished run says of itself."""

    references: Hash
    cells: tuple[Text, ...]
    stages: dict[Text, Keys]


class Commit(_Record):
    """The state of the checkout that the run was made with."""

    commit: Word
    dirty: bool


class RunRecord(_Record):
    """run.json of a finished run."""

    schema_version: Literal[1]
    spec: Spec
    spec_hash: Hash
    computed: Facts
    backbone: Model
    metric_model: Model
    dino: Model | None = None
    sequence: Sequence
    methods: dict[Label, Method]
    protocol: Hash
    versions: dict[Word, Text]
    git: Commit | None = None
    machine: Facts
    started: Text
    finished: Text
    complete: Complete


class CellRecord(_Record):
    """cell.json. Only cells that ended well are handed in."""

    status: Literal["ok"]
    protocol: Hash


class StageRecord(Keys):
    """stage.json."""

    schema_version: Literal[1]
    method: Text
    order: Count | None
    seed: Count | None
    sequence: Word
    stage: Count
    concept: Concept | None
    status: Literal["ok"]
    seconds: dict[Word, Annotated[float, Field(ge=0, le=1e9)] | None]
    peak_memory_bytes: Annotated[float, Field(ge=0)] | None = None
    trainable_parameters: Annotated[float, Field(ge=0)] | None = None
    bytes_carried: Annotated[float, Field(ge=0)] | None = None
    config: Facts
    protocol: Hash
    made: dict[Word, dict[Word, Text | None]] = {}
    files: Count


class ImagesRecord(_Record):
    """The packed images of a stage, which are not handed in: their number, and the sha256 of the file."""

    number: Count
    sha256: Hash


class FileRecord(_Record):
    """A file of a submission."""

    bytes: Count
    sha256: Hash


class Manifest(_Record):
    """submission.json: every other file there is, and what was left at home."""

    schema_version: Literal[1]
    packed_by: Text
    files: dict[Text, FileRecord]
    images: dict[Text, ImagesRecord]
