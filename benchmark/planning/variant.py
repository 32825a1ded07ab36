"""A method as a run names it: `cat`, or `cat[lr=0.002,weight=0]` where its settings differ from the preset."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_origin

from cat_bench.benchmark.errors import SpecError
from cat_bench.methods.errors import MethodError
from cat_bench.methods.registry import methods

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cat_bench.methods.base import Method

RESERVED = ("base", "references", "report", "real", "other_noise")  # each run has folders or rows of these names
LONGEST = 120  # characters of a label: it names folders
_ALLOWED = "letters, digits and . _ - [ ] = , + alone, for it names folders"
_LABEL = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[(.*)\])?", re.ASCII)
_SETTING = re.compile(r"([A-Za-z_]\w*)=([\w.+-]+)", re.ASCII)

Value = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """A method's name, and in what its settings differ from its preset; these in the order of their keys."""

    name: str
    settings: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def parse(cls, given: str) -> Variant:
        """From `NAME` or `NAME[key=value,key=value]`. Values are read as TOML, a bare word is text, a + joins texts.

        Raises SpecError: a character that no label may have, brackets that do not hold `key=value`, a key given twice.
        """
        where = f"method {given!r}"
        match = _LABEL.fullmatch(given.strip())
        if match is None:
            shape = "give NAME or NAME[key=value,key=value]" if "[" in given or "]" in given else "give a method's name"
            raise SpecError(f"{where}: {shape}, of {_ALLOWED}")
        settings: dict[str, Value] = {}
        for part in match[2].split(",") if match[2] is not None else ():
            setting = _SETTING.fullmatch(part.strip())
            if setting is None:
                raise SpecError(f"{where}: {part.strip()!r} is not key=value, of {_ALLOWED}")
            if setting[1] in settings:
                raise SpecError(f"{where}: {setting[1]} is given twice")
            settings[setting[1]] = _read(setting[2], where)
        found = cls(match[1], tuple(sorted(settings.items())))
        if len(found.label) > LONGEST:
            raise SpecError(f"{where} names folders, so {LONGEST} characters must do; it has {len(found.label)}")
        return found

    @property
    def label(self) -> str:
        """What folders and tables call it: equal for all ways to write the same, and `parse` gives it back."""
        if not self.settings:
            return self.name
        return f"{self.name}[{','.join(f'{key}={_written(value)}' for key, value in self.settings)}]"

    def differences(self, config: type[BaseModel]) -> dict[str, Any]:
        """Its settings as `config` takes them: a single text where that wants several is one of several."""
        found: dict[str, Any] = dict(self.settings)
        for key, value in found.items():
            field = config.model_fields.get(key)
            if isinstance(value, str) and field is not None and get_origin(field.annotation) is tuple:
                found[key] = (value,)
        return found


def toml_value(text: str) -> Any:
    """A value as TOML has it; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def names_of(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The methods behind labels, each once, in order."""
    return tuple(dict.fromkeys(Variant.parse(label).name for label in labels))


def configure(
    label: str, overrides: Mapping[str, Mapping[str, Any]], backbone: str | None
) -> tuple[type[Method], Method.Config]:
    """The class and the settings behind a label, resolved for a registered backbone (None: for no one in particular).

    overrides: by method what a run sets for all its variants. Raises MethodError, or SpecError for a name that a run
    needs itself.
    """
    variant = Variant.parse(label)
    if variant.name in RESERVED:
        raise SpecError(f"method {variant.name!r}: this name is taken by a folder of every run; rename the method")
    cls = methods.get(variant.name)
    settings = {**overrides.get(variant.name, {}), **variant.differences(cls.Config)}
    preset = settings.pop("preset", None)
    try:
        return cls, cls.configure(preset=preset, backbone=backbone, overrides=settings)
    except MethodError as error:
        raise MethodError(f"{label}: {error}" if variant.settings else str(error)) from error


def configured(
    labels: tuple[str, ...], overrides: Mapping[str, Mapping[str, Any]], backbone: str | None
) -> dict[str, tuple[type[Method], Method.Config]]:
    """`configure` of each label of a run. Raises SpecError, too, if two of them come to the same."""
    found: dict[str, tuple[type[Method], Method.Config]] = {}
    for label in labels:
        made = configure(label, overrides, backbone)
        if twin := next((other for other, one in found.items() if one == made), None):
            raise SpecError(f"methods {twin} and {label} have the same settings: leave one of them out")
        found[label] = made
    return found


def _read(text: str, where: str) -> Value:
    value = toml_value(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{where}: {text} is no number to compute with")
    if isinstance(value, bool | int | float):
        return value
    parts = tuple(text.split("+"))
    if not all(parts):
        raise SpecError(f"{where}: {text!r} has nothing on one side of a +")
    return parts if len(parts) > 1 else text


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(value)
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    digits, e, exponent = repr(value).partition("e")
    return f"{digits}e{int(exponent)}" if e else digits
