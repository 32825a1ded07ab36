"""What CI runs, exactly: `nox` alone runs lint, wheel, tests and types, in this order.

PyTorch weighs gigabytes, so there is one heavy environment, .nox/heavy. `wheel` makes it afresh from the built wheel
and the dependencies that the wheel declares, nothing else, and proves that this is enough; `tests` and `types` then add
their tools to it. So the tests run against what users install. `lint` and building need none of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "wheel", "tests", "types"]
nox.options.error_on_external_run = True

PROJECT = nox.project.load_toml("pyproject.toml")
ROOT = Path(__file__).parent
HEAVY = ROOT / ".nox" / "heavy"
ROOMS = ("benchmark", "methods", "tasks", "results")
QUIET = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

IMPORT_ALL = """
import importlib, pkgutil
names = [f"cat_bench.{room}" for room in ("benchmark", "methods", "tasks", "results")]
for room in list(names):
    package = importlib.import_module(room)
    names += [module.name for module in pkgutil.walk_packages(package.__path__, f"{room}.")]
for name in names:
    importlib.import_module(name)
print(len(names), "modules import")
"""


def group(name: str) -> list[str]:
    """The packages of a dependency group in pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def heavy(session: nox.Session, program: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run a program of the heavy environment."""
    session.run(str(HEAVY / "bin" / program), *arguments, env={**QUIET, **(env or {})}, external=True)


def prepare(session: nox.Session, *, fresh: bool = False, tools: str | None = None) -> None:
    """The heavy environment with the wheel in dist/ as it is built from the source now, and a group of tools."""
    if fresh or not HEAVY.exists():
        shutil.rmtree(HEAVY, ignore_errors=True)
        session.run(sys.executable, "-m", "virtualenv", "-q", str(HEAVY), external=True)
    if fresh or "wheel" not in os.environ.get("NOX_BUILT", ""):
        build(session)
    (wheel_file,) = (ROOT / "dist").glob("*.whl")
    heavy(session, "pip", "install", "-q", str(wheel_file))
    # The version stays equal while the source changes, so pip may have found nothing to do.
    heavy(session, "pip", "install", "-q", "--force-reinstall", "--no-deps", str(wheel_file))
    if tools:
        heavy(session, "pip", "install", "-q", *group(tools))


def build(session: nox.Session) -> None:
    """Wheel and source distribution into dist/, built by tools outside the heavy environment."""
    builder = ROOT / ".nox" / "build"
    if not builder.exists():
        session.run(sys.executable, "-m", "virtualenv", "-q", str(builder), external=True)
        session.run(str(builder / "bin" / "pip"), "install", "-q", *group("wheel"), external=True)
    for stale in ("dist", "build"):  # setuptools would copy modules from build/ that are gone from the source
        shutil.rmtree(ROOT / stale, ignore_errors=True)
    session.run(str(builder / "bin" / "python"), "-m", "build", "--outdir", "dist", ".", external=True, silent=True)
    os.environ["NOX_BUILT"] = "wheel"  # once is enough for all sessions of this call


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, and the contracts between the rooms."""
    session.install("-q", *group("lint"))
    session.install("-q", "--no-deps", ".")  # import-linter reads the packages where they are installed
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session(venv_backend="none")
def wheel(session: nox.Session) -> None:
    """Build, install with the declared dependencies only, import every module, run a sequence as a user would."""
    prepare(session, fresh=True)
    heavy(session, "pip", "check")
    place = Path(session.create_tmp())
    shutil.rmtree(place / "runs", ignore_errors=True)
    with session.chdir(place):  # away from the source
        heavy(session, "python", "-c", IMPORT_ALL)
        heavy(session, "cat-bench", "doctor")
        quick = ("--set", "steps=2", "--steps", "2", "--images", "1")
        heavy(session, "cat-bench", "run", "--sequence", "smoke2", *quick)
        heavy(session, "cat-bench", "report")
        heavy(session, "cat-bench", "validate", "--quick")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """pytest, offline, on tiny models; arguments after -- are pytest's."""
    prepare(session, tools="test")
    heavy(session, "pytest", *session.posargs)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """mypy on the four rooms as they are installed."""
    prepare(session, tools="types")
    heavy(session, "mypy", *(argument for room in ROOMS for argument in ("-p", f"cat_bench.{room}")))


@nox.session(python="3.12", default=False)
def floor(session: nox.Session) -> None:
    """The tests with the lowest version of everything that pyproject.toml allows, on Python 3.12."""
    lowest = [line.replace(">=", "==") + ".*" for line in PROJECT["project"]["dependencies"] if ">=" in line]
    session.install("-q", ".", *lowest, *group("test"))
    session.run("pytest", *session.posargs, env=QUIET)


@nox.session(venv_backend="none", default=False)
def browser(session: nox.Session) -> None:
    """Pages in a real browser: the system's Chromium, else playwright's own; arguments after -- are pytest's."""
    prepare(session, tools="test")
    heavy(session, "pip", "install", "-q", *group("browser"))
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        heavy(session, "playwright", "install", "chromium")
    pages = ("tests/results/test_browser.py", "tests/results/leaderboard/test_site_in_browser.py")
    heavy(session, "pytest", *pages, *session.posargs)


@nox.session(venv_backend="none", default=False)
def chaos(session: nox.Session) -> None:
    """A hundred workers, drivers and nodes killed at random moments: nothing is lost, and nothing differs."""
    prepare(session, tools="test")
    kills = {"CAT_BENCH_KILLS": "100"}
    heavy(session, "pytest", "tests/benchmark/execution", "-k", "killed or nodes", "--timeout", "14400", env=kills)


@nox.session(venv_backend="none", default=False)
def bench(session: nox.Session) -> None:
    """The main job with its defaults, then once more: how long, how much memory. Arguments after -- are `run`'s.

    `-- --profile`: instead, where the time of a step and of an image goes; further arguments are the profile's.
    """
    prepare(session)
    if "--profile" in session.posargs:
        further = [argument for argument in session.posargs if argument != "--profile"]
        return heavy(session, "python", "-m", "cat_bench.benchmark.studies.profile", *further)
    job = session.posargs or ["--sequence", "faces5"]
    with session.chdir(session.create_tmp()):
        for _ in range(2):
            heavy(session, "cat-bench", "run", *job)
        heavy(session, "cat-bench", "report")
        heavy(session, "cat-bench", "show")


@nox.session(venv_backend="none", default=False)
def growth(session: nox.Session) -> None:
    """How long a run of 200 cells takes to start, and in how much memory. Arguments after -- are the measurement's."""
    prepare(session)
    heavy(session, "python", "-m", "cat_bench.benchmark.studies.growth", *session.posargs)


@nox.session(venv_backend="none", default=False)
def validate(session: nox.Session) -> None:
    """The tests of the instrument, all of them, into docs/validation.md. Arguments after -- are `validate`'s."""
    prepare(session)
    page = str(ROOT / "docs" / "validation.md")
    heavy(session, "cat-bench", "validate", "--out", page, *session.posargs)


@nox.session(name="reference-check", venv_backend="none", default=False)
def reference_check(session: nox.Session) -> None:
    """One method anew: no figure may move beyond its interval. Arguments after -- are the check's."""
    prepare(session)
    place = Path(session.create_tmp())
    shutil.rmtree(place / "runs", ignore_errors=True)
    with session.chdir(place):
        heavy(session, "python", "-m", "cat_bench.benchmark.studies.reference.check", *session.posargs)


@nox.session(name="bench-cuda", venv_backend="none", default=False)
def bench_cuda(session: nox.Session) -> None:
    """Speeds on CUDA beside diffusers' own way, then the main job there. Arguments after -- are the measurement's."""
    prepare(session)
    with session.chdir(session.create_tmp()):
        heavy(session, "python", "-m", "cat_bench.benchmark.studies.speed", "--device", "cuda", *session.posargs)
        heavy(session, "cat-bench", "run", "--sequence", "faces5", "--device", "cuda")
        heavy(session, "cat-bench", "report")
