from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.balanced_factors import balance, balanced
from thalweg.theory.linear import Regression, draw_layers, gap, product, profile
from thalweg.theory.nuclear_norm import least_deficient, least_nuclear, nuclear
from thalweg.theory.prop21 import components
from thalweg.theory.prop22_ridge import descend, join


@st.composite
def problems(draw):
    """Two networks of two layers and a regression with ridge, singular ones among them."""
    ends = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    widths = [ends[0], draw(st.integers(min(ends), min(ends) + 2)), ends[1]]
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rank = draw(st.sampled_from([None, 1, 2]))
    x, y = (rng.normal(size=(n, draw(st.just(6)))) for n in (widths[0], widths[-1]))
    regression = Regression(x, y, draw(st.sampled_from([0.01, 0.1, 1.0])))
    zero = tuple(np.zeros((m, n)) for n, m in pairwise(widths))
    pairs = [draw_layers(widths, rng, rank), draw_layers(widths, rng, rank), zero]
    return regression, *draw(st.permutations(pairs))[:2]


@settings(max_examples=80)
@given(problems())
def test_any_two_networks_are_joined_no_higher_than_claimed(problem):
    regression, a, b = problem
    found = join(regression, a, b)
    size = max(1.0, *(float(np.abs(w).max()) for w in (*a, *b)))
    assert gap(found.path) <= 1e-6 * size  # square roots of singular values
    ends = max(regression(a), regression(b))
    _, losses = profile(regression, found.path, samples=9)
    assert max(losses) <= found.height + 1e-8 * max(1.0, found.height)
    assert losses[0] == pytest.approx(regression(a))
    assert losses[-1] == pytest.approx(regression(b))
    if found.opposed:
        assert ends - 1e-12 <= found.every_path <= found.height
    else:
        assert found.height <= ends + 1e-12


@settings(max_examples=60)
@given(problems())
def test_balancing_keeps_the_product_and_never_lengthens(problem):
    _, a, _ = problem
    layers = a if a[0].shape[1] <= a[1].shape[0] else (a[1].T, a[0].T)
    path, sign = balance(layers, 1)
    p = product(layers)
    norms = []
    for piece in path:
        for t in np.linspace(0, 1, 17):
            w1, w2 = piece.at(float(t))
            assert np.abs(w2 @ w1 - p).max() <= 1e-8 * max(1.0, float(np.abs(p).max()))
            norms.append(float((w1**2).sum() + (w2**2).sum()))
    assert np.diff(norms).max() <= 1e-8 * norms[0]
    # Eq. 12 is an equality at the end.
    assert norms[-1] == pytest.approx(2 * np.linalg.svd(p, compute_uv=False).sum(), abs=1e-8)
    w1, w2 = path[-1].at(1.0)
    assert np.allclose(w1 @ w1.T, w2.T @ w2, atol=1e-8 * max(1.0, norms[-1]))
    if len(w1) == w1.shape[1] and np.linalg.matrix_rank(p, tol=1e-6) == len(w1):
        assert sign == np.sign(np.linalg.det(w1)) == np.sign(np.linalg.det(layers[0]))


@settings(max_examples=60)
@given(problems())
def test_from_any_network_the_loss_falls_to_the_minimum(problem):
    regression, a, _ = problem
    path, lower = descend(regression, a)
    _, losses = profile(regression, path, samples=17)
    assert np.diff(losses).max() <= 1e-8 * max(1.0, losses[0])
    assert lower * (1 - 1e-12) <= losses[-1] <= lower + 1e-6 * max(1.0, losses[-1])


def test_balanced_factors_are_continuous_where_singular_vectors_are_not():
    # Singular values cross at t = 1/2, where those vectors of an SVD jump by a right angle.
    products = [np.diag([1 - t, t]) for t in np.linspace(0, 1, 2001)]
    factors = [balanced(p, 2, 1) for p in products]
    steps = [
        max(np.abs(v - w).max() for v, w in zip(a, b, strict=True)) for a, b in pairwise(factors)
    ]
    assert max(steps) <= np.sqrt(1 / 2000) + 1e-12


def test_for_white_inputs_the_minimum_is_the_soft_threshold():
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.normal(size=(6, 3)))[0].T * np.sqrt(6)
    target = rng.normal(size=(4, 3))
    regression = Regression(x, target @ x, ridge=0.4)
    u, s, vt = np.linalg.svd(target, full_matrices=False)
    best = u * np.maximum(s - 0.4, 0) @ vt
    found, lower = least_nuclear(regression)
    assert np.allclose(found, best, atol=1e-10)
    assert lower == pytest.approx(nuclear(regression, best), rel=1e-10)
    # And at lower rank the soft threshold without the smallest singular value.
    kept = np.maximum(s - 0.4, 0) * (np.arange(3) < 2)
    _, upper, least = least_deficient(regression)
    assert upper == pytest.approx(nuclear(regression, u * kept @ vt), rel=1e-9)
    assert least == pytest.approx(upper, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_least_of_lower_rank_lies_between_its_bounds(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 8)) * np.array([[1.0], [0.4]])
    regression = Regression(x, rng.normal(size=(2, 2)) @ x, ridge=0.05)
    _, upper, lower = least_deficient(regression)
    # Rank one: P = r u v' with u, v on circles; in r quadratic, with a kink at zero.
    u, v = (np.stack([np.cos(a), np.sin(a)]) for a in np.meshgrid(
        np.linspace(0, 2 * np.pi, 1000), np.linspace(0, np.pi, 1000)))  # fmt: skip
    n = x.shape[1]
    gram, cross = x @ x.T / n, regression.y @ x.T / n
    a = np.einsum("iab,ij,jab->ab", v, gram, v)
    b = np.einsum("iab,ij,jab->ab", u, cross, v)
    brute = (regression.y**2).sum() / n - (np.maximum(b - 0.05, 0) ** 2 / a).max()
    assert lower <= brute * (1 + 1e-6)
    assert upper <= brute + 1e-5
    assert lower >= 0.9 * upper


def test_the_smallest_example_has_two_separate_minima():
    # F = (w2 w1 - 1)² + κ (w1² + w2²), κ = .5: minima ±(√.5, √.5) with .75, and F(0, 0) = 1.
    w = np.linspace(-2, 2, 1601)
    values = (w[:, None] * w - 1) ** 2 + 0.5 * (w[:, None] ** 2 + w**2)
    counts = [components(values, level) for level in (0.76, 0.99, 1.0)]
    assert counts == [2, 2, 1]
    one = Regression(np.ones((1, 1)), np.ones((1, 1)), ridge=0.5)
    root = np.array([[np.sqrt(0.5)]])
    found = join(one, (root, root), (-root, -root))
    assert (found.every_path, found.height) == (pytest.approx(1.0), pytest.approx(1.0))


def test_the_default_run_shows_where_the_printed_claim_fails():
    values = get_statement("prop-2.2-ridge").check().values
    assert values["signs_differ"]
    assert not values["printed_claim_holds"]


@pytest.mark.parametrize("arguments", [
    {"widths": "3,3"}, {"widths": "3,3,3,3"}, {"widths": "3,2,3"}, {"ridge": 0.0},
    {"ridge": float("inf")}, {"examples": 0}, {"share": -1.0},
])  # fmt: skip
def test_bad_input_is_one_sentence(arguments):
    with pytest.raises(InputError, match=r"expected .* got "):
        get_statement("prop-2.2-ridge").check(**arguments)
