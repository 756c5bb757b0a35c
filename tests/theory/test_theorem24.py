from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.corollary25 import slope
from thalweg.theory.six_parts import at, connect, height
from thalweg.theory.sparse_fits import Fit, Problem, compress, oracle, within
from thalweg.theory.theorem24 import directions, draw_network, draw_problem


def problem_of(rng, kappa=1e-3, inputs=3, examples=60):
    return draw_problem(inputs, examples, kappa, rng)


def least_lasso(problem, w):
    """The lasso by brute force over the signs of its weights: stationary, and of these signs."""
    z = problem.features(w)
    best = float((problem.y**2).mean())
    for size in range(1, len(w) + 1):
        for chosen in combinations(range(len(w)), size):
            a = z[:, chosen]
            for bits in range(2**size):
                signs = np.array([1.0 if bits >> k & 1 else -1.0 for k in range(size)])
                right = a.T @ problem.y / len(z) - problem.kappa / 2 * signs
                beta = np.linalg.lstsq(a.T @ a / len(z), right, rcond=1e-12)[0]
                if (np.sign(beta) == signs).all():
                    best = min(best, problem(Fit(w[list(chosen)], beta)))
    return best


@pytest.mark.parametrize("kappa", [1e-3, 0.05, 1.0])
def test_the_lasso_is_the_least_over_output_weights(kappa):
    rng = np.random.default_rng(0)
    problem = problem_of(rng, kappa)
    for _ in range(5):
        w = directions(4, 3, rng)
        assert problem(problem.lasso(w)) == pytest.approx(least_lasso(problem, w), rel=1e-4)


def test_compressing_obeys_its_limits_and_is_near_the_best_choice():
    rng = np.random.default_rng(1)
    problem = problem_of(rng)
    start = problem.lasso(directions(6, 3, rng))
    for units in range(1, 6):
        brute = min(least_lasso(problem, start.w[list(c)]) for c in combinations(range(6), units))
        still = compress(problem, start, units, 0.0)
        assert len(still.support) <= units
        assert np.array_equal(still.w, start.w)
        assert brute * (1 - 1e-6) <= problem(still) <= 3 * brute + 1e-3
        turned = compress(problem, start, units, 0.3)
        assert problem(turned) <= problem(still) * (1 + 1e-9)
        cosines = (turned.w * start.w).sum(axis=1)
        assert np.arccos(np.minimum(cosines, 1)).max() <= 0.3 + 1e-7
        assert np.linalg.norm(turned.w, axis=1) == pytest.approx(1)


