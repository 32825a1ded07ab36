"""Hold reference results, or any run, against what the three papers claim, and write the page.

    python -m cat_bench.benchmark.studies.claims
    python -m cat_bench.benchmark.studies.claims runs/faces5 --out claims.md

Needs neither PyTorch nor a model: all is read off the scores that are there.
"""

import sys

import typer

from cat_bench.benchmark.studies.claims.page import main

if __name__ == "__main__":
    try:
        typer.run(main)
    except ValueError as error:
        typer.echo(f"claims: {error}", err=True)
        sys.exit(2)
