"""Show by simulation that intervals and verdicts hold what they promise; print it as Markdown.

    python -m cat_bench.benchmark.studies.statistics
    python -m cat_bench.benchmark.studies.statistics --run runs/faces5

With a run, one method's own cells are drawn again and again as if they were two methods (A/A), and their spread says
how many replicates a difference needs.
"""

import typer

from cat_bench.benchmark.studies.statistics.page import main

if __name__ == "__main__":
    typer.run(main)
