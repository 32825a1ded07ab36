"""The check for authors: right methods pass, and each kind of mistake is named."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from cat_bench.methods.base import Adapter, Batch, Concept, Everything, Generated, Kept, Method, Pool, Query, mse
from cat_bench.methods.registry import methods
from cat_bench.methods.testing.contract import MethodContractError, check_method


class Sound(Method):
    name = "sound"
    title = "Sound"
    source = "a test"


@pytest.mark.parametrize("name", methods.names())
def test_our_own_keep_it(name: str) -> None:
    check_method(methods.get(name))
    check_method(methods.get(name), {"rank": 5, "alpha": 2.0})


def test_released_ortho_keeps_it() -> None:
    check_method(methods.get("ortho"), {"variant": "released"})


class Distil(Sound):
    """Uses "previous", keeps a tensor between concepts, and carries it."""

    def __init__(self, config: Method.Config | None = None) -> None:
        super().__init__(config)
        self.seen = torch.zeros(())

    def queries(self, batch: Batch) -> dict[str, Query]:
        return {"learn": Query(batch.prompt), **{k: Query(batch.prompt, k) for k in ("on", "previous")}}  # type: ignore

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        kept = mse(predicted["on"], predicted["previous"])
        return mse(predicted["learn"], batch.target) + self.seen * kept

    def end(self, concept: Concept, adapter: Adapter) -> None:
        self.seen = self.seen + 1.0

    def state(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.seen = state["seen"]


def test_a_method_with_a_state_of_its_own() -> None:
    class Titled(Distil):
        name, title = "titled", "Titled"

    check_method(Titled)


class Recalling(Sound):
    """Asks at every step how the model draws an earlier concept, and how it did before this one."""

    heard: ClassVar[list[tuple[str, tuple[str, ...]]]] = []  # (call, ids of the earlier concepts)

    def hear(self, call: str) -> None:
        self.heard.append((call, tuple(concept.id for concept in self.earlier)))

    def begin(self, concept: Concept, adapter: Adapter) -> None:
        self.hear("begin")

    def queries(self, batch: Batch) -> dict[str, Query]:
        self.hear("queries")
        queries = {"learn": Query(batch.prompt)}
        if self.earlier:
            old = self.earlier[batch.step % len(self.earlier)]
            asked = (f"a {old.trigger} {old.noun}",) * len(batch.prompt)
            queries |= {"now": Query(asked), "then": Query(asked, adapter="previous")}
        return queries

    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        self.hear("loss")
        learn = mse(predicted["learn"], batch.target)
        return learn + mse(predicted["now"], predicted["then"]) if self.earlier else learn

    def end(self, concept: Concept, adapter: Adapter) -> None:
        self.hear("end")


def test_the_earlier_concepts_are_known_and_grow_stage_by_stage() -> None:
    class Titled(Recalling):
        name, title, heard = "titled", "Titled", []

    check_method(Titled)
    calls = ("begin", *4 * ("queries", "loss"), "end")  # of a stage of four steps
    stages = [(call, earlier) for earlier in ((), ("first",), ("first", "second")) for call in calls]
    assert Titled.heard[-2 * len(stages) :] == 2 * stages, "by one instance, and by a new one for every stage"


class OwnEarlier(Sound):
    earlier = ("zorvex",)  # type: ignore[assignment]


class GrowsEarlier(Sound):
    def end(self, concept: Concept, adapter: Adapter) -> None:
        self.earlier = (*self.earlier, concept)


class Forgetful(Distil):
    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None: ...


class GlobalRandom(Sound):
    def begin(self, concept: Concept, adapter: Adapter) -> None:
        adapter.reset({name: torch.rand(A.shape) for name, A in adapter.A.items()})


class Detached(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return mse(predicted["learn"], batch.target).detach()


class Unasked(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return mse(predicted["original"], batch.target)


class PerItem(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return (predicted["learn"] - batch.target).square().mean((1, 2, 3))


class Infinite(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return mse(predicted["learn"], batch.target) / 0.0


class InPlace(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return mse(predicted["learn"], batch.target.mul_(2))


class NoAdapter(Sound):
    def queries(self, batch: Batch) -> dict[str, Query]:
        return {"learn": Query(batch.prompt, "off")}


class OnePrompt(Sound):
    def queries(self, batch: Batch) -> dict[str, Query]:
        return {"learn": Query(batch.prompt[:1])}


class OnlyA(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return torch.stack([A.square().sum() for A in adapter.A.values()]).sum()


class HeadStart(Sound):
    def begin(self, concept: Concept, adapter: Adapter) -> None:
        with torch.no_grad():
            for B in adapter.B.values():
                B.fill_(0.1)


class Dropping(Sound):
    def end(self, concept: Concept, adapter: Adapter) -> None:
        adapter.reset()


class Touching(Sound):
    def end(self, concept: Concept, adapter: Any) -> None:  # type: ignore[override]
        adapter.base[adapter.names[0]].add_(1.0)


class LiveState(Sound):
    def state(self) -> dict[str, Tensor]:
        return {"w": torch.ones(1, requires_grad=True)}


class NeedsSetting(Sound):
    class Config(Method.Config):
        weight: float


class LooseConfig(Sound):
    class Config(Method.Config):
        model_config = {"frozen": False}


class BadPreset(Sound):
    presets = {"paper": {"wieght": 1}}


class Wordless(Sound):
    carries = ""


class SaysNothingOfLatents(Sound):
    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"old": Kept(1)}


class HasEverything(Sound):
    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"old": Everything()}


class NoPool(Sound):
    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"old": 3}  # type: ignore[dict-item]


class EmptyPool(Sound):
    carries = "one adapter, latents"

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"old": Kept(1)}

    def queries(self, batch: Batch) -> dict[str, Query]:
        return {"learn": Query(batch.prompt), "old": Query(batch.prompt, items="old")}


class KeepsLate(Sound):
    carries = "one adapter, latents"

    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"old": Kept(1)} if self.earlier else {}


class Folding(Sound):
    def end(self, concept: Concept, adapter: Adapter) -> None:
        adapter.fold()


class ShortRoute(Folding):
    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        return [1.0]


class LongRoute(Sound):
    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        return [1.0] * len(concepts)


class SummedRoute(Folding):
    keeps_factors = False

    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        return [1.0] * len(concepts)


class NanRoute(Folding):
    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        return [float("nan")] * len(concepts)


class ForgetsRoute(Folding):
    seen = 0.0

    def end(self, concept: Concept, adapter: Adapter) -> None:
        super().end(concept, adapter)
        self.seen = 0.5

    def route(self, prompt: str, concepts: Sequence[Concept]) -> list[float]:
        return [self.seen] * len(concepts)


class NumberlessRoute(Folding):
    def route(self, prompt: str, concepts: Sequence[Concept]) -> Any:
        return {concept.id: 1.0 for concept in concepts}


class ListedPools(Sound):
    def pools(self, concept: Concept) -> Any:
        return [Kept(1)]


class OneText(Sound):
    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"class": Generated("a person", 2)}  # type: ignore[arg-type]


class DrawnByTheTrained(Sound):
    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"class": Generated(("a person",), 2, "on")}  # type: ignore[arg-type]


class KeepsNone(Sound):
    def pools(self, concept: Concept) -> Mapping[str, Pool]:
        return {"old": Kept(0)}


class OffByName(Sound):
    def queries(self, batch: Batch) -> dict[str, Query]:
        return {"learn": Query(batch.prompt, "of")}  # type: ignore[arg-type]


class Elementwise(Sound):
    def loss(self, batch: Batch, predicted: Mapping[str, Tensor], adapter: Adapter) -> Tensor:
        return (predicted["learn"] - batch.target).square()


class OfAnInstance(Sound):
    def foresee(self, config: Method.Config, inputs: Mapping[str, int], concepts: int) -> None:  # type: ignore[override]
        return None


class ForeseesANumber(Sound):
    @classmethod
    def foresee(cls, config: Method.Config, inputs: Mapping[str, int], concepts: int) -> Any:
        return sum(inputs.values())


class NoSuchKnob(Sound):
    knob = ("wieght", (1.0, 2.0))


class WrongSurvey(Sound):
    def survey(self) -> int:
        return -1


class Nameless(Method):
    title = "Nameless"
    source = "a test"


class Untitled(Method):
    name = "untitled"


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Forgetful, r"concept 2 differs when the run is resumed before it: state\(\) and load\(\) must carry"),
        (GlobalRandom, "two runs from the same seed differ: draw random numbers from adapter.generator only"),
        (Detached, r"loss\(\) has no gradient: is it detached"),
        (Unasked, r"reads the prediction 'original', which queries\(\) does not ask for"),
        (PerItem, r"loss\(\) must return one number"),
        (Infinite, r"loss\(\) is inf at the very first step"),
        (InPlace, "changes batch.target in place"),
        (NoAdapter, "no query has adapter 'on'"),
        (OnePrompt, "one prompt for each of the 3 items"),
        (OnlyA, "no gradient for B at the first step"),
        (HeadStart, r"begin\(\) of the first concept must leave the model as it is"),
        (Dropping, "the model is the bare backbone again"),
        (Touching, "changes the backbone itself"),
        (LiveState, r"state\(\)\['w'\] must be a detached tensor"),
        (NeedsSetting, r"setting \['weight'\] has no default"),
        (LooseConfig, "must stay frozen"),
        (BadPreset, "preset 'paper': method badpreset: no setting 'wieght'"),
        (Nameless, "has no name; put @register"),
        (Untitled, "has no title of its own"),
        (OwnEarlier, "defines `earlier`, which the trainer sets"),
        (GrowsEarlier, "changes `earlier` while it learns concept 1"),
        (Wordless, r"carries nothing\? say so in words"),
        (SaysNothingOfLatents, "`carries` must name the latents, not only 'one adapter'"),
        (HasEverything, "only a reference may have all earlier data; set reference = True"),
        (NoPool, r"pools\(\)\['old'\] must be Kept, Generated or Everything, not int"),
        (EmptyPool, r"asks about the pool 'old', which has no items at this step: ask only where batch.pools has it"),
        (KeepsLate, r"concept 2: nothing of first was kept: pools\(\) must declare Kept from the first concept on"),
        (ShortRoute, r"route\(\) gave 1 weights for 0 folded adapters: give one for each of `concepts`"),
        (LongRoute, r"route\(\) must give a weight for each of the 0 folded adapters, not 1: does end\(\) fold"),
        (SummedRoute, "set keeps_factors = True"),
        (NanRoute, r"route\(\) gives weights that are not finite"),
        (ForgetsRoute, r"route\(\) of an instance that has the state alone differs"),
        (WrongSurvey, r"survey\(\) must return how many items to look at, 0 or more, not -1"),
        (NumberlessRoute, r"route\(\) must give a list of numbers, one for each of `concepts`, not \{'first': 1.0\}"),
        (ListedPools, r"pools\(\) must return pools by name, a dict, not list"),
        (OneText, r"Generated: give a tuple of prompts, \('a person',\), not one text"),
        (DrawnByTheTrained, "Generated: adapter 'on'; only 'off' and 'previous' draw"),
        (KeepsNone, "Kept: a count of 0; give a whole number, 1 or more"),
        (OffByName, "Query: adapter 'of'; give 'on', 'off' or 'previous'"),
        (Elementwise, r"0-d tensor with its gradient, not one of \(3, 3, 2, 2\)"),
        (OfAnInstance, r"foresee\(\) cannot be asked .*: make it a classmethod"),
        (ForeseesANumber, r"foresee\(\) must return a line or None, not 112"),
        (NoSuchKnob, "knob 'wieght': name a setting other than lr; it has: rank"),
        (int, "derive it from"),
    ],
)
def test_each_mistake_is_named(cls: Any, message: str) -> None:
    if issubclass(cls, Sound):
        cls.name, cls.title = cls.__name__.lower(), cls.__name__
    with pytest.raises(MethodContractError, match=message) as caught:
        check_method(cls)
    assert str(caught.value).startswith(f"{cls.__name__}: ") and "\n" not in str(caught.value)
