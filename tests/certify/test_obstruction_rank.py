"""The rank argument: two units that swap pass a first layer of rank one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from tests.certify.obstruction_problems import fewer_units, swapped, two_layers
from thalweg.certify.exact import exact_maximum
from thalweg.certify.obstruction import NotApplicable, Obstructed
from thalweg.certify.obstruction_rank import RankOfTwoUnits, _Sample


def two_clusters(seed: int, examples: int) -> tuple[Tensor, Tensor]:
    """Section 2.3.1: y = (x - μ_z) z for two clusters at μ_z."""
    rng = np.random.default_rng(seed)
    z = rng.choice([-1, 1], (examples, 1))
    centres = np.where(z > 0, [1.0, 1.0], [-1.0, 1.0])
    x = centres + 0.2 * rng.normal(size=(examples, 2))
    return torch.tensor(x).float(), torch.tensor((x - centres) * z).float()


@pytest.mark.parametrize("examples", [3, 4, 7, 20, 60])
@pytest.mark.parametrize("seed", range(4))
def test_swapped_bisectors_are_disconnected(seed: int, examples: int) -> None:
    made = two_layers(*two_clusters(seed, examples), 2)
    a = torch.tensor([1.0, -1.0, 1.0, 1.0, 0.3, 0.1, -0.2, 0.4])
    b = swapped(made, a, (1, 0))
    found = RankOfTwoUnits().lower_bound(made, a, b)
    assert isinstance(found, Obstructed)
    angles = np.linspace(0, np.pi, 601)
    values = [fewer_units(made, np.array([angle, angle + np.pi])) for angle in angles]
    place = float(angles[int(np.argmin(values))])
    refined: Any = minimize(
        lambda angle: fewer_units(made, np.array([angle[0], angle[0] + np.pi])),
        [place],
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-15},
    )
    least = min(*values, refined.fun)
    assert 0 < found.bound <= least * (1 + 1e-9)
    assert least <= 1.01 * found.bound
    assert exact_maximum(made, a, b).bound >= found.bound


@pytest.mark.parametrize("seed", range(40))
def test_the_gain_on_any_arc_is_bounded(seed: int) -> None:
    # Also on arcs where examples change sign, which a search meets only where breakpoints tie.
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    sample = _Sample(x, y)
    u1 = rng.normal(size=2)
    u2 = u1 + 10.0 ** -rng.integers(0, 4) * rng.normal(size=2)
    bound = sample._bound(u1, u2)
    gains = [sample._gain((1 - t) * u1 + t * u2) for t in np.linspace(0, 1, 101)]
    assert max(gains) <= bound <= (y**2).sum() * (1 + 1e-12)


def test_ties_among_breakpoints_and_silent_examples() -> None:
    points = [[1.0, 0], [2, 0], [0, 1], [0, 3], [-1, 0], [1, 1], [2, 2], [0, 0], [-1, 2], [3, -1]]
    x = torch.tensor(points)
    y = torch.tensor([[1.0], [-2], [0.5], [1], [2], [-1], [3], [1], [0], [2]])
    made = two_layers(x, y, 2)
    a = torch.randn(made.layout.size)
    found = RankOfTwoUnits().lower_bound(made, a, swapped(made, a, (1, 0)))
    assert isinstance(found, Obstructed)
    angles = np.linspace(0, np.pi, 1001)
    least = min(fewer_units(made, np.array([t, t + np.pi])) for t in angles)
    assert found.bound <= least <= 1.01 * found.bound


def test_the_rank_argument_needs_the_sign_to_change() -> None:
    x, y = two_clusters(0, 10)
    made = two_layers(x, y, 2)
    a = torch.tensor([1.0, -1.0, 1.0, 1.0, 0.3, 0.1, -0.2, 0.4])
    same = RankOfTwoUnits().lower_bound(made, a, 2 * a)
    assert isinstance(same, NotApplicable)
    assert "same sign" in same.reason
    flat = a.clone()
    flat[2:4] = -2 * flat[0:2]
    found = RankOfTwoUnits().lower_bound(made, flat, a)
    assert isinstance(found, Obstructed)
    assert "zero at an end" in found.reason
    assert float(made.criterion_of(flat[None]).values) >= found.bound


@pytest.mark.parametrize(
    ("units", "bias", "said"), [(3, False, "two hidden units"), (2, True, "can go round")]
)
def test_where_the_rank_says_nothing_it_says_why(units: int, bias: bool, said: str) -> None:
    made = two_layers(*two_clusters(0, 10), units, bias)
    theta = torch.randn(made.layout.size)
    found = RankOfTwoUnits().lower_bound(made, theta, theta)
    assert isinstance(found, NotApplicable)
    assert said in found.reason


def test_with_biases_a_path_does_go_round() -> None:
    # W1 is 2 x 3 with its bias: a rotation by a half-turn in the plane of its two rows, and then
    # one that turns both through the third axis, swaps them with full rank throughout.
    start = np.array([[1.0, 0, 0], [0, 1, 0]])
    quarter = np.linspace(0, np.pi / 2, 200)
    first = [[[np.cos(t), np.sin(t), 0], [-np.sin(t), np.cos(t), 0]] for t in quarter]
    half = np.linspace(0, np.pi, 200)
    second = [[[0, 1, 0], [-np.cos(t), 0, np.sin(t)]] for t in half]
    path = np.array([*first, *second])
    assert np.allclose(path[0], start)
    assert np.allclose(path[-1], start[::-1])
    assert np.linalg.svd(path, compute_uv=False)[:, 1].min() > 0.99
    assert np.linalg.norm(np.diff(path, axis=0), axis=(1, 2)).max() < 0.05
