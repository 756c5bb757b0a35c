import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from thalweg.errors import InputError
from thalweg.theory import get_statement
from thalweg.theory.linear import draw_layers
from thalweg.theory.section21_orbits import act, gradient, linear, loss, orbit_dimension, relu


@st.composite
def networks(draw):
    widths = draw(st.lists(st.integers(1, 4), min_size=3, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    x, y = (rng.normal(size=(n, 5)) for n in (widths[0], widths[-1]))
    return widths, draw_layers(widths, rng), x, y, rng


@settings(max_examples=80)
@given(networks())
def test_the_loss_is_constant_along_the_orbits(network):
    widths, layers, x, y, rng = network
    general = tuple(expm(rng.normal(size=(n, n)) / 2) for n in widths[1:-1])
    diagonal = tuple(np.diag(np.exp(rng.normal(size=n))) for n in widths[1:-1])
    assert all(np.linalg.det(f) > 0 for f in general)
    for frames, activation in ((general, linear), (diagonal, linear), (diagonal, relu)):
        before = loss(layers, x, y, activation)
        assert loss(act(layers, frames), x, y, activation) == pytest.approx(before, rel=1e-9)


@settings(max_examples=40)
@given(networks())
def test_the_gradient_is_the_derivative_of_the_loss(network):
    _, layers, x, y, rng = network
    step = tuple(1e-6 * rng.normal(size=w.shape) for w in layers)
    for activation in (linear, relu):
        ends = [
            loss(tuple(w + s * d for w, d in zip(layers, step, strict=True)), x, y, activation)
            for s in (1, -1)
        ]
        slope = sum(
            float((g * d).sum())
            for g, d in zip(gradient(layers, x, y, activation), step, strict=True)
        )
        scale = 1e-6 * max(1.0, loss(layers, x, y, activation))
        assert (ends[0] - ends[1]) / 2 == pytest.approx(slope, abs=1e-3 * scale, rel=1e-4)


def test_dimensions_of_orbits_that_can_be_counted_by_hand():
    rng = np.random.default_rng(0)
    # W1 is 2 x 3 of full rank: F W1 = W1 for F = 1 alone.
    assert orbit_dimension(draw_layers((3, 2, 2), rng), diagonal=False) == 4
    # W1 is 3 x 1 and W2 is 1 x 3: F fixes a vector and a covector, 9 - 3 - 3 + 1 equations fewer.
    assert orbit_dimension(draw_layers((1, 3, 1), rng), diagonal=False) == 5
    assert orbit_dimension(draw_layers((1, 3, 1), rng), diagonal=True) == 3


def test_the_check_has_controls_that_change_the_loss():
    values = get_statement("orbits").check().values
    assert values["linear_loss_changes_by"] < 1e-12
    assert values["relu_loss_under_general_matrices_changes_by"] > 0.1
    assert values["relu_loss_under_a_mirror_changes_by"] > 0.1
    assert values["linear_loss_under_a_mirror_changes_by"] < 1e-12


@pytest.mark.parametrize("arguments", [
    {"widths": "3,3"}, {"widths": "x"}, {"examples": 0}, {"size": 0.0}, {"size": float("nan")},
])  # fmt: skip
def test_bad_input_is_one_sentence(arguments):
    with pytest.raises(InputError, match=r"expected .* got "):
        get_statement("orbits").check(**arguments)
