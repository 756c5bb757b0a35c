import numpy as np
import pytest
import torch
from scipy.integrate import quad

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.section231_gaussians import bisectors, clusters, hand_over
from thalweg.theory.section231_mixture import local_minimum, mirrored_hessian, outputs
from thalweg.theory.section231_tessellation import jacobian, teacher, turned
from thalweg.theory.strings import highest, profile_of, relu_objective

# ------------------------------------------------------------------------------- two Gaussians


@pytest.mark.parametrize("spread", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_every_path_is_above_half_the_variance_and_above_the_ends(spread, seed):
    finding = get_statement("two-gaussians").check(examples=200, spread=spread, seed=seed)
    values = finding.values
    assert finding.holds
    assert values["ends_over_variance"] < values["every_path_over_variance"]
    assert values["every_path_over_variance"] < values["path_through_one_unit_over_variance"]
    assert values["path_through_one_unit_over_variance"] < 1
    assert not values["ends_have_small_risk_relative_to_variance"]


def test_the_ends_leave_three_quarters_and_one_unit_seven_eighths():
    # In the limit of small clusters, by hand: a unit explains a quarter of half of the variance.
    x, y = clusters(40_000, 0.01, 0)
    objective = relu_objective(x, y, 2)
    path = torch.stack(hand_over(bisectors(objective)))
    shares = objective.criterion_of(path).values[:, 0] / (y**2).mean()
    assert float(shares[0]) == pytest.approx(3 / 4, abs=0.01)
    assert float(shares.max()) == pytest.approx(7 / 8, abs=0.01)


def test_handing_over_swaps_the_units_and_is_no_higher_than_one_unit():
    objective = relu_objective(*clusters(100, 0.1, 0), 2)
    theta = bisectors(objective)
    path = hand_over(theta)
    assert torch.equal(path[0], theta)
    assert torch.equal(path[-1], theta[[2, 3, 0, 1, 5, 4, 7, 6]])
    losses = objective.criterion_of(torch.stack(path)).values[:, 0]
    assert torch.allclose(losses[1:5], losses[1])
    assert highest(objective, path) == pytest.approx(float(losses.max()))


# -------------------------------------------------------------------------------- tessellation


@pytest.mark.parametrize(("units", "inputs"), [(2, 2), (2, 3), (3, 3), (3, 5)])
def test_a_teacher_is_an_isolated_zero_and_no_string_stays_at_zero(units, inputs):
    finding = get_statement("tessellation").check(units=units, inputs=inputs, examples=80, seed=1)
    values = finding.values
    assert finding.holds
    assert values["kernel_beyond_rescalings"] == 0
    assert values["tessellation_turns_by"] > 1e-3
    if (units, inputs) == (2, 2):
        assert 0 < values["every_path_reaches"] <= values["lowest_string_reaches"]


def test_the_curvature_is_that_of_the_loss():
    objective, theta, w1, beta = teacher(3, 4, 60, seed=0)
    x = objective.splits["train"].inputs[0].numpy()
    rng = np.random.default_rng(0)
    step = 1e-5 * rng.normal(size=len(theta))
    loss = float(objective.criterion_of((theta + torch.from_numpy(step))[None]).values)
    assert loss == pytest.approx(((jacobian(x, w1, beta) @ step) ** 2).mean(), rel=1e-3)
    for i in range(3):  # rescaling a unit: w_i + t w_i, β_i - t β_i
        direction = np.zeros(len(theta))
        direction[4 * i : 4 * i + 4], direction[12 + i] = w1[i], -beta[i]
        assert np.abs(jacobian(x, w1, beta) @ direction).max() < 1e-12


def test_the_turn_of_a_tessellation_ignores_order_length_and_sign():
    w = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert turned(w, -3 * w[::-1]) == 0
    assert turned(w, np.array([[1.0, 1.0], [0.0, 1.0]])) == pytest.approx(np.pi / 4)


def test_a_profile_is_measured_along_the_length():
    objective, theta, *_ = teacher(2, 2, 20, seed=0)
    series = profile_of(objective, [theta, 3 * theta, 2 * theta], "there and back")
    assert series.x[0] == 0
    assert series.x[-1] == pytest.approx(1)
    corner = series.x.index(pytest.approx(2 / 3))
    # Both layers three times as large: the outputs are nine times the teacher's.
    square = float((outputs_of(objective, theta) ** 2).mean())
    assert series.y[corner] == pytest.approx(64 * square)


def outputs_of(objective, theta):
    x = objective.splits["train"].inputs[0].numpy()
    return np.maximum(x @ theta[:4].reshape(2, 2).numpy().T, 0) @ theta[4:].numpy()


# ------------------------------------------------------------------------- mixture of teachers


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weight", [0.2, 0.6])
def test_mirrored_teachers_leave_a_poor_local_minimum(seed, weight):
    finding = get_statement("mixture-of-teachers").check(weight=weight, seed=seed, examples=200)
    assert finding.holds
    assert finding.values["losses"][0] < finding.values["losses"][1]
    assert finding.values["weights_with_two_minima"] == 39


@pytest.mark.parametrize("seed", range(6))
def test_what_is_called_a_minimum_is_one(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(100, 3))
    y = np.maximum(x @ rng.normal(size=(3, 2)), 0).sum(axis=1) + 0.1 * rng.normal(size=100)
    signs = np.array([1.0, 1.0])
    found = local_minimum(x, y, rng.normal(size=(2, 3)), signs)
    if found is None:
        pytest.skip("the alternation did not settle")
    assert found.proved

    def loss(u, beta):
        return ((np.maximum(x @ u.T, 0) @ beta - y) ** 2).mean()

    assert loss(found.u, signs) == pytest.approx(found.loss)
    for _ in range(300):  # in all weights, output weights too
        size = found.margin * 10.0 ** rng.uniform(-4, -1)
        u = found.u + size * rng.normal(size=found.u.shape)
        beta = signs + size * rng.normal(size=2)
        assert loss(u, beta) >= found.loss * (1 - 1e-12)


def test_a_minimum_close_to_an_edge_is_not_called_proved():
    # One input at right angles to the solution: it lies on the edge of the unit.
    x = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1e-17], [2.0, 1.0]])
    found = local_minimum(x, np.maximum(x @ [1.0, 0.0], 0), np.array([[1.0, 0.1]]), np.ones(1))
    assert found is None or not found.proved


