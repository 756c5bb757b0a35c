"""The benchmarks of scaling and memory rest on a problem and a fit whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.scaling import fit
from benchmarks.turning import turning
from thalweg import connect

WORK = [1.0, 4.0, 20.0, 60.0, 200.0]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("fixed", [0.0, 0.3])
def test_exponent_and_fixed_cost_are_recovered(exponent, fixed):
    found, cost = fit(WORK, [fixed + 0.01 * w**exponent for w in WORK])
    assert found == pytest.approx(exponent, abs=0.011)
    assert cost == pytest.approx(fixed, abs=0.005)


def test_a_fixed_cost_does_not_hide_a_quadratic_one():
    found, _ = fit(WORK, [1.0 + 0.001 * w**2 for w in WORK])
    assert found > 1.9


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.5])
def test_the_loss_is_zero_on_the_circle_and_known_on_its_chords(angle):
    problem = turning(6, 8, 4, examples=10, seed=0)
    twin = problem.objective.double()
    a, b = problem.at(0.3).double(), problem.at(0.3 + angle).double()
    values = twin.criterion_of(torch.stack([a, b, (a + b) / 2])).values[:, 0]
    scale = float(twin.splits["train"].target.square().mean())
    assert values[:2].max() < 1e-12 * scale
    expected = scale * math.sin(angle / 2) ** 4
    assert float(values[2]) == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("beads", [10, 40])
def test_the_threshold_sets_the_number_of_beads(beads):
    problem = turning(16, 16, 16, examples=16, seed=0)
    connection = connect(
        problem.objective, *problem.pair(), threshold=problem.threshold(beads),
        certificate="sampled",
    )  # fmt: skip
    assert connection.connected
    assert beads / 2 <= connection.beads <= 2 * beads
