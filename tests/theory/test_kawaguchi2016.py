import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.kawaguchi2016 import flat_saddles, random_problem
from thalweg.theory.linear_critical import find_critical_points, flatten, middle_rank, unflatten

check = get_statement("kawaguchi-2.3").check
HIDDEN, WIDTH, SEED = st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6)


@settings(max_examples=20)
@given(HIDDEN, WIDTH, SEED)
def test_derivatives_are_those_of_autograd(hidden, width, seed):
    problem = random_problem(3, 2, hidden, width, seed=seed)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    size = sum(a * b for a, b in zip(problem.widths[:-1], problem.widths[1:], strict=True))
    flat = np.random.default_rng(seed).standard_normal((1, size))

    def value(theta):
        output = x
        for layer in unflatten(np.arange(size)[None].astype(float), problem.widths):
            output = theta[torch.from_numpy(layer[0].astype(int))] @ output
        return 0.5 * ((output - y) ** 2).sum()

    weights, theta = unflatten(flat, problem.widths), torch.from_numpy(flat[0]).requires_grad_()
    (slope,) = torch.autograd.grad(value(theta), theta)
    bend = torch.as_tensor(torch.autograd.functional.hessian(value, theta.detach())).numpy()
    assert problem.value(weights)[0] == pytest.approx(value(theta).item(), rel=1e-12)
    assert flatten(problem.gradient(weights))[0] == pytest.approx(slope.numpy(), rel=1e-9, abs=1e-8)
    assert problem.hessian(weights)[0] == pytest.approx(bend, rel=1e-9, abs=1e-8)


@settings(max_examples=12)
@given(HIDDEN, WIDTH, st.integers(1, 4), SEED)
def test_every_critical_point_found_is_as_the_theorem_says(hidden, width, outputs, seed):
    finding = check(hidden=hidden, width=width, inputs=4, outputs=outputs, starts=18, seed=seed)
    assert finding.holds, finding.sentence
    assert finding.values["critical_points"] >= 9


def test_the_search_meets_minima_and_saddles_of_full_rank():
    values = check().values
    assert values["critical_points"] >= 190
    assert values["global_minima"] >= 10
    assert values["saddles_of_full_rank"] >= 20
    assert values["violations"] == 0
    assert values["saddles"] + values["global_minima"] == values["critical_points"]


@settings(max_examples=15)
@given(st.integers(1, 4), WIDTH, SEED)
def test_saddles_of_lower_rank_are_flat_from_two_hidden_layers_on(hidden, width, seed):
    problem = random_problem(4, 3, hidden, width, seed=seed)
    points = flat_saddles(problem)
    eigenvalues = np.linalg.eigvalsh(problem.hessian(points))
    assert np.abs(flatten(problem.gradient(points))).max() < 1e-10 * problem.scale
    assert (problem.value(points) > problem.least + 1e-6 * problem.scale).all()
    if hidden == 1:
        assert (eigenvalues[:, 0] < -1e-3 * problem.scale).all()
    else:
        assert (middle_rank(points) == np.arange(problem.rank)).all()
        assert (eigenvalues[:, 0] > -1e-12 * problem.scale).all()


def test_the_least_value_is_that_of_the_best_regression_of_low_rank():
    problem = random_problem(4, 3, 1, 2, seed=1)
    # Alternating least squares for the two factors of a map of rank two.
    gram = problem.x @ problem.x.T
    first, second = np.random.default_rng(0).standard_normal((2, 4)), np.zeros((3, 2))
    for _ in range(500):
        second = np.linalg.solve(first @ gram @ first.T, first @ problem.x @ problem.y.T).T
        first = np.linalg.solve(second.T @ second, second.T @ problem.regression)
    reached = 0.5 * ((second @ first @ problem.x - problem.y) ** 2).sum()
    assert reached == pytest.approx(problem.least, rel=1e-9)


def test_searches_from_one_seed_end_at_the_same_points():
    problem = random_problem(3, 2, 2, 2, seed=0)
    one, other = (
        flatten(find_critical_points(problem, 6, np.random.default_rng(3), steps=40))
        for _ in range(2)
    )
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [{"hidden": 0}, {"hidden": 9}, {"outputs": 5}, {"starts": 0}, {"width": -1}, {"seed": -1}],
)
def test_bad_input_is_refused(options):
    with pytest.raises(InputError, match="expected"):
        check(**options)
