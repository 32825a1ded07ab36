"""What each method's own idea adds: variants that differ in it alone, compared replicate by replicate, as a page.

    python -m cat_bench.benchmark.studies.ablations --replicates 5

The same command again goes on where it stopped; when nothing is left to do it only writes the page.
"""

from cat_bench.benchmark.studies.ablations.make import main
from cat_bench.benchmark.studies.command import start

if __name__ == "__main__":
    start(main, "ablations")
