"""Which measures of sharpness the symmetries of a network leave as they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers import landscape, point
from thalweg import InputError, Objective
from thalweg.geometry import SharpnessTracker, edge_of_stability, sharpness, worst_case
from thalweg.symmetry import permutation_group, rescaling_group


@pytest.fixture(scope="module")
def network() -> tuple[Objective, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 3)
        ).double()
        x, y = torch.randn(50, 3).double(), torch.randint(0, 3, (50,))
    objective = Objective(model, F.cross_entropy, train=(x, y), strategy="loop")
    return objective, objective.theta(model)


def _moved(objective: Objective, theta: torch.Tensor, action: str) -> torch.Tensor:
    own = objective.layout.unflatten(theta)
    inputs = objective.splits["train"].inputs[0]
    generator = torch.Generator().manual_seed(1)
    if action == "permute":
        group = permutation_group(objective.model, inputs)
        return objective.layout.flatten(group.apply(own, group.random(generator)))
    sizes = rescaling_group(objective.model, inputs)
    return objective.layout.flatten(sizes.apply(own, sizes.random(generator, 0.7)))


def test_permutations_leave_all_measures_as_they_are(network):
    objective, theta = network
    one, other = (
        sharpness(objective, t, tolerance=1e-9)
        for t in (theta, _moved(objective, theta, "permute"))
    )
    for name in ("top_eigenvalue", "trace", "adaptive_eigenvalue"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6)
    worst = [worst_case(objective, t, 0.1) for t in (theta, _moved(objective, theta, "permute"))]
    assert worst[1].one_step == pytest.approx(worst[0].one_step, rel=1e-9)


def test_rescaling_leaves_only_the_adaptive_measures_as_they_are(network):
    objective, theta = network
    moved = _moved(objective, theta, "rescale")
    one, other = (sharpness(objective, t) for t in (theta, moved))
    assert other.adaptive_eigenvalue == pytest.approx(one.adaptive_eigenvalue, rel=1e-6)
    error = one.adaptive_trace_standard_error + other.adaptive_trace_standard_error
    assert abs(other.adaptive_trace - one.adaptive_trace) <= 4 * error
    assert abs(other.top_eigenvalue / one.top_eigenvalue - 1) > 0.05
    assert abs(other.trace / one.trace - 1) > 0.05
    worst = [worst_case(objective, t, 0.1).increase for t in (theta, moved)]
    assert abs(worst[1] / worst[0] - 1) > 0.05


def test_the_worst_case_of_a_quadratic_at_its_minimum_is_known():
    """At a minimum the gradient says nothing: half the largest eigenvalue times ρ²."""
    objective = landscape(lambda w: 3 * w[0] ** 2 + w[1] ** 2, 2)
    found = worst_case(objective, point(0.0, 0.0), radius=0.2)
    assert found.increase == pytest.approx(3 * 0.2**2, rel=1e-6)
    slope = worst_case(landscape(lambda w: 2 * w[0], 2), point(1.0, 1.0), radius=0.5)
    assert slope.one_step == pytest.approx(1.0)
    assert slope.increase == pytest.approx(1.0)
    with pytest.raises(InputError, match="radius > 0, got 0"):
        worst_case(objective, point(0.0, 0.0), radius=0)


def test_descent_on_a_quadratic_is_stable_below_two_over_the_eigenvalue():
    objective = landscape(lambda w: 2 * w[0] ** 2 + w[1] ** 2, 2)  # eigenvalues 4 and 2
    calm, wild = edge_of_stability(objective, point(1.0, 1.0), [0.49, 0.51], 200, every=50)
    assert calm.losses[-1] < 1e-3
    assert calm.reached is None
    assert wild.losses[-1] > 1e2
    assert wild.reached == 0
    assert wild.hovering == pytest.approx(4 * 0.51 / 2)
    assert calm.steps == (0, 50, 100, 150)


def test_the_tracker_follows_the_top_eigenvalue_for_few_products():
    objective = landscape(lambda w: (w**4).sum() + (torch.arange(1, 41).to(w) * w**2).sum(), 40)
    tracker = SharpnessTracker(objective, every=5)
    theta = torch.zeros(40).double()
    for step in range(11):
        tracker(theta + 0.02 * step)
    assert tracker.steps == [0, 5, 10]
    wanted = [80 + 12 * (0.02 * step) ** 2 for step in tracker.steps]
    assert tracker.values == pytest.approx(wanted, rel=1e-3)
    tracker(theta * float("nan"))  # a descent that diverged is not looked at
    assert len(tracker.values) == 3


@pytest.mark.slow
def test_a_network_sharpens_to_the_edge_of_stability_and_hovers_there():
    from examples.edge_of_stability import problem

    objective = problem()
    for descent in edge_of_stability(objective, objective.model, [0.2, 0.16, 0.13], 2400):
        assert descent.sharpness[1] < descent.threshold
        assert descent.reached is not None
        assert descent.hovering == pytest.approx(1, abs=0.1)


def test_bad_rates_are_refused(network):
    objective, theta = network
    with pytest.raises(InputError, match="learning rates > 0"):
        edge_of_stability(objective, theta, [0.1, -1.0], 5)
    with pytest.raises(InputError, match="every 1 step or more"):
        SharpnessTracker(objective, every=0)
