"""The page of claims, as Markdown: at a glance first, then each claim with its comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cat_bench.benchmark.studies.claims.declared import CLAIMS, PAPERS, Claim
from cat_bench.benchmark.studies.claims.judged import Finding, Verdict, findings, verdict_of
from cat_bench.results.errors import ResultError
from cat_bench.results.records.long_table import write_atomically
from cat_bench.results.records.packed import CELLS, SHIPPED
from cat_bench.results.records.run_folder import Run
from cat_bench.results.tables.formats import MISSING
from cat_bench.results.tables.sentences import counted, effect

Findings = Mapping[str, Mapping[str, tuple[Finding, ...]]]  # by claim and run

_HEAD = """# What the papers claim, and what is seen here

Made by `python -m cat_bench.benchmark.studies.claims` from {runs}.

A claim is **supported** if every comparison that it makes is decided in its favour: the 95 % interval of the paired
differences excludes 0 on the claimed side, and so does Holm's p over the claim's comparisons; of a claim that nothing
is lost, if the interval lies above −δ. It is **contradicted** if one is decided the other way, or if the methods are
equivalent within δ, the noise of scoring ([statistics](statistics.md)). All else is **undecided**, and so is
everything with fewer than five replicates. It is an answer at this scale, with these backbones and settings: what is
not seen here may be seen elsewhere.
"""


def page(runs: Mapping[str, Run], claims: Sequence[Claim] = CLAIMS) -> str:
    """All of it. runs: by what they are called."""
    found = {claim.id: {name: findings(run, claim) for name, run in runs.items()} for claim in claims}
    lines = [_HEAD.format(runs=_about(runs)), *_glance(runs, claims, found)]
    for paper, title in PAPERS.items():
        lines += ["", f"## {title}"]
        for claim in (claim for claim in claims if claim.paper == paper):
            lines += ["", *_section(claim, found[claim.id])]
    return "\n".join(lines) + "\n"


def counts(found: Findings) -> dict[Verdict, int]:
    """How many claims come to what, run by run."""
    made: dict[Verdict, int] = {"supported": 0, "contradicted": 0, "undecided": 0}
    for by_run in found.values():
        for each in by_run.values():
            made[verdict_of(each)] += 1
    return made


def _about(runs: Mapping[str, Run]) -> str:
    return "; ".join(f"{name} ({_made(run)})" for name, run in runs.items())


def _made(run: Run) -> str:
    """Sequence with version, backbone, and replicates of a run."""
    sequence, backbone = run.info.get("sequence"), run.info.get("backbone")
    version = f".v{sequence['version']}" if isinstance(sequence, Mapping) and "version" in sequence else ""
    model = backbone.get("id") if isinstance(backbone, Mapping) else run.info.get("spec", {}).get("backbone")
    cells = sorted({len([c for c in run.of(method) if run.complete(c)]) for method in run.methods})
    replicates = f"{cells[0]}" if len(cells) == 1 else f"{cells[0]} to {cells[-1]}"
    return f"`{run.sequence}{version}` on `{model}`, {replicates} cells of each method"


def _glance(runs: Mapping[str, Run], claims: Sequence[Claim], found: Findings) -> Iterator[str]:
    yield f"| claim | {' | '.join(runs)} |"
    yield f"| --- |{' --- |' * len(runs)}"
    for claim in claims:
        verdicts = (verdict_of(found[claim.id][name]) for name in runs)
        yield f"| {claim.text} | {' | '.join(f'**{v}**' if v != 'undecided' else v for v in verdicts)} |"
    total = counts(found)
    yield ""
    yield f"{', '.join(f'{count} {verdict}' for verdict, count in total.items())}."


def _section(claim: Claim, found: Mapping[str, tuple[Finding, ...]]) -> Iterator[str]:
    yield f"### `{claim.id}`: {claim.text}"
    yield ""
    asked = f"In `{claim.figure}`, `{claim.method}` is {claim.direction} than {_listed(claim.against)}."
    yield f"{asked} {claim.reading}".strip()
    yield ""
    yield "| run | methods | difference | n | | why |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, each in found.items():
        for one in each:
            c = one.compared
            shown = (effect(c), counted(c)) if c is not None and c.effect is not None else (MISSING, MISSING)
            verdict = f"**{one.verdict}**" if one.verdict != "undecided" else one.verdict
            yield f"| {name} | `{one.method}` − `{one.against}` | {' | '.join(shown)} | {verdict} | {one.why} |"


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)


def opened(folders: Sequence[Path]) -> dict[str, Run]:
    """The runs, by their folders' names; without any those that ship. Raises ResultError if there is none."""
    folders = folders or [path.parent for path in sorted(SHIPPED.glob(f"*/{CELLS}"))]
    if not folders:
        raise ResultError(
            f"no reference results in {SHIPPED}: python -m cat_bench.benchmark.studies.reference makes them, "
            "or give the folder of a run"
        )
    names = [folder.resolve().name for folder in folders]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ResultError(f"two of the folders are called {twice}: give them other names")
    return {name: Run.open(folder) for name, folder in zip(names, folders, strict=True)}


def main(
    folder: Annotated[list[Path] | None, typer.Argument(help="Folders of runs.  [default: the reference]")] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/claims.md"),
) -> None:
    """Write the page."""
    write_atomically(out, page(opened(folder or [])).encode())
    typer.echo(f"written: {out}")
