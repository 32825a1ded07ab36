"""Is a class a method the benchmark can run? `check_method(MyMethod)` says so, or what to mend, in about a second."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from cat_bench.methods.base import Batch, Method, MethodError
from cat_bench.methods.knob import knob_of
from cat_bench.methods.testing.rules import (
    CONCEPTS,
    MethodContractError,
    check_foresee,
    check_pools,
    check_query,
    require,
    routes_after,
)
from cat_bench.methods.testing.toy import ToyAdapter, answers, batches, fill_pools, learn

__all__ = ["MethodContractError", "check_method"]

QUICK = {"rank": 2, "steps": 4, "batch_size": 3}


def check_method(cls: type[Method], overrides: Mapping[str, Any] | None = None) -> None:
    """Run `cls` through three concepts on a toy backbone. Raises MethodContractError with one line on what is wrong.

    overrides  settings to check it with, over small ones for rank, steps and batch size
    """
    try:
        _declaration(cls)
        config = cls.configure(overrides={**QUICK, **(overrides or {})})
        check_foresee(cls, config)
        _one_step(cls, config)
        _whole_sequence(cls, config)
    except MethodError as error:
        raise MethodContractError(f"{getattr(cls, '__name__', cls)}: {error}") from error.__cause__


def _declaration(cls: type[Method]) -> None:
    require(isinstance(cls, type) and issubclass(cls, Method), "derive it from cat_bench.methods.base.Method")
    require("name" in vars(cls), 'has no name; put @register("its-name") above the class')
    require(bool(vars(cls).get("title")), "has no title of its own; set the class attribute: tables show it")
    require(bool(cls.source), "has no source; set the class attribute: who proposed it, with an arXiv id if it has one")
    require(bool(cls.carries), 'carries nothing? say so in words, carries = "nothing": tables print it')
    for taken in ("earlier", "tokens"):
        own = getattr(cls, taken) is not getattr(Method, taken)
        require(not own, f"defines `{taken}`, which the trainer sets; give that attribute another name")
    require(issubclass(cls.Config, Method.Config), "derive its Config from Method.Config")
    rules = cls.Config.model_config
    require(bool(rules.get("frozen")) and rules.get("extra") == "forbid", "its Config must stay frozen, extra='forbid'")
    required = [key for key, field in cls.Config.model_fields.items() if field.is_required()]
    require(not required, f"setting {required[:1]} has no default; every setting needs one")
    if cls.knob is not None:
        knob_of(cls)
    for preset in cls.presets:
        try:
            cls.configure(preset)
        except MethodError as error:
            raise MethodContractError(f"preset {preset!r}: {error}") from error


def _one_step(cls: type[Method], config: Method.Config) -> None:
    concept = CONCEPTS[0]
    method, adapter = _build(cls, config)
    adapter.enter(0)
    check_pools(cls, method)
    items = method.survey()
    require(
        isinstance(items, int) and items >= 0, f"survey() must return how many items to look at, 0 or more, not {items}"
    )
    pools = fill_pools(method, concept, adapter, 0)
    method.begin(concept, adapter)
    for name in adapter.names:
        require(not adapter.delta(name).any(), "begin() of the first concept must leave the model as it is: B = 0")
    batch, noisy = next(batches(method, concept, pools=pools))
    queries = method.queries(batch)
    require(isinstance(queries, dict) and len(queries) > 0, "queries() must return a dict with at least one Query")
    for key, query in queries.items():
        check_query(key, query, batch)
    require(any(q.adapter == "on" for q in queries.values()), "no query has adapter 'on': nothing could be learned")
    predicted = answers(method, concept, adapter, batch, noisy)
    target = batch.target.clone()
    try:
        loss = method.loss(batch, MappingProxyType(predicted), adapter)
    except KeyError as error:
        raise MethodContractError(f"loss() reads the prediction {error}, which queries() does not ask for") from error
    given = f"one of {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    number = isinstance(loss, Tensor) and loss.shape == ()
    require(number, f"loss() must return one number, a 0-d tensor with its gradient, not {given}")
    require(bool(torch.isfinite(loss)), f"loss() is {loss.item()} at the very first step")
    require(torch.equal(target, batch.target), "loss() changes batch.target in place")
    require(loss.requires_grad, "loss() has no gradient: is it detached, or under no_grad?")
    loss.backward()  # type: ignore[no-untyped-call]
    first = [*adapter.B.values(), *([] if adapter.token is None else [adapter.token])]
    moved = any(p.grad is not None and bool(p.grad.any()) for p in first)
    require(moved, "loss() has no gradient for B at the first step: the adapter would never leave zero")
    one = replace(_cut(batch), step=1, pools={name: _cut(pool) for name, pool in batch.pools.items()})
    require(all(len(q.prompt) == 1 for q in method.queries(one).values()), "queries() must follow the batch's length")


def _cut(batch: Batch) -> Batch:
    """Its first item."""
    kept = (batch.prompt[:1], batch.prompt_without_trigger[:1], batch.step, batch.templates[:1])
    return Batch(batch.target[:1], *kept)


def _whole_sequence(cls: type[Method], config: Method.Config) -> None:
    """All concepts by one instance that goes on and so has all it ever kept, then by new ones; they must agree."""
    torch.manual_seed(1)
    method, adapter = _build(cls, config)
    pristine = {name: weight.clone() for name, weight in adapter.base.items()}
    stages: list[dict[str, Tensor]] = []
    routes = []
    for stage in range(len(CONCEPTS)):
        _learn(method, stage, adapter)
        stages.append(adapter.deltas())
        routes.append(routes_after(method, adapter, stage))
        require(
            all(bool(torch.isfinite(delta).all()) for delta in stages[-1].values()),
            f"after concept {stage + 1} some weights are not finite",
        )
        require(
            any(bool(delta.any()) for delta in stages[-1].values()) or adapter.token is not None,
            f"after concept {stage + 1} the model is the bare backbone again: end() must keep what was learned",
        )
    require(
        all(torch.equal(weight, adapter.base[name]) for name, weight in pristine.items()), "changes the backbone itself"
    )
    _resumes(cls, config, stages, routes)


def _resumes(cls: type[Method], config: Method.Config, expected: list[dict[str, Tensor]], routes: list[Any]) -> None:
    """The same stages as the trainer runs them, each by a new instance that gets the stored tensors of the last."""
    stored: dict[str, Tensor] = {}
    extra: dict[str, Tensor] = {}
    method, adapter = _build(cls, config)
    for stage in range(len(CONCEPTS)):
        torch.manual_seed(100 + stage)
        method, adapter = _build(cls, config)
        if stage:
            adapter.load_state_dict(stored)
            method.load(extra)
        _learn(method, stage, adapter)
        same = all(torch.equal(delta, expected[stage][name]) for name, delta in adapter.deltas().items())
        require(
            same or stage > 0,
            "two runs from the same seed differ: draw random numbers from adapter.generator only, and keep nothing in "
            "the class: what an instance keeps begins in its __init__",
        )
        require(
            same,
            f"concept {stage + 1} differs when the run is resumed before it: state() and load() must carry all that "
            "is kept between concepts, and random numbers must come from adapter.generator only",
        )
        stored, extra = adapter.state_dict(), _stored(method.state())
        sampled = cls(config)
        sampled.load(extra)
        sampled.tokens = adapter.tokens
        require(
            routes_after(sampled, adapter, stage) == routes[stage],
            "route() of an instance that has the state alone differs: state() and load() must carry what it needs",
        )


def _learn(method: Method, stage: int, adapter: ToyAdapter) -> None:
    """The stage that learns CONCEPTS[stage], with those before it as `earlier`."""
    try:
        learn(method, CONCEPTS[stage], adapter, seed=stage, earlier=CONCEPTS[:stage])
    except MethodError as error:
        raise MethodContractError(f"concept {stage + 1}: {error}") from error
    require(
        method.earlier == CONCEPTS[:stage],
        f"changes `earlier` while it learns concept {stage + 1}: the trainer sets it anew for each concept, so keep "
        "what you need of it under another name",
    )


def _build(cls: type[Method], config: Method.Config) -> tuple[Method, ToyAdapter]:
    return cls(config), ToyAdapter(config)


def _stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file would give back: plain copies, no sharing with the instance that wrote them."""
    for key, value in state.items():
        ok = isinstance(key, str) and isinstance(value, Tensor) and not value.requires_grad
        require(ok, f"state()[{key!r}] must be a detached tensor: {type(value).__name__}")
    return {key: value.clone().contiguous() for key, value in state.items()}
