"""What a method is: the predictions it asks for, the loss it minimises, and what it does before and after a concept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from torch.nn import Parameter

from cat_bench.methods.errors import MethodError

__all__ = ["Adapter", "Batch", "Concept", "Method", "MethodError", "Query", "mse"]


@dataclass(frozen=True)
class Query:
    """One prediction a method needs at this step, for the same noisy latents and timesteps as every other of the step.

    prompt   n texts, one for each item of the batch.
    adapter  "on": the model as it is being trained; "off": the untouched backbone; "previous": the model as it entered
             this stage. Only "on" carries a gradient.
    """

    prompt: tuple[str, ...]
    adapter: Literal["on", "off", "previous"] = "on"


@dataclass(frozen=True)
class Batch:
    """One training step's items.

    target                  (n, c, h, w) what the backbone should predict: the noise or the velocity
    prompt                  n captions with the concept's trigger
    prompt_without_trigger  the same captions without it
    step                    from 0
    """

    target: Tensor
    prompt: tuple[str, ...]
    prompt_without_trigger: tuple[str, ...]
    step: int


class Concept(Protocol):
    """What a method may know about a concept: the one that it is about to learn, and the earlier ones."""

    @property
    def id(self) -> str: ...
    @property
    def trigger(self) -> str: ...
    @property
    def noun(self) -> str: ...


class Adapter(Protocol):
    """A low-rank adapter on the backbone's attention layers, and what earlier concepts left behind.

    The weight of layer `name` is W0 + past(name) + delta(name), and that sum is what is sampled after a stage.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The adapted layers, in module order."""

    @property
    def A(self) -> Mapping[str, Parameter]:
        """(rank, in), trained."""

    @property
    def B(self) -> Mapping[str, Parameter]:
        """(out, rank), trained."""

    @property
    def rank(self) -> int: ...

    @property
    def scaling(self) -> float:
        """alpha / rank."""

    @property
    def factors(self) -> Sequence[Mapping[str, tuple[Tensor, Tensor]]]:
        """For each folded adapter, oldest first, {name: (A (rank, in), B (out, rank))}, ΔW = B @ A: scaling is in B."""

    @property
    def dense(self) -> Mapping[str, Tensor]:
        """{name: (out, in)} the part of the past that is not low-rank; {} if there is none."""

    @property
    def generator(self) -> torch.Generator:
        """This stage's own stream for initial values; a method draws from no other."""

    @property
    def token(self) -> Parameter | None:
        """(1, d) learned embedding that stands for the trigger; None unless the method has `learns_token`."""

    def past(self, name: str) -> Tensor:
        """(out, in) fp32, frozen: ΔW of all earlier concepts, dense + Σ B_i A_i; zeros before the second concept."""

    def delta(self, name: str) -> Tensor:
        """(out, in) scaling · B @ A, differentiable."""

    def reset(self, A: Mapping[str, Tensor] | None = None) -> None:
        """Start afresh: B = 0; A as given, or drawn from `generator` as peft does; a learned token is drawn anew."""

    def fold(self) -> None:
        """Append (A, scaling · B) to `factors`, then reset(): the sampled model stays the same."""

    def replace(self, dense: Mapping[str, Tensor]) -> None:
        """The past becomes exactly `dense`, `factors` is cleared, then reset()."""


class Method:
    """How an adapter learns the next concept. As it stands here this is naive LoRA; a subclass says what differs.

    One instance learns one concept. For every stage of a sequence the trainer makes a new one, gives it by `load` what
    the last one's `state` returned, sets `earlier`, and then calls `begin`, at each step `queries` and `loss`, and
    `end`. What is to last from one concept to the next is therefore in the adapter or in `state`. After a stage another
    new instance, which gets the state alone, is asked for `token`. A method never calls the network: the trainer
    answers its queries.
    """

    class Config(BaseModel):
        """Settings of one concept's training."""

        model_config = ConfigDict(frozen=True, extra="forbid")

        rank: int = Field(default=16, ge=1)
        alpha: float | None = Field(default=None, gt=0, description="None: equal to the rank, so scaling is 1")
        lr: float = Field(default=1e-3, gt=0)
        steps: int = Field(default=150, ge=1)
        batch_size: int = Field(default=8, ge=1)
        weight_decay: float = Field(default=1e-2, ge=0)
        max_grad_norm: float = Field(default=1.0, gt=0)
        targets: tuple[str, ...] = Field(default=("to_q", "to_k", "to_v", "to_out.0"), min_length=1)

    name: ClassVar[str]  # set by @register
    version: ClassVar[str] = "1"  # raise it when results change: it is part of every stage's key
    title: ClassVar[str] = ""
    source: ClassVar[str] = ""
    uses_noun: ClassVar[bool] = True  # False: prompts name the concept by its trigger alone, without the class noun
    learns_token: ClassVar[bool] = False
    # False: `adapter.factors` are never looked at one by one, and become one dense sum once they outweigh it.
    keeps_factors: ClassVar[bool] = True
    # Differences from Config's defaults: "paper", and one under the id of each backbone that has settings of its own.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    config: Config
    earlier: tuple[Concept, ...] = ()  # the concepts learned before this one, oldest first; the trainer sets it

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

    def token(self, concept: Concept) -> Tensor | None:
        """(1, d) the embedding learned for an already learned concept's trigger; None if the trigger is plain text."""
        return None

    def state(self) -> dict[str, Tensor]:
        """What must be carried to the next concept beyond the adapter itself; storable as safetensors."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what the last concept's state() gave, on any device; not called before the first concept."""

    @classmethod
    def configure(
        cls, preset: str | None = None, backbone: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Config:
        """Resolve settings: defaults, then `preset` if named, else the backbone's own preset if any, then `overrides`.

        Raises MethodError for an unknown preset or setting and for a value out of range.
        """
        name = getattr(cls, "name", cls.__name__)
        if preset is not None and preset not in cls.presets:
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
            value = f"{key} = {first['input']!r}" if key else "settings"
            raise MethodError(f"method {name}: {value}: {first['msg']}") from error


def mse(a: Tensor, b: Tensor) -> Tensor:
    """() mean squared error in fp32. Raises MethodError if the shapes differ (broadcasting would hide a mistake)."""
    if a.shape != b.shape:
        raise MethodError(f"mse: {tuple(a.shape)} against {tuple(b.shape)}; compare answers to the same batch")
    return (a.float() - b.float()).square().mean()
