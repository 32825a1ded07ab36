"""Make the reference results that ship, or those of one sequence; as many calls as it takes.

    python -m cat_bench.benchmark.studies.reference
    python -m cat_bench.benchmark.studies.reference --only twins4 --replicates 2 --out mine

Every sequence is a run of its own under `runs/`, which can be stopped at any moment: the same command goes on. Once a
sequence is complete it is packed into `results/reference/SEQUENCE/`, with tables and a grid a method.
"""

from cat_bench.benchmark.studies.command import start
from cat_bench.benchmark.studies.reference.make import main

if __name__ == "__main__":
    start(main, "reference")
