"""run.json of a run that is there: what is damaged, of another schema or of a wrong type is one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cat_bench.results.errors import ResultError
from cat_bench.results.records.run_folder import Run
from cat_bench.results.records.run_json import recorded
from cat_bench.results.tables.formats import summary_table


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is damaged: it is no JSON; delete it"),
        ("[" * 100_000, "is damaged: it is no JSON; delete it"),
        ("[]", "is damaged: it holds no JSON object"),
        ('{"schema_version": 99}', "is of schema 99 and this version reads 1"),
        *((json.dumps({key: None}), f"is damaged: {key} is no object") for key in ("spec", "versions", "computed")),
        *((json.dumps({key: None}), f"is damaged: {key} is no object") for key in ("methods", "sequence")),
        ('{"spec": {}, "sequence": "faces5"}', "is damaged: sequence is no object"),
        ('{"sequence": {"concepts": 5}}', "is damaged: the sequence's concepts are no list"),
        ('{"methods": {"cat": 1}}', "is damaged: methods.cat is no object"),
        ('{"git": "abc"}', "is damaged: git is no object"),
        ('{"spec": {"methods": "cat"}}', "is damaged: spec.methods is no list of names"),
        ('{"spec": {"seeds": ["0"]}}', "is damaged: spec.seeds is no list of numbers"),
        ('{"spec": {"replicates": "2"}}', "is damaged: spec.replicates is no number"),
    ],
)
def test_a_damaged_record_is_said_and_not_passed_over(content: str, says: str, small_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    (folder / "run.json").write_text(content, "utf-8")
    for read in (recorded, Run.open, summary_table):
        with pytest.raises(ResultError) as refused:
            read(folder)
        assert str(refused.value).startswith(f"{folder / 'run.json'} {says}") and "\n" not in str(refused.value)


@pytest.mark.parametrize("info", [{}, {"spec": {}}, {"sequence": "faces5"}, {"git": None, "decision": None}])
def test_keys_may_be_missing(info: dict[str, Any], small_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    (folder / "run.json").write_text(json.dumps(info), "utf-8")
    assert recorded(folder) == info and set(Run.open(folder).methods) == {"lora", "cat"}


def test_results_are_read_without_a_record(small_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    (folder / "run.json").unlink()
    assert recorded(folder) is None and set(Run.open(folder).methods) == {"lora", "cat"}
