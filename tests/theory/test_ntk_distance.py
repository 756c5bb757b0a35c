import numpy as np
import pytest

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.ntk_distance import kernel, learn, limit_kernel

check = get_statement("ntk-distance").check


@pytest.fixture(scope="module")
def finding():
    return check(examples=6, inputs=6, max_width=1024, networks=4)


def unit_rows(n, d, seed):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_wider_networks_move_less_by_unit_and_as_much_in_all(finding):
    assert finding.holds, finding.sentence
    values = finding.values
    assert values["greatest_move"][-1] < values["greatest_move"][0] / 4
    assert values["distance"][-1] == pytest.approx(values["linear_distance"][-1], rel=0.1)
    assert values["switched"][-1] < values["switched"][0]


def test_the_limit_kernel_is_the_mean_of_kernels():
    x = unit_rows(5, 3, 0)
    weights = np.random.default_rng(1).standard_normal((200_000, 3))
    assert kernel(x, weights) == pytest.approx(limit_kernel(x), abs=5e-3)


def test_a_network_that_cannot_learn_is_not_called_learnt():
    x = unit_rows(8, 2, 0)
    weights = np.random.default_rng(0).standard_normal((1, 2))
    assert not learn(x, np.ones(8), weights, np.ones(1), max_steps=500).learnt


def test_a_linear_network_moves_by_the_distance_of_its_linearization():
    # One example with every unit on: nothing switches, and the network is its linearization.
    x = np.array([[1.0, 0.0]])
    weights = np.abs(np.random.default_rng(0).standard_normal((7, 2))) + 1
    run = learn(x, np.array([3.0]), weights, np.ones(7), max_steps=2000)
    assert run.learnt
    assert run.switched == 0
    assert run.distance == pytest.approx(run.linear, rel=1e-3)


@pytest.mark.parametrize(
    "options", [{"examples": 0}, {"max_width": 64}, {"networks": 0}, {"seed": -1}]
)
def test_bad_input_is_refused(options):
    with pytest.raises(InputError, match="expected"):
        check(**options)
