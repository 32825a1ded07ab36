"""What a run's folder says of itself: `run.json` of the whole, `cell.json` of each cell; found, read, written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cat_bench.benchmark.errors import RunError, not_text
from cat_bench.benchmark.planning.keys import digest
from cat_bench.benchmark.planning.method_code import code_digest
from cat_bench.benchmark.planning.spec import RunSpec, resolve
from cat_bench.benchmark.planning.variant import Variant
from cat_bench.benchmark.store.files import read_json, write_json
from cat_bench.benchmark.system import provenance
from cat_bench.results.errors import ResultError
from cat_bench.results.records.run_json import SCHEMA, recorded

if TYPE_CHECKING:
    from cat_bench.benchmark.planning.events import Status
    from cat_bench.benchmark.planning.plan import Plan

RUN = "run.json"
CELL = "cell.json"
ERROR = "error.txt"  # the whole traceback of a failed cell


@dataclass(frozen=True)
class Named:
    """A concept as prompts name it."""

    id: str
    trigger: str
    noun: str

    def subject(self, noun: bool) -> str:
        """The words that stand for it: trigger and class noun, or the trigger alone."""
        return f"{self.trigger} {self.noun}" if noun else self.trigger

    def fill(self, template: str, form: str) -> str:
        """A prompt from a template; forms as in `cat_bench.tasks.concept.Concept.fill`."""
        from cat_bench.tasks.concept import subject
        from cat_bench.tasks.photos.captions import fill

        return fill(template, subject(self, form))


@dataclass(frozen=True)
class RunRecord:
    """A run's folder and its record, checked."""

    folder: Path
    info: Mapping[str, Any]  # run.json
    spec: RunSpec
    concepts: tuple[Named, ...]  # of the sequence as written

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Raises RunError or SpecError if the record is damaged, or of another version's making."""
        try:
            info = recorded(folder) or {}
        except ResultError as error:
            raise RunError(str(error)) from None
        names = info.get("sequence", {}).get("names")
        if "spec" not in info or names is None:
            raise RunError(f"{folder / RUN} lacks what this version records: make the run again under another --name")
        spec = {key: value for key, value in info["spec"].items() if key != "threads"}  # a setting of older versions
        try:
            concepts = tuple(Named(id, words["trigger"], words["noun"]) for id, words in names.items())
        except (KeyError, TypeError):
            raise RunError(f"{folder / RUN} is damaged: a concept lacks trigger or noun; run it again") from None
        return cls(folder, info, resolve(spec), concepts)


def find_run(run: str | None, runs: Path) -> Path:
    """The folder of a run: a path, a name under `runs`, or the latest one. Raises RunError."""
    if run is None:
        made = [path.parent for path in runs.glob(f"*/{RUN}")]
        if not made:
            raise RunError(f"there is no run in {runs}: `cat-bench run` makes one, or say where with --runs")
        return _readable(max(made, key=lambda folder: (folder / RUN).stat().st_mtime))
    for folder in (runs / run, Path(run)):
        if (folder / RUN).is_file():
            return _readable(folder)
    there = ", ".join(sorted(path.parent.name for path in runs.glob(f"*/{RUN}"))) or "none"
    raise RunError(f"there is no run {run!r} in {runs} (there: {there}), nor is it a run's folder")


def _readable(folder: Path) -> Path:
    """The folder. Raises RunError for a name that is no text, by which no table in it can be opened."""
    if shown := not_text(str(folder)):
        raise RunError(f"{shown}: this name is not UTF-8: rename the folder")
    return folder


def write_run(plan: Plan) -> None:
    """Record what this run is, before its first stage; one that goes on keeps the time of its first start."""
    resolved, sequence, methods = plan.spec.model_dump(mode="json"), plan.sequence, _described(plan)
    before = read_json(plan.folder / RUN) or {}
    clip, *others = plan.identity.extractors.items()
    record = {
        "schema_version": SCHEMA,
        "name": plan.folder.name,
        "spec": resolved,
        "spec_hash": digest(resolved),
        "computed": dict(plan.identity.how),
        "backbone": asdict(plan.identity.backbone),
        "metric_model": asdict(clip[1]),
        **{role: asdict(model) for role, model in others},
        "sequence": {
            **{key: getattr(sequence, key) for key in ("id", "version", "title", "license", "citation")},
            "fingerprint": sequence.fingerprint,
            "concepts": [concept.id for concept in sequence.concepts],
            # What prompts call them, so that a result can be used without the sequence's own files.
            "names": {concept.id: {"trigger": concept.trigger, "noun": concept.noun} for concept in sequence.concepts},
        },
        "methods": methods,
        **_kept(plan, before, resolved, methods),
        "protocol": plan.protocol,
        "versions": provenance.versions(),
        "git": provenance.git_state(),
        "machine": provenance.machine(),
        "started": before.get("started") or provenance.now(),
        "finished": None,
    }
    write_json(plan.folder / RUN, record)


def _described(plan: Plan) -> dict[str, dict[str, Any]]:
    """What is recorded of each method, by its label."""
    return {
        cell.cell.method: {
            "method": cell.method.name,
            "settings": dict(Variant.parse(cell.cell.method).settings),  # that differ for this variant alone
            **{key: getattr(cell.method, key) for key in ("version", "title", "source", "reference")},
            "carries": cell.method.carried(cell.config),
            "code": code_digest(cell.method),
            "config": cell.config.model_dump(mode="json"),
        }
        for cell in {cell.cell.method: cell for cell in plan.cells}.values()
    }


def _kept(plan: Plan, before: Mapping[str, Any], spec: Mapping[str, Any], methods: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of the record of a run that goes on.

    earlier_methods: what is known of those that only an earlier part had and whose cells are there. decision: what was
    seen, if nothing but the number of replicates is another.
    """
    known = {**(before.get("earlier_methods") or {}), **(before.get("methods") or {})}
    earlier = {m: v for m, v in known.items() if m not in methods and (plan.folder / m).is_dir()}
    now = digest({**spec, "replicates": None}, plan.protocol, methods)
    then = digest({**(before.get("spec") or {}), "replicates": None}, before.get("protocol"), before.get("methods"))
    decision = before.get("decision") if now == then else None
    return {**({"earlier_methods": earlier} if earlier else {}), **({"decision": decision} if decision else {})}


def write_cell(
    folder: Path,
    protocol: str,
    status: Status,
    reason: str | None,
    *,
    stage: str | None = None,
    skipped: tuple[str, ...] = (),
) -> None:
    """Record how a cell ended. stage: the one that could not be made; skipped: those that go on from it."""
    troubled = {"stage": stage, "skipped": skipped} if stage else {}
    write_json(folder / CELL, {"status": status, "reason": reason, "protocol": protocol, **troubled})
