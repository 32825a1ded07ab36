"""What is found in a folder of photos: errors that keep it from being used, notes on what is done about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cat_bench.tasks.errors import TaskError


@dataclass(frozen=True)
class Finding:
    """One thing about one file or folder, said in one line."""

    kind: Literal["error", "note"]
    place: str
    problem: str
    mend: str  # of an error: what to do; of a note: what is done

    @property
    def line(self) -> str:
        """Where, what, and how it is mended."""
        line = " ".join(f"{self.place}: {self.problem}; {self.mend}".split())
        return line.encode("utf-8", "backslashreplace").decode()  # a name may be no text at all


def error(place: object, problem: str, mend: str) -> Finding:
    """Something that keeps the folder from being used."""
    return Finding("error", str(place), problem, mend)


def note(place: object, problem: str, mend: str) -> Finding:
    """Something that is taken care of."""
    return Finding("note", str(place), problem, mend)


def refuse(errors: Sequence[Finding]) -> None:
    """Raise TaskError with the first error's line and the number of others, if there are any."""
    if errors:
        more = f" (and {len(errors) - 1} more: cat-bench check-data shows all)" if len(errors) > 1 else ""
        raise TaskError(errors[0].line + more)
