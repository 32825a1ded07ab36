"""The setting that tuning turns beside the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cat_bench.methods.errors import MethodError

if TYPE_CHECKING:
    from cat_bench.methods.base import Method


def knob_of(method: type[Method]) -> tuple[str, Any, Any]:
    """Its setting, the usual value and the other. Raises MethodError for a knob that cannot be turned."""
    knob: Any = method.knob
    try:
        name, (usual, other) = knob
    except (TypeError, ValueError):
        wanted = "give a setting and two values, the usual one first"
        raise MethodError(f"method {method.name}: knob {knob!r}: {wanted}") from None
    if name == "lr" or name not in method.Config.model_fields:
        there = ", ".join(field for field in method.Config.model_fields if field != "lr")
        raise MethodError(f"method {method.name}: knob {name!r}: name a setting other than lr; it has: {there}")
    if usual == other:
        raise MethodError(f"method {method.name}: knob {name!r}: both values are {usual!r}")
    for value in (usual, other):
        method.configure(overrides={name: value})
    return name, usual, other
