"""The variants of greedy DSS that the published runs used."""

from __future__ import annotations

import pytest
import torch

import thalweg
from tests.helpers import landscape
from thalweg import Greedy


def bowl(w):
    return (w**2).sum()


def ends():
    return torch.tensor([0.5, 0.0]).double(), torch.tensor([-0.5, 0.0]).double()


def test_the_midpoint_is_inserted_even_where_the_straight_segment_is_low():
    objective = landscape(bowl, dimension=2)
    tested = thalweg.connect(objective, *ends(), threshold=0.3, certificate="sampled")
    untested = thalweg.connect(
        objective, *ends(), threshold=0.3, certificate="sampled", method=Greedy(direct=False)
    )
    assert tested.beads == 0
    assert untested.connected
    assert untested.beads == 1
    assert untested.normalized_length == pytest.approx(1)
    torch.testing.assert_close(untested.path.points[1], torch.zeros(2).double())


def test_a_budget_without_beads_ends_the_string_before_its_midpoint():
    connection = thalweg.connect(
        landscape(bowl, dimension=2), *ends(), threshold=0.3, certificate="sampled",
        method=Greedy(direct=False), budget=thalweg.Budget(beads=0),
    )  # fmt: skip
    assert connection.outcome is thalweg.Outcome.BUDGET_EXHAUSTED
    assert connection.beads == 0


def double_hump(w):
    """Low at both ends and in the middle, high at a quarter and three quarters."""
    return torch.sin(2 * torch.pi * w[0]) ** 2 / (1 + 10 * w[1] ** 2)


@pytest.mark.parametrize(("t_star", "at_half"), [("middle", True), ("half", False)])
def test_the_middle_is_taken_even_where_it_is_low(t_star, at_half):
    connection = thalweg.connect(
        landscape(double_hump, dimension=2, learning_rate=0.05),
        torch.tensor([0.0, 0.0]).double(), torch.tensor([1.0, 0.01]).double(),
        threshold=0.3, certificate="sampled", method=Greedy(t_star=t_star, start="segment"),
    )  # fmt: skip
    assert connection.connected
    middle = torch.tensor([0.5, 0.005]).double()
    assert any(torch.equal(bead, middle) for bead in connection.path.points) == at_half
