import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.auer1996 import TARGET, derivatives, error, minima_on_axis, patterns

check = get_statement("auer-1996").check


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("n", range(1, 13))
def test_all_promised_minima_are_found_and_certified(n, d):
    if n < d:
        with pytest.raises(InputError):
            check(n=n, d=d)
        return
    finding = check(n=n, d=d)
    assert finding.holds
    assert finding.values["certified"] == finding.values["minima"] >= (n // d) ** d
    assert finding.values["least_eigenvalue"] > 1e-3


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_derivatives_are_those_of_autograd(n, d, seed):
    rng = np.random.default_rng(seed)
    inputs, logs = rng.standard_normal((n, d)), rng.standard_normal(d)

    def value(log_weights):
        output = torch.sigmoid(torch.from_numpy(inputs) @ log_weights.exp())
        return ((TARGET - output) ** 2).sum()

    point = torch.from_numpy(logs).requires_grad_()
    (slope,) = torch.autograd.grad(value(point), point)
    bend = torch.autograd.functional.hessian(value, point.detach())
    gradient, hessian = derivatives(np.exp(logs)[None], inputs)
    assert error(np.exp(logs)[None], inputs)[0] == pytest.approx(
        float(value(point).detach()), rel=1e-12
    )
    assert torch.allclose(slope, torch.from_numpy(gradient[0]), atol=1e-12)
    assert torch.allclose(torch.as_tensor(bend), torch.from_numpy(hessian[0]), atol=1e-12)


def test_minima_lie_below_all_points_around_them():
    inputs = patterns(6, 2, 10.0)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.exp(0.3 * np.stack([np.cos(angles), np.sin(angles)], 1))
    for first in minima_on_axis(inputs[:3, 0]):
        for second in minima_on_axis(inputs[3:, 1]):
            weight = np.array([[first, second]])
            assert (error(weight * ring, inputs) > error(weight, inputs)).all()


def test_there_is_no_minimum_at_negative_weights():
    inputs = patterns(4, 1, 10.0)
    weights = -np.geomspace(1e-8, 1e4, 2000)[:, None]
    assert (np.diff(error(weights, inputs)) > -1e-12).all()


def test_patterns_too_close_to_one_another_have_fewer_minima():
    finding = check(n=4, d=1, ratio=1.5)
    assert not finding.holds
    assert finding.values["minima"] < 4


@pytest.mark.parametrize(
    "options",
    [{"n": 0, "d": 1}, {"n": 2, "d": 3}, {"d": 0}, {"ratio": 1.0}, {"ratio": float("nan")},
     {"n": 1000, "d": 1}, {"n": 40, "d": 8}],
)  # fmt: skip
def test_bad_input_is_refused(options):
    with pytest.raises(InputError, match="expected"):
        check(**options)
