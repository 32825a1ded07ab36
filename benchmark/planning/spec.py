"""What is to be run: one frozen, complete description, from defaults, a file and the flags' differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.planning.variant import Variant, names_of

METHODS = ("lora", "cat", "merge", "ortho", "magmax", "clora")
MOST = 10_000  # seeds, orders, or images of a prompt, at once
BOUND = 2**63  # every seed and order is below
Number = Annotated[int, Field(ge=0, lt=BOUND)]
Stages = Literal["all", "diagonal+last", "last"]
NO_THREADS = (
    "CPU threads are no setting any more: every worker computes with one, so that results depend on no machine; "
    "leave them out, and give --workers N to use N cores"
)


class Sampler(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """How images are drawn from a model; the same for every method, the base model included.

    What is None is the backbone's own, as `backbones.toml` has it.
    """

    name: Literal["dpm++", "ddim"] | None = None
    steps: int | None = Field(default=None, ge=1)
    guidance: float | None = Field(default=None, ge=0)
    batch: int = Field(default=32, ge=1)


class Economy(BaseModel, frozen=True, extra="forbid"):
    """How memory and time are spent on a device; none of it changes a result beyond rounding.

    micro_batch    items in one forward of training; a batch's gradient is accumulated over several. None: all at once.
                   Where the device's memory does not hold them, fewer are taken by themselves
    checkpointing  compute activations again in the backward pass instead of keeping them
    optimizer      adamw, or adamw8bit (bitsandbytes, CUDA)
    channels_last  keep the UNet's convolutions in that memory format
    compile        compile the UNet's repeated blocks for sampling (torch.compile)
    """

    micro_batch: int | None = Field(default=None, ge=1)
    checkpointing: bool = False
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    channels_last: bool = False
    compile: bool = False


class RunSpec(BaseModel, frozen=True, extra="forbid"):
    """A run. `overrides` maps a method to differences from its config; the key `preset` in it names a preset.

    methods: labels, `NAME` or `NAME[key=value]` (`Variant`): what is in the brackets differs for that variant alone.
    """

    sequence: str = "faces5"
    data: str | None = None  # folder of the photos that the sequence is made of
    backbone: str = "avatars64.v2"
    methods: tuple[str, ...] = Field(default=METHODS, min_length=1)
    replicates: int | None = Field(default=None, ge=1, le=MOST, description="cells a method: order r with seed r")
    until_decided: int | None = Field(default=None, ge=5, le=MOST, description="most replicates until all is decided")
    decide: str = Field(default="clip_i_average", description="the figure that until_decided decides")
    seeds: tuple[Number, ...] = Field(default=(0,), min_length=1, max_length=MOST)
    orders: tuple[Number, ...] = Field(default=(0,), min_length=1, max_length=MOST)
    images_per_prompt: int = Field(default=4, ge=1, le=MOST)
    preservation_images: int = Field(default=1, ge=1, le=MOST)
    diversity_images: int = Field(
        default=16, ge=0, le=MOST, description='of "a NOUN" without a trigger: class_diversity and class_leak; 0: none'
    )
    stages: Stages = Field(default="all", description="which stages are sampled; all of them are learned")
    sampler: Sampler = Sampler()
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    weights: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="how the backbone's are held; auto: fp32, on a GPU as backbones.toml says"
    )
    economy: Economy = Economy()
    metric: str | None = Field(
        default=None, description="open_clip folder or ARCHITECTURE:TAG; None: the backbone's own"
    )
    dino: str | None = Field(
        default=None, description="what makes dino_i: facebook/dino-vits16 or a folder of it; None: no dino_i"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    overrides: Mapping[str, Mapping[str, Any]] = {}

    @field_validator("methods")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(Variant.parse(given).label for given in value)

    @field_validator("methods", "seeds", "orders")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := sorted({str(v) for v in value if value.count(v) > 1}):
            raise ValueError(f"{', '.join(twice)} given twice")
        return value

    @field_validator("seeds", "orders")
    @classmethod
    def _no_replicates(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if any(info.data.get(key) is not None for key in ("replicates", "until_decided")):
            raise ValueError("replicates are orders and seeds already; leave out the one or the other")
        return value

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        counted, decided = self.replicates is not None, self.until_decided is not None
        left_out = (("seeds", "orders") if counted or decided else ()) + (() if counted else ("replicates",))
        left_out += () if decided else ("until_decided", "decide")
        return {key: value for key, value in handler(self).items() if key not in left_out}

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Order and seed of each of a method's cells, in the order in which they are run."""
        return pairs(self.replicates or self.until_decided, self.orders, self.seeds)


@dataclass(frozen=True)
class Cell:
    """The unit that is run, resumed and reported: one method on one sequence in one order with one seed.

    method: its label, as `RunSpec.methods` has it.
    """

    method: str
    sequence: str
    order: int
    seed: int

    @property
    def path(self) -> str:
        """Its folder inside the run's: `cat/order0-seed0`."""
        return f"{self.method}/order{self.order}-seed{self.seed}"


def pairs(replicates: int | None, orders: Iterable[int], seeds: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """(order, seed): replicate r is order r with seed r; without replicates each order with each seed."""
    if replicates is not None:
        return tuple((number, number) for number in range(replicates))
    orders = tuple(orders)
    return tuple((order, seed) for seed in seeds for order in orders)


def cells(spec: RunSpec) -> Iterator[Cell]:
    """All cells; methods innermost, so that after each (order, seed) the methods can be compared."""
    for order, seed in spec.pairs:
        for method in spec.methods:
            yield Cell(method, spec.sequence, order, seed)


def resolve(*layers: Mapping[str, Any]) -> RunSpec:
    """Merge layers of settings, later ones winning (nested mappings key by key), and check the whole.

    Raises SpecError: one line that names the key, what is wrong with it, and what was probably meant.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    if "threads" in merged:
        raise SpecError(f"threads: {NO_THREADS}")
    try:
        spec = RunSpec.model_validate(merged)
    except ValidationError as error:
        raise SpecError(explain(error, RunSpec, "the run's settings")) from None
    if unused := sorted(set(spec.overrides) - set(names_of(spec.methods))):
        near = suggestion(unused[0], list(names_of(spec.methods)))
        raise SpecError(f"settings are given for {', '.join(unused)}, which is not among the methods of this run{near}")
    return spec


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """The first thing wrong with a pydantic model's input, as one line."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or where
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no key {key!r}{suggestion(str(first['loc'][-1]), _keys(model, first['loc']))}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"
    return f"{where}: {key}: {message[:1].lower()}{message[1:]}{given}"


def suggestion(given: str, known: list[str]) -> str:
    """'; did you mean …?' where something comes close, else '; there is: …'."""
    if near := get_close_matches(given, known, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; there is: {', '.join(known)}" if known else ""


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value)
        else:
            into[key] = value
