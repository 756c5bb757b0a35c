"""Bounds along Bézier curves against dense scans and closed forms."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import PROBLEMS, double_well, landscape, point, random_stack
from thalweg import Criterion
from thalweg.certify import Proved, Sampled, Span
from thalweg.certify.bisection import prove_segment
from thalweg.certify.curve import band
from thalweg.paths import bezier


def control(n, size, seed):
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("n", [2, 3, 4, 6])
@pytest.mark.parametrize("piece", [(0.0, 1.0), (0.25, 0.5), (0.9, 1.0), (0.3, 0.30001)])
def test_a_curve_stays_within_its_band(n, piece):
    points, (left, right) = control(n, 50, n), piece
    center, slope, spread = band(points, left, right)
    s = torch.linspace(-1, 1, 401, dtype=torch.float64)
    curve = bezier(points, (left + right) / 2 + s * (right - left) / 2)
    away = (curve - (center + s[:, None] * slope)).abs()
    assert bool((away <= spread + 1e-13).all())
    if n == 3:  # a parabola touches both sides of its band
        assert torch.allclose(away.amax(0), spread, rtol=1e-4, atol=1e-12)


def test_the_band_of_a_parabola_narrows_with_the_square_of_the_piece():
    points = control(3, 10, 0)
    wide, narrow = (band(points, 0.5 - h, 0.5 + h)[2] for h in (0.4, 0.1))
    assert torch.allclose(wide, 16 * narrow)


def dense_maximum(objective, points):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    return float(objective.double().criterion_of(bezier(points, t)).values.max())


@pytest.mark.parametrize("name", ["mlp", "smooth", "cnn", "one layer twice"])
@pytest.mark.parametrize("bends", [1, 2])
def test_a_proof_along_a_curve_bounds_what_a_dense_scan_finds(name, bends):
    objective = PROBLEMS[name].build()
    points = 0.3 * random_stack(objective, bends + 2, 7)
    highest = dense_maximum(objective, points)
    found = prove_segment(
        objective, points[0], points[-1], threshold=None, max_evaluations=200, tolerance=1e-3,
        bends=points[1:-1],
    )  # fmt: skip
    assert highest <= found.bound <= highest * 1.1
    assert found.seen <= highest * (1 + 1e-9)
    assert [found.pieces[0][0], found.pieces[-1][1]] == [0.0, 1.0]


def test_an_error_rate_is_proved_along_a_curve():
    objective = PROBLEMS["mlp"].build(criterion=Criterion("error_rate"))
    points = 0.5 * random_stack(objective, 3, 1)
    points[2] = points[0] + 0.02 * points[2]
    points[1] = points[0] + 0.02 * points[1]
    highest = dense_maximum(objective, points)
    found = prove_segment(
        objective, points[0], points[2], threshold=None, max_evaluations=300, tolerance=1e-2,
        bends=points[1:2],
    )  # fmt: skip
    assert highest <= found.bound <= highest + 0.1


@pytest.mark.parametrize("certifier", [Proved(), Sampled()])
@pytest.mark.parametrize(("height", "accepted"), [(0.99, False), (1.01, True)])
def test_a_curve_over_a_double_well_is_held_against_its_barrier(certifier, height, accepted):
    objective = landscape(double_well, 2)
    a, b = point(-1.0, 0.0), point(1.0, 0.0)
    value = float(objective.criterion_of(a[None]).values)
    span = Span(a, b, value, value, height, bends=point(0.3, 5.0)[None])
    (found,) = certifier.certify(objective, [span])
    assert found.accepted == accepted
    if accepted:
        assert 1.0 <= found.bound <= height
