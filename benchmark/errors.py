"""What can go wrong through the user's own input: one clear line each, which the command line shows as it is."""

import os


class CatBenchError(ValueError):
    """A mistake that the user can mend; its text says what, where, and how. Base of all errors of the hub."""


class SpecError(CatBenchError):
    """A run's specification does not hold together."""


class BackboneError(CatBenchError):
    """The text-to-image model cannot be found, read, or used."""


class MetricModelError(CatBenchError):
    """The model behind the scores cannot be found or read."""


class AdapterError(CatBenchError):
    """An adapter and the backbone, or an adapter and its stored state, do not fit each other."""


class TrainingError(CatBenchError):
    """Learning a concept cannot start or go on."""


class SamplingError(CatBenchError):
    """Images cannot be sampled as asked."""


class RunError(CatBenchError):
    """A run's folder cannot be used as asked."""


class ExportError(CatBenchError):
    """What a run has learned cannot be written where, or as, it was asked for."""


def not_text(name: str) -> str | None:
    """How a name is shown whose bytes are not UTF-8, so that it can stand in no table; None for all others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode(errors="backslashreplace")
    return None
