"""What is said about strategies is what was measured, and nothing is forgotten or remembered."""

from __future__ import annotations

import pytest

from tests.helpers import PROBLEMS
from thalweg.objective import explain


@pytest.mark.parametrize("name", ["mlp", "batchnorm", "lstm", "two inputs"])
def test_every_strategy_that_applies_is_among_the_measured_ones(name):
    problem = PROBLEMS[name]
    found = explain(problem.build(), models=(1, 8))
    assert [(e.work, e.models) for e in found] == [
        ("evaluation", 1), ("evaluation", 8), ("gradients", 1), ("gradients", 8)
    ]  # fmt: skip
    for each in found:
        assert each.plan in each.measured
        assert all(seconds > 0 for seconds in each.measured.values())
        assert {plan.strategy for plan in each.measured} <= {*problem.strategies}
        assert "loop" in {plan.strategy for plan in each.measured}
        # A faster plan is passed over only where it gains less than noise may.
        assert each.measured[each.plan] <= 1.15 * min(each.measured.values())


def test_choices_made_before_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    objective = PROBLEMS["mlp"].build()
    explain(objective, models=(1,))
    assert not list(tmp_path.iterdir())
    assert objective.plans == {}


def test_a_stack_too_large_to_try_is_left_out(monkeypatch):
    objective = PROBLEMS["mlp"].build()
    monkeypatch.setattr("thalweg.objective.explanation._STACK_BYTES", 8 * objective.layout.size * 2)
    assert {e.models for e in explain(objective, models=(1, 2, 4))} == {1, 2}
