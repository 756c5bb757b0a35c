"""Curves against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import Bezier, InputError, Layout, Polygonal
from thalweg.paths import distance, interpolate

DTYPES = [torch.float32, torch.float64]


def layout(size, dtype=torch.float64):
    return Layout(("w",), ((size,),), dtype)


def points(n, size, seed, dtype=torch.float64):
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def string(n, size, seed=0, dtype=torch.float64):
    return Polygonal(points(n, size, seed, dtype), layout(size, dtype))


# ------------------------------------------------------------------------- strings


@pytest.mark.parametrize("corners", [3, 5, 12, 100])
def test_the_length_of_an_inscribed_polygon(corners):
    angle = torch.arange(corners + 1, dtype=torch.float64) * 2 * math.pi / corners
    path = Polygonal(torch.stack([angle.cos(), angle.sin()], dim=1), layout(2))
    assert path.length == pytest.approx(2 * corners * math.sin(math.pi / corners), rel=1e-14)


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from(DTYPES))
def test_one_segment_is_exactly_as_long_as_its_ends_are_apart(seed, size, dtype):
    path = string(2, size, seed, dtype)
    assert path.normalized_length == 1.0
    along = (path.points[1].double() - path.points[0].double()).tolist()
    expected = math.hypot(*along)
    assert path.length == pytest.approx(expected, rel=1e-14)


@given(st.integers(0, 10_000), st.integers(2, 9), st.sampled_from(DTYPES))
def test_no_string_is_shorter_than_its_chord(seed, n, dtype):
    path = string(n, 3, seed, dtype)
    assert path.normalized_length is not None
    assert path.normalized_length >= 1 - 1e-14


@given(st.integers(0, 10_000), st.integers(2, 9), st.sampled_from(DTYPES))
def test_both_ends_of_a_string_are_exact(seed, n, dtype):
    path = string(n, 3, seed, dtype)
    assert torch.equal(path.at(torch.tensor([0.0, 1.0], dtype=torch.float64)), path.points[[0, -1]])


def test_vertices_at_fractions_without_rounding_are_exact():
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    path = Polygonal(corners, layout(2))
    t = torch.tensor([0.0, 0.25, 0.75, 1.0], dtype=torch.float64)
    assert torch.equal(path.at(t), corners)


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_between_equal_the_arc_length_parametrization(dtype):
    path = string(6, 4, 3, dtype)
    t = torch.linspace(0, 1, 57, dtype=torch.float64)
    exact = path.points.double()
    knots = np.concatenate([[0], np.cumsum((exact[1:] - exact[:-1]).norm(dim=1).numpy())])
    expected = np.stack(
        [np.interp(t.numpy() * knots[-1], knots, column) for column in exact.T.numpy()], axis=1
    )
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-13}[dtype]
    got = path.at(t)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.double().numpy(), expected, rtol=tolerance, atol=tolerance)


def test_a_vertex_given_twice_is_harmless():
    corners = torch.tensor([[0.0], [1.0], [1.0], [2.0]], dtype=torch.float64)
    path = Polygonal(corners, layout(1))
    assert path.segment_lengths == [1.0, 0.0, 1.0]
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    assert torch.equal(path.at(t)[:, 0], 2 * t)


def test_equal_endpoints_have_no_normalized_length():
    assert Polygonal(torch.zeros(2, 3), layout(3, torch.float32)).normalized_length is None
    round_trip = Polygonal(torch.tensor([[0.0], [1.0], [0.0]]), layout(1, torch.float32))
    assert round_trip.length == 2
    assert round_trip.normalized_length is None


@pytest.mark.parametrize("shape", [(1, 3), (3, 2), (3,), (2, 3, 1)])
def test_points_of_another_shape_are_refused(shape):
    for kind in (Polygonal, Bezier):
        with pytest.raises(InputError, match="at least two points"):
            kind(torch.zeros(shape), layout(3, torch.float32))


# ------------------------------------------------------------------------- Bézier curves


def quadratic_length(control: torch.Tensor) -> float:
    """Closed form of ∫ sqrt(a t² + b t + c) dt for a quadratic Bézier curve."""
    p0, p1, p2 = control.numpy()
    u, v = 2 * (p0 - 2 * p1 + p2), 2 * (p1 - p0)
    a, b, c = u @ u, 2 * u @ v, v @ v

    def antiderivative(t: float) -> float:
        s = math.sqrt(a * t * t + b * t + c)
        w = 2 * a * t + b
        return w * s / (4 * a) + (4 * a * c - b * b) / (8 * a**1.5) * math.log(
            2 * math.sqrt(a) * s + w
        )

    return antiderivative(1) - antiderivative(0)


@pytest.mark.parametrize("seed", range(8))
def test_the_length_of_a_quadratic_bezier_equals_its_closed_form(seed):
    control = points(3, 4, seed)
    assert Bezier(control, layout(4)).length == pytest.approx(quadratic_length(control), rel=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_the_length_of_a_bezier_equals_the_limit_of_its_chords(seed):
    curve = Bezier(points(6, 3, seed), layout(3))
    chords = [
        float(curve.at(torch.linspace(0, 1, n + 1, dtype=torch.float64)).diff(dim=0)
              .norm(dim=1).sum()) for n in (2000, 4000)
    ]  # fmt: skip
    richardson = (4 * chords[1] - chords[0]) / 3
    assert curve.length == pytest.approx(richardson, rel=1e-9)


def test_a_straight_bezier_is_a_segment():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    a, b = points(2, 3, 0)
    curve = Bezier(torch.stack([a, b]), layout(3))
    assert curve.normalized_length == pytest.approx(1, rel=1e-12)
    torch.testing.assert_close(curve.at(t), interpolate(a, b, t), rtol=1e-14, atol=1e-14)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_raising_the_degree_leaves_the_curve(seed, n):
    control = points(n, 2, seed)
    i = torch.arange(n + 1, dtype=torch.float64)[:, None] / n
    ends = torch.zeros(1, 2, dtype=torch.float64)
    raised = i * torch.cat([ends, control]) + (1 - i) * torch.cat([control, ends])
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    low, high = Bezier(control, layout(2)), Bezier(raised, layout(2))
    torch.testing.assert_close(high.at(t), low.at(t), rtol=1e-12, atol=1e-12)
    assert high.length == pytest.approx(low.length, rel=1e-9)


def test_a_bezier_runs_from_its_first_to_its_last_point_by_de_casteljau():
    control = points(5, 3, 1)
    curve = Bezier(control, layout(3))
    for t in (0.0, 0.1, 0.5, 0.77, 1.0):
        level = control
        while len(level) > 1:
            level = (1 - t) * level[:-1] + t * level[1:]
        got = curve.at(torch.tensor([t], dtype=torch.float64))
        torch.testing.assert_close(got, level, rtol=1e-13, atol=1e-13)
    assert torch.equal(curve.at(torch.tensor([0.0, 1.0])), control[[0, -1]])


def test_the_ends_of_a_segment_are_exact_and_distances_are_taken_in_double():
    a, b = points(2, 1000, 5, torch.float32)
    assert torch.equal(interpolate(a, b, torch.tensor([0.0, 1.0])), torch.stack([a, b]))
    assert distance(a, b) == pytest.approx(
        float(np.linalg.norm(b.double() - a.double())), rel=1e-15
    )
