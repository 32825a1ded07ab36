"""What a method is: the predictions it asks for, the loss it minimises, and what it does before and after a concept."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from cat_bench.methods.adapter import Adapter
from cat_bench.methods.batch import Batch, Everything, Generated, Kept, Pool, Query
from cat_bench.methods.errors import MethodError

__all__ = [
    "Adapter",
    "Batch",
    "Concept",
    "Everything",
    "Generated",
    "Kept",
    "Method",
    "MethodError",
    "Pool",
    "Query",
    "mse",
]


EMBEDDINGS = "one embedding a concept"


class Concept(Protocol):
    """What a method may know about a concept: the one that it is about to learn, and the earlier ones."""

    @property
    def id(self) -> str: ...
    @property
    def trigger(self) -> str: ...
    @property
    def noun(self) -> str: ...
    def fill(self, template: str, form: str) -> str:
        """A prompt from a template with "{}"; form: "trigger" (and class noun), "noun" or "token" (trigger alone)."""


class Method:
    """How an adapter learns the next concept. As it stands here this is naive LoRA; a subclass says what differs.

    One instance learns one concept. For every stage of a sequence the trainer makes a new one, gives it by `load` what
    the last one's `state` returned, sets `earlier`, and then calls `begin`, at each step `queries` and `loss`, and
    `end`. What is to last from one concept to the next is therefore in the adapter or in `state`. After a stage another
    new instance, which gets the state alone, is asked for `route`. A method never calls the network: the trainer
    answers its queries. `pools`, `survey` and `route` are for methods that need more than a concept's batch.
    """

    class Config(BaseModel):
        """Settings of one concept's training."""

        model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

        rank: int = Field(default=16, ge=1)
        alpha: float | None = Field(default=None, gt=0, description="None: equal to the rank, so scaling is 1")
        lr: float = Field(default=1e-3, gt=0)
        steps: int = Field(default=150, ge=1)
        batch_size: int = Field(default=8, ge=1)
        weight_decay: float = Field(default=1e-2, ge=0)
        max_grad_norm: float = Field(default=1.0, gt=0)
        targets: tuple[str, ...] = Field(default=("to_q", "to_k", "to_v", "to_out.0"), min_length=1)
        noun: bool = Field(default=True, description="prompts name the class beside the trigger")
        token: bool = Field(default=False, description="the trigger is a new word whose embedding is learned, too")

    name: ClassVar[str]  # set by @register
    version: ClassVar[str] = "1"  # raise it when results change: it is part of every stage's key
    title: ClassVar[str] = ""
    source: ClassVar[str] = ""
    # False: `adapter.factors` are never looked at one by one, and become one dense sum once they outweigh it.
    keeps_factors: ClassVar[bool] = True
    carries: ClassVar[str] = "one adapter"  # from concept to concept, in words; tables print it beside the name
    reference: ClassVar[bool] = False  # True: a bound beside the others, never ranked
    # Differences from Config's defaults: "paper", and one under the id of each backbone that has settings of its own.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    # What `cat-bench tune` turns beside the learning rate: a setting and two values, the usual one first; a method with
    # a term of its own names that term's weight. None: nothing, and as many learning rates more.
    knob: ClassVar[tuple[str, tuple[Any, Any]] | None] = ("rank", (16, 4))

    config: Config
    # What the trainer sets: the concepts learned before this one, oldest first, and by id of a concept the embedding
    # (1, d) learned for its trigger, where `config.token` asks for one.
    earlier: tuple[Concept, ...] = ()
    tokens: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(self, config: Config | None = None) -> None:
        self.config = self.Config() if config is None else config

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        """Before the first step on `concept`: initialise what trains now. `self.earlier` is set."""

    def queries(self, batch: Batch) -> dict[str, Query]:
        """The predictions that this step's loss needs, by name."""
        return {"learn": Query(batch.prompt)}

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        """() what to minimise; `predicted` has an (n, c, h, w) answer for every query."""
        return mse(predicted["learn"], batch.target)

    def end(self, concept: Concept, adapter: Adapter) -> None:
        """After the last step on `concept`: merge, accumulate, select."""

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        """Further sources of items at each step, by name, asked once before `begin`; a pool without items is left out.

        A pool draws from streams of its own: the concept's batches, noise and timesteps are what they are without it.
        """
        return {}

    def survey(self) -> int:
        """How many items to look at between the last step and `end`, one by one and without an update."""
        return 0

    def surveyed(self, gradients: Mapping[str, Tensor], adapter: Adapter) -> None:
        """Of one such item the gradient of ‖ε_on − ε‖² alone (mean squared error, with the trigger), by "A.<layer>",
        "B.<layer>" and "token": of what is trained. The items are drawn as a step's are, from a stream of their own.
        """

    def route(self, prompt: str, concepts: Sequence[Concept]) -> Sequence[float] | None:
        """The weight of each of `adapter.factors` for a prompt; None: the whole past, as it is.

        concepts: those learned so far, oldest first: as many as factors where every concept is folded. Training asks
        with the earlier ones, sampling with the stage's own, too, and an instance that has the state alone. What is
        dense, and what trains, counts in full. Items of equal weights are computed together.
        """
        return None

    def state(self) -> dict[str, Tensor]:
        """What must be carried to the next concept beyond the adapter itself; storable as safetensors."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what the last concept's state() gave, on any device; not called before the first concept."""

    @classmethod
    def foresee(cls, config: Config, inputs: Mapping[str, int], concepts: int) -> str | None:
        """One line, said before a run, on what cannot go as it should with so many concepts; None: all is well.

        inputs: how many inputs each linear layer of the network has, by name.
        """
        return None

    @property
    def form(self) -> str:
        """How prompts name a concept: see `Concept.fill`."""
        return "trigger" if self.config.noun else "token"

    def about(self, concept: Concept, batch: Batch) -> tuple[str, ...]:
        """The batch's captions about another concept, such as an earlier one."""
        return tuple(concept.fill(template, self.form) for template in batch.templates)

    @classmethod
    def carried(cls, config: Config) -> str:
        """`carries` with these settings: learned tokens make an embedding a concept."""
        words = [part for part in cls.carries.split(", ") if part != EMBEDDINGS]
        return ", ".join([*words, EMBEDDINGS] if config.token else words)

    @classmethod
    def configure(
        cls, preset: str | None = None, backbone: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Config:
        """Resolve settings: defaults, then `preset` if named, else the backbone's own preset if any, then `overrides`.

        Raises MethodError for an unknown preset or setting and for a value out of range.
        """
        name = getattr(cls, "name", cls.__name__)
        if preset is not None and (not isinstance(preset, str) or preset not in cls.presets):
            known = ", ".join(cls.presets) or "none"
            raise MethodError(f"method {name}: no preset {preset!r}; it has: {known}")
        values = {**cls.presets.get(preset or backbone or "", {}), **(overrides or {})}
        try:
            return cls.Config(**values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                near = get_close_matches(key, cls.Config.model_fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else "it has: " + ", ".join(cls.Config.model_fields)
                raise MethodError(f"method {name}: no setting {key!r}; {hint}") from error
            if first["type"] == "missing":
                raise MethodError(f"method {name}: setting {key!r} has no default; give it one in Config") from error
            value = f"{key} = {first['input']!r}" if key else "settings"
            raise MethodError(f"method {name}: {value}: {first['msg']}") from error


def mse(a: Tensor, b: Tensor) -> Tensor:
    """() mean squared error in fp32. Raises MethodError if the shapes differ (broadcasting would hide a mistake)."""
    if a.shape != b.shape:
        raise MethodError(f"mse: {tuple(a.shape)} against {tuple(b.shape)}; compare answers to the same batch")
    return (a.float() - b.float()).square().mean()