@pytest.mark.parametrize("weight", [0.01, 0.5, 0.99])
def test_by_hand_the_second_teacher_scaled_is_a_strict_minimum(weight):
    gradient, hessian = mirrored_hessian(weight, 3)
    assert np.abs(gradient).max() < 1e-6
    assert np.allclose(hessian, np.eye(3), atol=1e-3)


def test_the_kernel_of_the_hand_calculation_is_the_mean_over_normal_inputs():
    for angle in (0.0, 0.7, 2.5):
        integral = quad(
            lambda t, a=angle: max(np.cos(t), 0) * max(np.cos(t - a), 0) / np.pi,
            -np.pi, np.pi, points=[-np.pi / 2, np.pi / 2, angle - np.pi / 2],
        )[0]  # fmt: skip
        k = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        assert k == pytest.approx(integral, abs=1e-8)


def test_outputs_of_two_units():
    x = np.array([[1.0, -2.0]])
    assert outputs(x, np.eye(2), np.array([1.0, -1.0])).tolist() == [1.0]


def test_teachers_that_share_a_minimum_are_reported():
    finding = get_statement("mixture-of-teachers").check(mirrored=False, seed=1)
    assert not finding.holds
    assert finding.values["weights_with_two_minima"] < 39


@pytest.mark.parametrize(("name", "arguments"), [
    ("two-gaussians", {"examples": 3}), ("two-gaussians", {"spread": 0.0}),
    ("two-gaussians", {"spread": float("nan")}), ("tessellation", {"units": 1}),
    ("tessellation", {"examples": 3}), ("mixture-of-teachers", {"weight": 1.0}),
    ("mixture-of-teachers", {"inputs": 1}), ("mixture-of-teachers", {"examples": 1}),
])  # fmt: skip
def test_bad_input_is_one_sentence(name, arguments):
    with pytest.raises(InputError, match=r"expected .* got "):
        get_statement(name).check(**arguments)
