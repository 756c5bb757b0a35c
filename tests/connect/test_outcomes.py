"""Every way in which a search ends without a path names what happened, where and when."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers import double_well, landscape, point, ring
from thalweg import Budget, Outcome, Progress, Training, connect, connect_pairs, train
from thalweg.connect import Search, TrainingError, driver

A, B = point(-1.0), point(1.0)


def search(field=double_well, ends=(A, B), threshold=0.5, budget=None, **options):
    return connect(landscape(field, len(ends[0]), **options), *ends, threshold=threshold,
                   budget=budget)  # fmt: skip


def test_a_bead_on_an_exact_saddle_stalls():
    """At 0 the gradient of the double well is exactly zero: the bead stays at a loss of 1."""
    connection = search(budget=Budget(patience=50))
    assert connection.outcome is Outcome.BEAD_STALLED
    assert "bead 1 (depth 1, started at t* = 0.5" in connection.message
    assert "its criterion was 1, target 0.475, after 5" in connection.message
    assert not connection.connected


def test_a_bead_whose_gradient_is_nan_has_diverged():
    def field(w):  # 1 at the middle, with a gradient of NaN: sqrt at 0 times 0
        return double_well(w) + 0 * torch.sqrt(w[0] * w[0])

    connection = search(field)
    assert connection.outcome is Outcome.DIVERGED
    assert "bead 1 " in connection.message
    assert "after 0 steps" in connection.message


def test_a_bead_whose_loss_is_nan_has_diverged():
    def field(w):
        return torch.where(w[0].abs() < 0.3, w[0] * math.nan, double_well(w))

    connection = search(field)
    assert connection.outcome is Outcome.DIVERGED
    assert "its criterion was nan" in connection.message


def test_a_learning_rate_that_explodes_is_told_from_a_stall():
    connection = search(
        ends=(point(-1.0), point(1.01)), budget=Budget(steps=5000),
        training=Training("SGD", learning_rate=1e3),
    )  # fmt: skip
    assert connection.outcome is Outcome.DIVERGED


RING = {"field": ring, "ends": (point(1.0, 0.0), point(-1.0, -0.05)), "threshold": 0.05}


@pytest.mark.parametrize(("budget", "words"), [
    (Budget(beads=2), "beads (2)"), (Budget(beads=0), "beads (0)"), (Budget(depth=1), "depth (1)"),
    (Budget(steps=3), "after 3 steps"), (Budget(seconds=0), "0 seconds"),
])  # fmt: skip
def test_the_budget_that_ran_out_is_named(budget, words):
    connection = search(**RING, budget=budget)
    assert connection.outcome is Outcome.BUDGET_EXHAUSTED
    assert words in connection.message
    assert connection.max_criterion_bound is None
    assert len(connection.segments) == connection.beads + 1
    assert connection.beads <= budget.beads
    assert torch.equal(connection.path.points[[0, -1]], torch.stack(RING["ends"]))


def test_seconds_hold_while_beads_train():
    connection = search(
        ends=(A, point(1.0001)), threshold=0.01, learning_rate=1e-9,
        budget=Budget(seconds=0.5, patience=10**9, steps=10**9),
    )  # fmt: skip
    assert connection.outcome is Outcome.BUDGET_EXHAUSTED
    assert "0.5 seconds" in connection.message
    assert connection.seconds["total"] < 5
    assert connection.counts.training_steps > 0


def test_costs_are_counted_whatever_the_outcome():
    connection = search(budget=Budget(patience=50))
    counts = connection.counts
    assert counts.gradient_evaluations == counts.training_steps >= 50
    assert counts.gradient_samples == counts.gradient_evaluations
    assert counts.criterion_evaluations >= 4
    assert counts.criterion_samples >= 3


def test_progress_reports_beads_and_ends_with_none_open():
    seen: list[Progress] = []
    connection = connect(
        landscape(ring, 2, learning_rate=0.02), *RING["ends"], threshold=0.05,
        progress=seen.append,
    )  # fmt: skip
    assert connection.connected
    assert max(p.beads_done for p in seen) == connection.beads
    assert all(p.pairs == 1 and p.pairs_open in (0, 1) for p in seen)
    assert seen[-1].pairs_open == 0
    assert seen[-1].beads_open == 0
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)


def flat(w):
    return 0 * w.sum() + 0.1


def test_progress_moves_while_segments_are_certified(monkeypatch):
    monkeypatch.setattr(driver, "_SEGMENTS", 1)
    monkeypatch.setattr(driver, "_QUIET", 0.0)
    seen: list[Progress] = []
    connect_pairs(landscape(flat), [(A, B)] * 4, threshold=0.5, progress=seen.append)
    assert [p.segments_open for p in seen if p.pairs_open == 4] == [3, 2, 1, 0]


def test_time_that_is_up_while_segments_are_certified_ends_the_search(monkeypatch):
    """The first of three segments has its certificate, then the time is up."""
    monkeypatch.setattr(driver, "_SEGMENTS", 1)
    answers = iter([False])
    monkeypatch.setattr(Search, "out_of_time", property(lambda self: next(answers, True)))
    budget = Budget(seconds=60)
    found = connect_pairs(landscape(flat), [(A, B)] * 3, threshold=0.5, budget=budget)
    assert [str(c.outcome) for c in found] == ["connected"] + 2 * ["budget exhausted"]
    assert [c.segments[0].bound is None for c in found] == [False, True, True]
    assert "60 seconds" in found[1].message


# ------------------------------------------------------------------- training of endpoints


def test_models_train_to_their_target_together():
    objective = landscape(double_well, learning_rate=0.02)
    models = train(objective, [point(-0.2), point(0.3), point(1.0)], 1e-4)
    assert [round(float(m.theta[0]), 1) for m in models] == [-1.0, 1.0, 1.0]
    for model in models:
        exact = float(objective.criterion_of(model.theta[None]).values)
        assert model.criterion == pytest.approx(exact, rel=1e-12)
        assert exact <= 1e-4
    assert models[2].steps == 0


@pytest.mark.parametrize(("budget", "words"), [
    (Budget(patience=30), "did not improve for 30 steps"), (Budget(steps=9), "ran out of steps"),
    (Budget(seconds=0), "ran out of the 0 seconds"),
])  # fmt: skip
def test_training_that_fails_says_how(budget, words):
    with pytest.raises(TrainingError, match=words):
        train(landscape(double_well), [point(0.0)], 0.1, budget=budget)
