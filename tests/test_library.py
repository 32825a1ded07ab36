"""docs/library.md, run as it stands, but for fewer steps and pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "library.md"


def test_the_example_prints_r(tmp_path: Path) -> None:
    code, more = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    statements = [line for line in code.splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(statements) <= 10
    quick = '"methods": ["cat"], "images_per_prompt": 1, "sampler": {"steps": 2}, '
    quick += '"overrides": {"cat": {"steps": 2}}'
    assert code.count('"methods": ["cat"]') == 1
    code = code.replace('"methods": ["cat"]', quick) + more + "print(png[1:4].decode())\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    head, stages, *rows, first, second, third, png = (line.split() for line in done.stdout.splitlines())
    assert head == ["concept", "vadoro", "mikato"] and stages == ["stage"]
    shown = [" ".join(row[:4]) for row in (first, second, third)]
    assert shown == ["concept mikato 0 0", "concept mikato 1 0", "concept vadoro 0 0"]
    assert png == ["PNG"]
    assert [row[0] for row in rows] == ["0", "1", "2"] and rows[1][2] == "NaN"
    assert all(-1 <= float(value) <= 1 for value in (rows[1][1], *rows[2][1:]))
