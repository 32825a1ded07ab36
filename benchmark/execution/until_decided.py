"""A run of as many replicates as it takes to decide, told as `run` tells it: after each complete one it is looked at.

It is a sequence of runs in one folder, each of one replicate more; what is there is not made again. When it may stop
says `cat_bench.results.verdicts.always_valid.UntilDecided`, which may be asked as often as one likes.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from cat_bench.benchmark.errors import SpecError
from cat_bench.benchmark.execution.run import run
from cat_bench.benchmark.execution.workers.crew import Crew
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.spec import RunSpec, suggestion
from cat_bench.benchmark.planning.variant import Variant
from cat_bench.benchmark.store.files import read_json, write_json
from cat_bench.benchmark.store.lock import locked
from cat_bench.benchmark.store.record import RUN
from cat_bench.benchmark.text_to_image.models import TextToImage
from cat_bench.methods.registry import methods
from cat_bench.tasks.sequence import Sequence, load_sequence

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.engine import Domain
    from cat_bench.results.verdicts.looks import Looks

DECISION = "decision"  # key of run.json: the rule, every look, and why the run ended
FIRST = 5  # replicates: before, the always-valid interval is infinite and nothing can be decided


def run_until_decided(
    spec: RunSpec, runs: Path, name: str | None = None, domain: Domain = TextToImage(), crew: Crew = Crew()
) -> Generator[events.Event, None, None]:
    """Run FIRST replicates of `spec`, then one more at a time until all is decided or there are `spec.until_decided`.

    A cell that fails ends it, for only complete replicates are looked at; the same call tries again and goes on. Raises
    as `run` does, SpecError before anything is written if there is nothing to decide, and ResultError if the figure
    has no value.
    """
    assert spec.until_decided is not None
    sequence = load_sequence(spec.sequence, Path(spec.data) if spec.data else None)
    settled = domain.settled(spec).model_copy(update={"sequence": sequence.id})
    replicates = _replicates_so_far(runs / (name or sequence.id) / RUN, settled)
    if replicates is None:
        _check(spec, sequence)
    for number in range(replicates or FIRST, spec.until_decided + 1):
        ended: events.Ended | None = None
        for event in run(spec.model_copy(update={"replicates": number}), runs, name, domain, crew):
            ended = event if isinstance(event, events.Ended) else ended
            yield event
        assert ended is not None
        if ended.troubled:
            yield events.Message(f"replicate {number} is not complete, so nothing is decided by it")
            return
        looks = _look(ended.folder, spec, number)
        yield events.Message(_said(looks))
        if looks.stop:
            return


def _replicates_so_far(record: Path, spec: RunSpec) -> int | None:
    """At how many replicates this very specification was, so that all looks at fewer were in vain; None if nowhere."""
    recorded = dict((read_json(record) or {}).get("spec") or {})
    replicates = recorded.pop("replicates", None)
    return replicates if recorded == spec.model_dump(mode="json") else None


def _check(spec: RunSpec, sequence: Sequence) -> None:
    """Raises SpecError, MethodError or TaskError: nothing to compare, no such figure, fewer orders than replicates."""
    from cat_bench.results.measures.figures import figures
    from cat_bench.results.measures.metrics import METRICS

    ranked = [label for label in spec.methods if not methods.get(Variant.parse(label).name).reference]
    if len(ranked) < 2:
        raise SpecError("--until-decided compares methods: give two or more that are no references")
    measured = [metric.id for metric in METRICS.values() if not metric.optional or spec.dino]
    known = [figure.id for figure in figures(tuple(sequence.preservation), measured) if figure.direction]
    if spec.decide not in known:
        raise SpecError(f"--decide {spec.decide}: there is no such figure{suggestion(spec.decide, known)}")
    sequence.ordered((spec.until_decided or FIRST) - 1)


def _look(folder: Path, spec: RunSpec, replicates: int) -> Looks:
    """Look at the whole of it and put down what was seen."""
    from cat_bench.results.records.run_folder import Run
    from cat_bench.results.verdicts.looks import looks_at

    looks = looks_at(Run.open(folder), spec.decide, spec.until_decided or replicates, replicates)
    with locked(folder):
        record, found = read_json(folder / RUN) or {}, looks.record()
        if record.get(DECISION) != found:
            write_json(folder / RUN, {**record, DECISION: found})
    return looks


def _said(looks: Looks) -> str:
    last = looks.looks[-1]
    each = ", ".join(f"{method} {decision or 'undecided'}" for method, decision in last.decided.items())
    further = {
        "decided": "all is decided",
        "most": "that is the most that was declared",
        None: f"on to {last.replicates + 1}",
    }
    return f"{last.replicates} replicates, {looks.figure.id} against {looks.against}: {each}; {further[looks.stop]}"