def test_the_oracle_uses_unit_directions_and_improves_with_their_number():
    rng = np.random.default_rng(2)
    problem = problem_of(rng, inputs=2)
    pool = directions(200, 2, rng)
    fits = [oracle(problem, l_terms, pool) for l_terms in (1, 2, 4)]
    for fit, l_terms in zip(fits, (1, 2, 4), strict=True):
        assert len(fit.w) == l_terms
        assert np.linalg.norm(fit.w, axis=1).max() <= 1 + 1e-12
    values = [problem(fit) for fit in fits]
    assert values[0] > values[1] > values[2]
    # One unit in the plane: an angle and the soft threshold of its weight.
    angles = np.linspace(0, 2 * np.pi, 4001)
    z = problem.features(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    c, g = np.abs(z.T @ problem.y) / len(z), (z**2).mean(axis=0)
    brute = (problem.y**2).mean() - (np.maximum(c - problem.kappa / 2, 0) ** 2 / g).max()
    assert values[0] == pytest.approx(brute, rel=1e-3)


@settings(max_examples=25)
@given(
    st.integers(0, 10**6), st.integers(4, 10), st.integers(2, 4), st.floats(0, 0.6),
    st.sampled_from([1e-4, 1e-2, 0.3]), st.data(),
)  # fmt: skip
def test_the_path_is_connected_and_below_its_bound(seed, units, inputs, alpha, kappa, data):
    rng = np.random.default_rng(seed)
    problem = problem_of(rng, kappa, inputs, examples=30)
    l_terms = data.draw(st.integers(1, units))
    a, b = draw_network(problem, units, rng), draw_network(problem, units, rng)
    path = connect(problem, a, b, oracle(problem, l_terms, directions(50, inputs, rng)), alpha)
    assert path.legs[0].start is a
    assert path.legs[-1].end is b
    assert [leg.part for leg in path.legs] == sorted(leg.part for leg in path.legs)
    for one, two in pairwise(path.legs):
        assert np.array_equal(one.end.w, two.start.w)
        assert np.array_equal(one.end.beta, two.start.beta)
    top = height(problem, path)
    allowed = max(*path.ends, path.epsilon)
    assert top.bound <= allowed * (1 + 1e-4)
    assert top.seen <= top.bound * (1 + 1e-12)
    for leg in path.legs:
        values = [problem(at(leg, float(t))) for t in np.linspace(0, 1, 9)]
        assert max(values) <= top.bound * (1 + 1e-9)
        assert np.linalg.norm(at(leg, 0.5).w, axis=1).max() <= 1 + 1e-9
        if leg.kind == "constant":
            assert max(values) - min(values) <= 1e-10 * max(values)
        if leg.kind == "convex":
            assert np.array_equal(leg.start.w, leg.end.w)


def test_opposite_signs_break_the_bound_as_printed():
    # β = 1, γ = -1 at units an angle apart: in the middle η2 = 0 and the two outputs still differ.
    x = directions(200, 2, np.random.default_rng(0))
    problem = Problem(x, np.zeros(200), 1.0)
    w = np.array([[1.0, 0.0]])
    moved = np.array([[np.cos(0.4), np.sin(0.4)]])
    difference = 0.5 * problem.features(w) - 0.5 * problem.features(moved)
    assert np.sqrt((difference**2).mean()) > 0.05
    # The bound with |β| + |γ| = 2 holds.
    step = np.sqrt(((x @ (moved - w).T) ** 2).mean())
    assert np.sqrt((difference**2).mean()) <= 2 * step / 4 * (1 + 1e-12)


def test_a_path_with_turning_units_is_measured_exactly():
    rng = np.random.default_rng(3)
    problem = problem_of(rng, 1e-4, inputs=2)
    a, b = draw_network(problem, 8, rng), draw_network(problem, 8, rng)
    path = connect(problem, a, b, oracle(problem, 5, directions(50, 2, rng)), 0.5)
    assert any(leg.kind == "both" and not np.array_equal(leg.start.w, leg.end.w)
               for leg in path.legs)  # fmt: skip
    top = height(problem, path)
    dense = max(problem(at(leg, float(t))) for leg in path.legs for t in np.linspace(0, 1, 401))
    assert dense <= top.bound
    assert top.bound <= dense * (1 + 1e-3)
    assert min(path.excess) >= 0
    sides = zip(path.excess, path.linear_excess, path.lassos, path.compressed, strict=True)
    for excess, linear, lasso, compressed in sides:  # C1 α, and (C1 α)² over four times the end
        assert excess <= (linear + linear**2 / (4 * max(lasso, compressed))) * (1 + 1e-9)


def test_turning_back_keeps_lengths_and_small_angles():
    rng = np.random.default_rng(0)
    origin = rng.normal(size=(50, 3))
    near = origin + 0.01 * rng.normal(size=(50, 3))
    back = within(origin, near, 3.0)
    assert np.linalg.norm(back, axis=1) == pytest.approx(np.linalg.norm(origin, axis=1))
    unit = near / np.linalg.norm(near, axis=1, keepdims=True)
    assert np.allclose(back / np.linalg.norm(back, axis=1, keepdims=True), unit)


def test_the_corollary_is_measured_against_its_exponents():
    finding = get_statement("corollary-2.5").check("2", "6,12,24", pairs=1, examples=60)
    values = finding.values
    assert finding.holds
    assert values["predicted_exponents"] == [-0.5]
    epsilon = np.array(values["epsilon"][0])
    assert values["exponents_of_epsilon"][0] == pytest.approx(slope(np.array([6, 12, 24]), epsilon))
    assert (np.array(values["true_height"][0]) <= epsilon + 1e-12).all()


@pytest.mark.parametrize(("name", "arguments"), [
    ("theorem-2.4", {"units": 3}), ("theorem-2.4", {"terms": 99}), ("theorem-2.4", {"kappa": 0.0}),
    ("theorem-2.4", {"alpha": 4.0}), ("theorem-2.4", {"alpha": float("nan")}),
    ("corollary-2.5", {"units": "8,16"}), ("corollary-2.5", {"inputs": "1"}),
    ("corollary-2.5", {"inputs": "x"}), ("corollary-2.5", {"units": "2,8,16"}),
    ("corollary-2.5", {"kappa": float("nan")}),
])  # fmt: skip
def test_bad_input_is_one_sentence(name, arguments):
    with pytest.raises(InputError, match=r"expected .* got "):
        get_statement(name).check(**arguments)
