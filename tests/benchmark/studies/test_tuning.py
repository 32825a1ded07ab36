"""Tuning: fair trials, an objective that rewards neither extreme, shares read off a run."""

from __future__ import annotations

import pytest

from cat_bench.benchmark.planning.spec import METHODS
from cat_bench.benchmark.studies.tuning import SEQUENCE, TRIALS, Trial, harmonic
from cat_bench.methods.registry import methods


def test_every_method_of_a_default_run_gets_as_many_trials_and_only_settings_it_has():
    assert set(TRIALS) == set(METHODS)  # the others are not tuned yet, and docs/methods.md says so
    assert {len(found) for found in TRIALS.values()} == {6}
    for name, found in TRIALS.items():
        assert len({tuple(sorted(settings.items())) for settings in found}) == 6
        for settings in found:
            methods.get(name).configure(overrides=settings)  # raises if it does not know one


def test_settings_are_never_chosen_on_what_is_judged():
    assert SEQUENCE == "dev3"


@pytest.mark.parametrize(("a", "b", "expected"), [(0.5, 0.5, 0.5), (1.0, 0.25, 0.4), (0.9, 0.0, 0.0), (-0.2, 0.9, 0.0)])
def test_the_objective_needs_both(a, b, expected):
    assert harmonic(a, b) == pytest.approx(expected)
    assert Trial("lora", {}, a, b, 1.0, 1.0).objective == pytest.approx(expected)
