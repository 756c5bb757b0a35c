"""Paths on landscapes whose level sets are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.helpers import (
    PROBLEMS,
    double_well,
    highest_on,
    landscape,
    point,
    random_stack,
    ring,
    toy_classifier,
)
from thalweg import (
    Budget,
    Connection,
    Greedy,
    InputError,
    Outcome,
    Training,
    connect,
    connect_pairs,
    train,
)
from thalweg.objective import Objective


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_convex_problem_is_connected_by_its_straight_segment(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    design = torch.randn(30, 4, generator=generator, dtype=dtype)
    target = torch.randn(30, 1, generator=generator, dtype=dtype)
    objective = Objective(nn.Linear(4, 1).to(dtype), functional.mse_loss, train=(design, target))
    ends = torch.randn(2, 5, generator=generator, dtype=dtype)
    values = objective.double().criterion_of(ends.double()).values
    connection = connect(objective, *ends, threshold=float(values.max()))
    assert connection.outcome is Outcome.CONNECTED
    assert connection.beads == 0
    assert connection.normalized_length == 1.0
    assert connection.counts.training_steps == 0
    assert torch.equal(connection.path.points, ends)
    assert connection.max_criterion_bound is not None
    assert connection.max_criterion_bound <= connection.threshold


@pytest.mark.parametrize(("threshold", "connected"), [(0.9, False), (0.999, False), (1.1, True)])
def test_a_double_well_is_connected_above_its_barrier_and_not_below(threshold, connected):
    objective = landscape(double_well)
    budget = Budget(steps=2000, patience=200)
    connection = connect(objective, point(-1.0), point(1.0), threshold=threshold, budget=budget)
    assert connection.connected == connected
    if connected:
        assert connection.beads == 0
        assert connection.max_criterion_seen == 1.0
        assert connection.max_criterion_bound is not None
        assert 1.0 <= connection.max_criterion_bound <= threshold
    else:
        assert connection.outcome in (Outcome.BUDGET_EXHAUSTED, Outcome.BEAD_STALLED)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("t_star", ["half", "argmax"])
def test_two_sides_of_a_ring_are_connected_around_it(seed, t_star):
    """The shortest way is a chord polygon around half the circle: at most π/2 of the diameter."""
    angle = torch.rand((), generator=torch.Generator().manual_seed(seed)).item() * math.tau
    a = point(math.cos(angle), math.sin(angle))
    b = point(-math.cos(angle + 0.03), -math.sin(angle + 0.03))
    objective = landscape(ring, 2, learning_rate=0.02)
    connection = connect(objective, a, b, threshold=0.2, method=Greedy(t_star=t_star))
    assert connection.outcome is Outcome.CONNECTED
    assert connection.beads >= 1
    assert connection.normalized_length is not None
    assert 1 < connection.normalized_length < math.pi / 2 * 1.2
    assert highest_on(objective, connection.path) <= 0.2
    assert torch.equal(connection.path.points[[0, -1]], torch.stack([a, b]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("batch_size", [None, 16])
def test_small_networks_are_connected_by_a_path_that_never_exceeds_the_threshold(seed, batch_size):
    training = Training(learning_rate=0.02, batch_size=batch_size)
    objective = toy_classifier(seed, training=training)
    models = train(objective, list(3 * random_stack(objective, 2, seed)), 0.18, seed=seed)
    budget = Budget(beads=60, steps=5000)
    connection = connect(
        objective, models[0].theta, models[1].theta, threshold=0.2, seed=seed, budget=budget
    )
    assert connection.outcome is Outcome.CONNECTED, connection.message
    assert highest_on(objective, connection.path) <= 0.2
    assert connection.max_criterion_seen <= connection.max_criterion_bound <= 0.2  # pyright: ignore
    assert connection.normalized_length >= 1  # pyright: ignore[reportOptionalOperand]


def test_equal_endpoints_are_a_path_of_length_zero():
    objective = landscape(double_well)
    connection = connect(objective, point(1.1), point(1.1), threshold=0.5)
    assert connection.outcome is Outcome.IDENTICAL
    assert connection.connected
    assert connection.length == 0
    assert connection.normalized_length is None
    assert connection.max_criterion_bound == pytest.approx((1.1**2 - 1) ** 2, rel=1e-15)


@pytest.mark.parametrize("value", [1.05, 1.1, 1.2345678, 1.3, 1.37])
@pytest.mark.parametrize("end", "AB")
def test_an_endpoint_above_the_threshold_is_refused_and_the_advice_holds(value, end):
    objective = landscape(double_well)
    ends = [point(value), point(1.0)] if end == "A" else [point(1.0), point(value)]
    exact = (value**2 - 1) ** 2
    with pytest.raises(InputError, match=rf"at endpoint {end}.*at least") as caught:
        connect(objective, *ends, threshold=0.01)
    message = str(caught.value)
    assert f"loss on train {exact:.4g}"[:18] in message
    advice = float(message.split("at least ")[1].split(",")[0].split()[0])
    assert advice == pytest.approx(exact, rel=1e-3)
    assert connect(objective, *ends, threshold=advice).connected


@pytest.mark.parametrize("threshold", [0, -0.1, math.nan, math.inf, "0.1", None])
def test_a_threshold_that_is_no_positive_number_is_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        connect(landscape(double_well), point(1.0), point(1.1), threshold=threshold)


@pytest.mark.parametrize("options", [{"method": "teleport"}, {"certificate": "divine"}])
def test_unknown_methods_and_certificates_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options.values()))):
        connect(landscape(double_well), point(1.0), point(1.1), threshold=1.0, **options)


@pytest.mark.parametrize("options", [{"alpha": 0}, {"alpha": 1.01}, {"t_star": "third"}])
def test_options_of_greedy_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Greedy(**options)


def test_nothing_found_in_the_endpoints_of_another_architecture():
    with pytest.raises(InputError, match="endpoint B"):
        connect(landscape(double_well), point(1.0), point(1.0, 2.0), threshold=1.0)


# --------------------------------------------------------------- the same seed, the same path


@pytest.mark.parametrize("name", ["toy", "dropout"])
def test_the_same_seed_gives_the_same_bits_and_the_callers_random_state_is_untouched(name):
    training = Training(learning_rate=0.05, batch_size=32)
    if name == "toy":
        objective, threshold = toy_classifier(1, training=training), 0.35
    else:
        objective = PROBLEMS["dropout"].build(torch.float32, training=training)
        threshold = 1.08
    ends = list(4 * random_stack(objective, 2, 1))

    def search(seed: int) -> Connection:
        models = train(objective, ends, 0.99 * threshold, seed=seed)
        rng = torch.get_rng_state()
        found = connect(
            objective, models[0].theta, models[1].theta, threshold=threshold, seed=seed,
            budget=Budget(beads=6, steps=300, patience=150),
        )  # fmt: skip
        assert torch.equal(torch.get_rng_state(), rng)
        return found

    torch.manual_seed(0)
    first = search(0)
    torch.manual_seed(123)
    second = search(0)
    assert first.counts.training_steps > 0 or name == "dropout"
    assert torch.equal(first.path.points, second.path.points)
    assert (first.outcome, first.segments) == (second.outcome, second.segments)
    assert first.counts == second.counts
    assert not torch.equal(search(1).path.points[0], first.path.points[0])


# ------------------------------------------------------------------------------ many pairs


def around(objective, thresholds):
    ends = [
        (point(math.cos(a), math.sin(a)), point(-math.cos(a + 0.05), -math.sin(a + 0.05)))
        for a in (0.3, 1.0, 2.0, 2.9)
    ]
    return ends, connect_pairs(objective, ends, threshold=thresholds)


def test_every_pair_of_many_has_a_path_below_its_own_threshold():
    objective = landscape(ring, 2, learning_rate=0.02)
    thresholds = [0.5, 0.2, 0.1, 0.05]
    ends, found = around(objective, thresholds)
    for (a, b), connection, threshold in zip(ends, found, thresholds, strict=True):
        assert connection.outcome is Outcome.CONNECTED
        assert connection.threshold == threshold
        assert highest_on(objective, connection.path) <= threshold
        assert torch.equal(connection.path.points[[0, -1]], torch.stack([a, b]))
    assert found[0].beads <= found[-1].beads


def test_a_pair_that_fails_does_not_disturb_another():
    def wells(w):  # two wells along one axis, a wall of NaN far out on the other
        return double_well(w) + w[1] ** 2 + 0 * torch.log(9 - w[1].abs())

    objective = landscape(wells, 2, learning_rate=0.02)
    pairs = [
        (point(-1.0, 0.0), point(1.0, 0.0)), (point(1.0, 0.2), point(1.1, 0.0)),
        (point(1.0, 0.1), point(1.0, 0.1)),
    ]  # fmt: skip
    budget = Budget(steps=800, patience=100)
    found = connect_pairs(objective, pairs, threshold=0.5, budget=budget)
    assert [c.connected for c in found] == [False, True, True]
    assert found[2].outcome is Outcome.IDENTICAL
    alone = connect(objective, *pairs[1], threshold=0.5, budget=budget)
    assert torch.equal(found[1].path.points, alone.path.points)
    assert found[1].segments == alone.segments


def test_thresholds_must_be_one_or_one_a_pair():
    objective = landscape(double_well)
    pairs = [(point(1.0), point(1.1))] * 2
    assert connect_pairs(objective, [], threshold=0.5) == []
    with pytest.raises(InputError, match="got 3"):
        connect_pairs(objective, pairs, threshold=[0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="endpoint B of pair 1"):
        connect_pairs(objective, [pairs[0], (point(1.0), point(0.0))], threshold=0.5)
