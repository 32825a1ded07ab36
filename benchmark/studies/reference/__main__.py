"""Make the reference results that ship, or those of one sequence; as many calls as it takes.

    python -m cat_bench.benchmark.studies.reference
    python -m cat_bench.benchmark.studies.reference --only twins4 --replicates 2 --out mine

Every sequence is a run of its own under `runs/`, which can be stopped at any moment: the same command goes on. Once a
sequence is complete it is packed into `results/reference/SEQUENCE/`, with tables and a grid a method.
"""

import sys

import typer

from cat_bench.benchmark.studies.ablations import say
from cat_bench.benchmark.studies.reference.make import main

if __name__ == "__main__":
    try:
        typer.run(main)
    except ValueError as error:
        say(f"reference: {error}")
        sys.exit(2)
