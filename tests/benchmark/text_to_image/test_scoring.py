"""Scores are the same on any machine of one kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cat_bench.benchmark.text_to_image import scoring
from cat_bench.results.records.long_table import frame


def test_sums_are_split_among_no_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def rows(*given: Any) -> pd.DataFrame:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return frame([])

    monkeypatch.setattr(scoring, "_rows", rows)
    nothing: Any = None
    with threadpool_limits(2, "blas"):
        scoring.score(nothing, nothing, nothing, tmp_path)
    assert threads and set(threads) == {1}
