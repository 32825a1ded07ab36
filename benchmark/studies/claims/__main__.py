"""Hold reference results, or any run, against what the three papers claim, and write the page.

    python -m cat_bench.benchmark.studies.claims
    python -m cat_bench.benchmark.studies.claims runs/faces5 --out claims.md

Needs neither PyTorch nor a model: all is read off the scores that are there.
"""

from cat_bench.benchmark.studies.claims.page import main
from cat_bench.benchmark.studies.command import start

if __name__ == "__main__":
    start(main, "claims")
