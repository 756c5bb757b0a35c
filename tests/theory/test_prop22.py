from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.linear import (
    Regression,
    draw_layers,
    gap,
    highest,
    loss_polynomial,
    product,
    profile,
    rotation,
    segment,
    stationary,
)
from thalweg.theory.linear_normal_form import bottlenecks, normalise, signs
from thalweg.theory.prop21 import components
from thalweg.theory.prop22 import descend, join, lowered


@st.composite
def problems(draw):
    """Two networks of 2 to 6 layers and a regression, singular ones and equal ones among them."""
    depth = draw(st.integers(2, 6))
    ends = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    hidden = [draw(st.integers(min(ends), min(ends) + 2)) for _ in range(depth - 1)]
    widths = [ends[0], *hidden, ends[1]]
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["normal", "rank one", "rank two", "integers", "zero"]))
    ranks = {"normal": None, "rank one": 1, "rank two": 2}

    def layers():
        if kind in ranks:
            return draw_layers(widths, rng, ranks[kind])
        most = 0 if kind == "zero" else 1
        pairs = pairwise(widths)
        return tuple(rng.integers(-most, most, (n, m), endpoint=True) + 0.0 for m, n in pairs)

    examples = draw(st.integers(1, 8))  # fewer than inputs: singular covariance
    x, y = rng.normal(size=(widths[0], examples)), rng.normal(size=(widths[-1], examples))
    problem = Regression(x, y)
    share = draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))
    return problem, *(lowered(problem, layers(), share) for _ in range(2))


def close(a, b, tolerance):
    return all(np.abs(v - w).max() <= tolerance for v, w in zip(a, b, strict=True))


@settings(max_examples=150)
@given(problems())
def test_any_two_networks_are_joined_no_higher_than_any_path(problem):
    regression, a, b = problem
    found = join(regression, a, b)
    size = max(1.0, *(float(np.abs(w).max()) for w in (*a, *b)))
    assert gap(found.path) <= 1e-9 * size
    assert close(found.path[0].at(0.0), a, 1e-12 * size)
    assert close(found.path[-1].at(1.0), b, 1e-12 * size)
    # Where weights are large, outputs are rounded as they are, and losses by that times their root.
    rounding = 1e-13 * size * (1 + found.height**0.5)
    tolerance = 1e-8 * max(1.0, found.height) + rounding
    assert max(highest(regression, piece) for piece in found.path) <= found.height + tolerance
    _, losses = profile(regression, found.path, samples=7)
    assert max(losses) <= found.height + tolerance
    assert found.height >= max(regression(a), regression(b)) - tolerance
    if not bottlenecks(a):
        assert found.height <= max(regression(a), regression(b)) + tolerance
    for piece in found.path:
        if piece.constant:
            products = [product(piece.at(t)) for t in (0.0, 0.3, 0.8, 1.0)]
            assert max(np.abs(p - products[0]).max() for p in products) <= 1e-8 * max(
                1.0, float(np.abs(products[0]).max())
            )


@settings(max_examples=100)
@given(problems())
def test_from_any_network_the_loss_is_constant_and_then_falls_to_the_minimum(problem):
    regression, a, _ = problem
    path = descend(regression, a)
    loss = regression(a)
    tolerance = 1e-8 * max(1.0, loss)
    _, before = profile(regression, path[:-1], samples=5)
    assert np.abs(np.array(before) - loss).max() <= tolerance
    _, fall = profile(regression, path[-1:], samples=33)
    assert fall[-1] == pytest.approx(regression.least, abs=tolerance)
    if loss > regression.least + 1e-6:
        assert (np.diff(fall) < 0).all()
        # c + d (1 - t)²: the derivative vanishes at the end only.
        c = loss_polynomial(regression, path[-1].at(0.0), path[-1].at(1.0))
        assert c[1] == pytest.approx(-2 * c[2], rel=1e-4, abs=tolerance)


def determinant(layers, bottleneck):
    """Of the part between a bottleneck and the narrow end."""
    if layers[0].shape[1] > layers[-1].shape[0]:
        return np.linalg.det(product(layers[bottleneck + 1 :]))
    return np.linalg.det(product(layers[: bottleneck + 1]))


@pytest.mark.parametrize(
    "widths", [(1, 1, 1), (2, 2, 2), (3, 3, 4, 3), (2, 3, 2, 4), (4, 2, 3, 2, 2)]
)
def test_where_signs_differ_every_path_reaches_the_height(widths):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(widths[0], 12))
    regression = Regression(x, rng.normal(size=(widths[-1], widths[0])) @ x)
    seen = 0
    for _ in range(40):
        a, b = (lowered(regression, draw_layers(widths, rng), 1.0) for _ in range(2))
        found = join(regression, a, b)
        if not found.opposed:
            assert found.height < 1e-12
            continue
        seen += 1
        assert found.height == pytest.approx(regression.least_deficient)
        # A polygon through random networks: where the sign changes, the loss is at least so high.
        corners = [a, *(draw_layers(widths, rng) for _ in range(3)), b]
        place = bottlenecks(a).index(found.opposed[0])
        for start, end in pairwise(corners):
            piece = segment(start, end, "")
            grid = np.linspace(0, 1, 200)
            values = [signs(piece.at(float(t)))[place] for t in grid]
            for left, right, s, t in zip(grid, grid[1:], values, values[1:], strict=False):
                if s * t < 0:
                    root: Any = brentq(
                        lambda u, piece=piece, j=found.opposed[0]: determinant(piece.at(u), j),
                        float(left), float(right), xtol=1e-14,
                    )  # fmt: skip
                    assert regression(piece.at(float(root))) >= found.height * (1 - 1e-9)
    assert seen >= 5


