"""What a method may say through its optional calls, each rule with the sentence that tells what to mend."""

from collections.abc import Mapping
from math import isfinite

from cat_bench.methods.base import Batch, Everything, Generated, Kept, Method, MethodError, Query
from cat_bench.methods.testing.toy import LAYERS, ToyAdapter, ToyConcept, route_of

CONCEPTS = (ToyConcept("first", "zorvex"), ToyConcept("second", "plimba"), ToyConcept("third", "quonda"))


class MethodContractError(MethodError):
    """What a method does that the benchmark cannot work with, and what it must do instead."""


def require(condition: bool, message: str) -> None:
    """Raises MethodContractError with the message unless the condition holds."""
    if not condition:
        raise MethodContractError(message)


def check_query(key: str, query: Query, batch: Batch) -> None:
    """One of queries()."""
    require(isinstance(query, Query), f"queries()[{key!r}] must be a Query, not {type(query).__name__}")
    require(
        len(query.prompt) == len(batch.prompt) and not isinstance(query.prompt, str),
        f"queries()[{key!r}] must have one prompt for each of the {len(batch.prompt)} items of the batch",
    )
    require(
        query.items is None or query.items in batch.pools,
        f"queries()[{key!r}] asks about the pool {query.items!r}, which has no items at this step: ask only where "
        f"batch.pools has it, and declare it in pools()",
    )


def check_pools(cls: type[Method], method: Method) -> None:
    """What pools() declares at the first concept, and what the class says of it."""
    pools = method.pools(CONCEPTS[0])
    require(isinstance(pools, Mapping), f"pools() must return pools by name, a dict, not {type(pools).__name__}")
    for name, pool in pools.items():
        known = isinstance(pool, Kept | Generated | Everything)
        require(known, f"pools()[{name!r}] must be Kept, Generated or Everything, not {type(pool).__name__}")
        require(
            cls.reference or not isinstance(pool, Everything),
            f"pools()[{name!r}] is Everything: only a reference may have all earlier data; set reference = True",
        )
    keeps = any(isinstance(pool, Kept) for pool in pools.values())
    require(
        not keeps or "latent" in cls.carries, f"keeps items: `carries` must name the latents, not only {cls.carries!r}"
    )


def routes_after(method: Method, adapter: ToyAdapter, stage: int) -> list[tuple[float, ...] | None]:
    """The weights for prompts of every concept and of none, after a stage."""
    known, routes = CONCEPTS[: stage + 1], []
    prompts = [concept.fill("a photo of a {}", form) for concept in CONCEPTS for form in (method.form, "noun")]
    for prompt in prompts:
        weights = route_of(method, known)(prompt)
        if weights is not None:
            require(
                len(weights) == len(adapter.factors),
                f"route() must give a weight for each of the {len(adapter.factors)} folded adapters, not "
                f"{len(weights)}: does end() fold() the adapter?",
            )
            require(method.keeps_factors, "route() weighs the factors one by one: set keeps_factors = True")
            require(all(map(isfinite, weights)), f"route() gives weights that are not finite: {weights}")
        routes.append(weights)
    return routes


def check_foresee(cls: type[Method], config: Method.Config) -> None:
    """What a run would say before its first step."""
    try:
        line = cls.foresee(config, {name: size[1] for name, size in LAYERS.items()}, len(CONCEPTS))
    except Exception as error:
        raise MethodContractError(
            f"foresee() cannot be asked ({type(error).__name__}: {error}): make it a classmethod of the settings, of "
            "{layer: how many inputs it has} and of the number of concepts"
        ) from error
    require(line is None or isinstance(line, str), f"foresee() must return a line or None, not {line!r}")
