"""Searches, curves and measurements run on a GPU, and what they found is verified on a CPU."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import PROBLEMS, random_stack, toy_classifier
from thalweg import align, connect, spectrum, train, verify
from thalweg.connect import METHODS
from thalweg.geometry import basin, valley
from thalweg.tasks import get_task


@pytest.fixture(scope="module")
def ends(cuda):
    """Two trained networks of the digits and their problem, on the GPU."""
    task = get_task("digits")
    objective = task.build(None).to(cuda)
    starts = [objective.theta(task.initialize(torch.Generator().manual_seed(s))) for s in (0, 1)]
    return objective, [trained.theta for trained in train(objective, starts, 0.095)]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_connects(method, ends, cuda):
    objective, thetas = ends
    connection = connect(objective, *thetas, threshold=0.1, method=method)
    if method == "linear":
        assert connection.outcome == "above threshold"
        return
    assert connection.connected, connection.message
    assert connection.certificate == "proved"
    assert verify(connection, objective).passed
    assert verify(connection, objective.to("cpu")).passed


def test_the_same_seed_finds_the_same_path(ends):
    objective, thetas = ends
    paths = [connect(objective, *thetas, threshold=0.1, seed=3).path for _ in range(2)]
    assert torch.equal(paths[0].points, paths[1].points)


def test_aligned_and_tightened(ends):
    objective, thetas = ends
    connection = connect(objective, *thetas, threshold=0.1, align=True, tighten=True)
    assert connection.outcome == "connected up to symmetry"
    assert verify(connection, objective).passed


def test_an_alignment_moves_nothing(ends):
    objective, thetas = ends
    found = align(objective, *thetas)
    assert found.max_output_change <= 1e-4


def test_a_spectrum_is_that_of_the_cpu(ends):
    objective, thetas = ends
    found = [spectrum(o, thetas[0], top=2) for o in (objective, objective.to("cpu"))]
    torch.testing.assert_close(found[0].top.cpu(), found[1].top.cpu(), rtol=1e-5, atol=1e-6)
    assert found[0].trace.value == pytest.approx(found[1].trace.value, rel=1e-6)


@pytest.mark.parametrize("problem", ["cnn", "lstm", "tied"])
def test_curvature_of_other_layers(problem, cuda):
    here = PROBLEMS[problem].build()
    theta = random_stack(here, 1)[0]
    found = [spectrum(o, theta, top=1) for o in (here, here.to(cuda))]
    torch.testing.assert_close(found[1].top.cpu(), found[0].top, rtol=1e-5, atol=1e-7)


def test_basins_and_valleys_are_measured(ends):
    objective, thetas = ends
    there = basin(objective, thetas[0], 0.2, directions=4)
    here = basin(objective.to("cpu"), thetas[0], 0.2, directions=4)
    assert there.radius == pytest.approx(here.radius, rel=1e-3)
    connection = connect(objective, *thetas, threshold=0.1, certificate="sampled")
    widths = [
        valley(o, connection.path, 0.1, t=[0.5], directions=2).narrow_width
        for o in (objective, objective.to("cpu"))
    ]
    assert widths[0] == pytest.approx(widths[1], rel=1e-3)


def test_networks_in_float64(cuda):
    objective = toy_classifier(0).double().to(cuda)
    ends = [t.theta for t in train(objective, list(random_stack(objective, 2)), 0.25)]
    connection = connect(objective, *ends, threshold=0.3)
    assert connection.connected
    assert connection.path.points.dtype == torch.float64