def test_the_height_is_the_barrier_of_the_smallest_example():
    # F = (w2 w1 - 1)² on a grid: below 1 the level set has two components, from 1 on it has one.
    w = np.linspace(-3, 3, 1201)
    values = (w[:, None] * w - 1) ** 2
    counts = [components(values, level) for level in (0.1, 0.9, 1.0)]
    assert counts == [2, 2, 1]
    one = Regression(np.ones((1, 1)), np.ones((1, 1)))
    w1, w2 = np.array([[2.0]]), np.array([[0.5]])
    assert join(one, (w1, w2), (-w2, -w1)).height == pytest.approx(1.0)
    assert join(one, (w1, w2), (w2, w1)).height == pytest.approx(0.0)


def test_least_deficient_is_the_best_regression_of_lower_rank():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(3, 9)), rng.normal(size=(2, 9))
    regression = Regression(x, y)
    # Rank one in two rows: (cos, sin)' v, and v by least squares.
    angles = np.linspace(0, np.pi, 20001)
    along = np.stack([np.cos(angles), np.sin(angles)]).T @ y
    hat = x.T @ np.linalg.solve(x @ x.T, x)
    brute = ((y**2).sum() - ((along @ hat) * along).sum(axis=1)) / 9
    assert regression.least_deficient == pytest.approx(brute.min(), rel=1e-7)
    assert np.linalg.matrix_rank(regression.best_deficient) == 1


def test_with_fewer_examples_than_inputs_lower_rank_costs_nothing():
    rng = np.random.default_rng(3)
    regression = Regression(rng.normal(size=(3, 2)), rng.normal(size=(4, 2)))
    assert regression.least_deficient == pytest.approx(0.0, abs=1e-12)


def test_the_maximum_of_a_segment_is_that_of_dense_samples():
    rng = np.random.default_rng(1)
    regression = Regression(rng.normal(size=(2, 6)), rng.normal(size=(3, 6)), ridge=0.3)
    for _ in range(20):
        a, b = (draw_layers((2, 3, 2, 3), rng) for _ in range(2))
        piece = segment(a, b, "")
        dense = max(regression(piece.at(float(t))) for t in np.linspace(0, 1, 2001))
        assert dense <= highest(regression, piece) * (1 + 1e-12)
        assert highest(regression, piece) <= dense * (1 + 1e-4)


def test_stationary_points_of_a_polynomial():
    # (t - .3)² (t - 2): double root, and one of the derivative outside.
    assert stationary(np.array([-0.18, 1.29, -2.6, 1.0])) == pytest.approx([0.3])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_rotations_lead_from_the_identity_to_the_target(n):
    rng = np.random.default_rng(n)
    targets = [np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(20)]
    targets.append(np.diag([-1.0] * (n - n % 2) + [1.0] * (n % 2)))
    for q in targets:
        target = q * np.append(np.ones(n - 1), np.sign(np.linalg.det(q)))
        turn = rotation(target)
        assert np.allclose(turn(0.0), np.eye(n), atol=1e-12)
        assert np.allclose(turn(1.0), target, atol=1e-12)
        for t in (0.25, 0.7):
            assert np.allclose(turn(t) @ turn(t).T, np.eye(n), atol=1e-12)
            assert np.linalg.det(turn(t)) == pytest.approx(1.0)


def test_the_normal_form_depends_on_product_and_signs_alone():
    rng = np.random.default_rng(0)
    layers = draw_layers((2, 2, 3, 2, 4), rng)
    path, end = normalise(layers)
    stretch = np.diag([2.0, 0.5])
    other = (stretch @ layers[0], layers[1] @ np.linalg.inv(stretch), *layers[2:])
    assert close(normalise(other)[1], end, 1e-12)
    assert signs(end) == signs(layers)
    assert gap(path) < 1e-12


def test_the_default_run_shows_where_the_printed_claim_fails():
    values = get_statement("prop-2.2").check().values
    assert values["signs_differ_at"]
    assert not values["printed_claim_holds"]
    assert values["path_maximum"] == pytest.approx(values["critical_level"])
    assert values["critical_level"] > max(values["loss_a"], values["loss_b"])


@pytest.mark.parametrize("arguments", [
    {"widths": "3"}, {"widths": "3,4"}, {"widths": "3,0,3"}, {"widths": "a,b,c"}, {"widths": ""},
    {"widths": "3,2,3"}, {"examples": 0}, {"rank": -1}, {"share": 2.0}, {"share": float("nan")},
])  # fmt: skip
def test_bad_input_is_one_sentence(arguments):
    with pytest.raises(InputError, match=r"expected .* got "):
        get_statement("prop-2.2").check(**arguments)
