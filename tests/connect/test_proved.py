"""Searches that accept a segment only on a proof, and disconnections that no search can pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.helpers import highest_on, landscape, point
from thalweg import (
    Budget,
    Greedy,
    InputError,
    Objective,
    Outcome,
    Training,
    connect,
    load_connection,
    train,
    verify,
)
from thalweg.certify import NotApplicable, Obstructed, obstruct
from thalweg.certify.shallow import Shallow
from thalweg.tasks import get_task


@pytest.mark.parametrize(("name", "level"), [("quadratic", 0.1), ("digits", 0.1), ("cubic", 0.15)])
def test_a_task_is_connected_by_proof_and_the_files_prove_it_again(name, level, tmp_path):
    task = get_task(name)
    objective = task.build(None)
    starts = [
        objective.theta(task.initialize(torch.Generator().manual_seed(seed))) for seed in (0, 1)
    ]
    a, b = train(objective, starts, task.alpha * level)
    connection = connect(objective, a.theta, b.theta, threshold=level)
    assert connection.outcome is Outcome.CONNECTED
    assert connection.certificate == "proved"
    bound = connection.max_criterion_bound
    assert bound is not None
    assert bound <= level
    assert all(segment.kind == "proved" and segment.pieces for segment in connection.segments)
    assert highest_on(objective, connection.path, 101) <= bound
    connection.save(tmp_path / "out")
    assert verify(load_connection(tmp_path / "out"), objective, points=3).passed


def test_a_spike_that_a_thousand_points_miss_is_refused_by_proof_and_by_the_search():
    def spiked(w):
        return 0.1 + 2 * torch.relu(1 - (w[0] - 0.50037).abs() / 1e-4)

    objective = landscape(spiked)
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    assert float(objective.criterion_of(grid).values.max()) < 0.2
    connection = connect(
        objective, point(0.0), point(1.0), threshold=1.0, budget=Budget(depth=2, patience=50)
    )
    assert not connection.connected


def test_a_constant_at_exactly_the_threshold_ends_in_a_clear_outcome():
    connection = connect(
        landscape(lambda w: 0.25 + 0 * w[0]), point(0.0), point(1.0), threshold=0.25
    )
    assert connection.connected
    assert connection.certificate == "sampled"
    assert "rounding" in connection.message


def batchnorm_objective() -> Objective:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return Objective(model, functional.mse_loss, train=(x, x[:, :1]))


def test_an_operation_without_a_rule_is_named_and_the_certificate_falls_back_if_allowed():
    objective = batchnorm_objective()
    theta = torch.zeros(objective.layout.size)
    near = theta + 1e-3
    connection = connect(objective, theta, near, threshold=50.0)
    assert connection.connected
    assert connection.certificate == "sampled"
    assert "batch_norm" in connection.message
    assert "module '1'" in connection.message
    with pytest.raises(InputError, match="batch_norm"):
        connect(objective, theta, near, threshold=50.0, fallback=False)


class Cyclic(nn.Module):
    """The 2-3-2 network of Appendix E.1: one relu, no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3, bias=False)
        self.second = nn.Linear(3, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def cyclic_objective(seed: int) -> tuple[Objective, torch.Tensor]:
    """Three points mapped cyclically, and a network that does so nearly without loss."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    objective = Objective(
        Cyclic().double(), functional.mse_loss, train=(x, x.roll(-1, 0)),
        training=Training("Adam", learning_rate=0.02),
    )  # fmt: skip
    # A hidden matrix of full rank makes the second layer a linear solve.
    while True:
        first = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        hidden = torch.relu(objective.splits["train"].inputs[0] @ first.T)
        if torch.linalg.matrix_rank(hidden) == 3 and torch.linalg.cond(hidden) < 50:
            second = torch.linalg.solve(hidden, objective.splits["train"].target).T
            return objective, torch.cat([first.reshape(-1), second.reshape(-1)])


@pytest.mark.parametrize("seed", range(4))
def test_no_search_connects_a_network_to_its_swap_below_the_obstruction(seed):
    check_swap(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_no_search_connects_any_of_a_hundred_networks_to_its_swap(seed):
    check_swap(seed)


def check_swap(seed: int) -> None:
    objective, theta = cyclic_objective(seed)
    shallow = Shallow.of(objective)
    swapped = shallow.permute_hidden(theta, (1, 0, 2))
    found = obstruct(objective, theta, swapped)
    assert isinstance(found, Obstructed)
    assert found.bound > 0
    budget = Budget(beads=40, depth=8, steps=2000, patience=300)
    below = connect(
        objective, theta, swapped, threshold=0.9 * found.bound, budget=budget,
        method=Greedy(alpha=0.9),
    )  # fmt: skip
    assert not below.connected
    cycle = obstruct(objective, theta, shallow.permute_hidden(theta, (1, 2, 0)))
    assert isinstance(cycle, NotApplicable)
    # A path that is found anywhere above is no contradiction, and one below would be.
    above = connect(objective, theta, swapped, threshold=2.0, budget=budget)
    assert not above.connected or highest_on(objective, above.path, 201) >= found.bound
