"""The exact maximum along a segment, against scans, optimisers and rational arithmetic."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg import Criterion, InputError, Objective
from thalweg.certify.exact import exact_maximum
from thalweg.certify.rational import exact
from thalweg.certify.shallow import Shallow


def network(inputs: int, units: int, outputs: int, *biases: bool) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, units, biases[0]), nn.ReLU(), nn.Linear(units, outputs, biases[1])
    )


def random_problem(seed: int) -> tuple[Objective, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        n = int(rng.integers(1, 12))
        d, m, q = (int(k) for k in rng.integers(1, 6, 3))
        model = network(d, m, q, *(bool(k) for k in rng.integers(0, 2, 2)))
        data = torch.randn(n, d), torch.randn(n, q)
        made = Objective(model, F.mse_loss, train=data, strategy="loop")
        a, b = torch.randn(2, made.layout.size)
    return made, a, b


def values(made: Objective, a: Tensor, b: Tensor, t: Any) -> np.ndarray:
    """The criterion along the segment, by plain numpy in float64."""
    shallow = Shallow.of(made)
    ends = [shallow.weights(theta.double()) for theta in (a, b)]

    def at(name: str) -> Any:
        first, second = (getattr(w, name) for w in ends)
        if first is None:
            return 0.0
        s = np.asarray(t).reshape(-1, *[1] * first.ndim)
        return (1 - s) * first + s * second

    def row(bias: Any) -> Any:
        return bias if np.isscalar(bias) else bias[:, None]

    hidden = np.maximum(shallow.inputs @ at("w1").swapaxes(1, 2) + row(at("b1")), 0)
    residual = hidden @ at("w2").swapaxes(1, 2) + row(at("b2")) - shallow.target
    return (residual**2).mean(axis=(1, 2))


@pytest.mark.parametrize("seed", range(150))
def test_equals_a_dense_scan_refined_by_an_optimizer(seed: int) -> None:
    made, a, b = random_problem(seed)
    found = exact_maximum(made, a, b)
    t = np.linspace(0, 1, 20_001)
    scan = np.concatenate([values(made, a, b, part) for part in np.array_split(t, 20)])
    top = int(scan.argmax())
    near = np.linspace(t[max(0, top - 1)], t[min(20_000, top + 1)], 501)
    nearest = int(values(made, a, b, near).argmax())
    centre, step = near[nearest], near[1] - near[0]
    refined: Any = minimize_scalar(  # around zero, where its steps can become small
        lambda s: -values(made, a, b, [min(1.0, max(0.0, centre + s))])[0],
        bounds=(-step, step),
        method="bounded",
        options={"xatol": 1e-14},
    )
    best = max(scan[top], -refined.fun)
    assert best <= found.bound
    assert found.maximum == pytest.approx(best, rel=1e-9)
    assert values(made, a, b, [found.argmax])[0] == pytest.approx(found.maximum, rel=1e-12)
    assert found.rounding < 1e-8 * found.maximum
    assert found.maximum <= found.bound


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.booleans())
def test_no_value_exceeds_the_bound_at_any_scale(
    seed: int, exponent: float, integers: bool
) -> None:
    made, a, b = random_problem(seed)
    if integers:  # breakpoints that coincide, units that are zero at an end
        a, b = a.round(), b.round()
    a, b = a * 10**exponent, b * 10**exponent
    found = exact_maximum(made, a, b)
    assert values(made, a, b, np.linspace(0, 1, 1001)).max() <= found.bound
    assert abs(values(made, a, b, [found.argmax])[0] - found.maximum) <= found.rounding
    back = exact_maximum(made, b, a)
    assert back.maximum == pytest.approx(found.maximum, rel=1e-9, abs=1e-300)


def exact_value(made: Objective, a: Tensor, b: Tensor, t: Fraction) -> Fraction:
    """The criterion in rational arithmetic, for networks with both biases."""
    shallow = Shallow.of(made)
    ends = [shallow.weights(theta.double()) for theta in (a, b)]

    def at(name: str) -> list[list[Fraction]]:
        first, second = (exact(np.atleast_2d(getattr(w, name))) for w in ends)
        return [
            [(1 - t) * p + t * q for p, q in zip(*rows, strict=True)]
            for rows in zip(first, second, strict=True)
        ]

    def affine(w: list[list[Fraction]], x: list[Fraction], bias: list[Fraction]) -> list[Fraction]:
        return [
            sum((p * q for p, q in zip(row, x, strict=True)), c)
            for row, c in zip(w, bias, strict=True)
        ]

    total = Fraction(0)
    for x, y in zip(exact(shallow.inputs), exact(shallow.target), strict=True):
        hidden = [max(z, Fraction(0)) for z in affine(at("w1"), x, at("b1")[0])]
        output = affine(at("w2"), hidden, at("b2")[0])
        total += sum((p - q) ** 2 for p, q in zip(output, y, strict=True))
    return total / shallow.target.size


@pytest.mark.parametrize("seed", range(20))
def test_the_rounding_covers_rational_arithmetic(seed: int) -> None:
    torch.manual_seed(seed)
    data = torch.randn(4, 2), torch.randn(4, 1)
    made = Objective(network(2, 4, 1, True, True), F.mse_loss, train=data, strategy="loop")
    a, b = torch.randn(2, made.layout.size) * 10 ** (seed % 5 - 2)
    found = exact_maximum(made, a, b)
    there = exact_value(made, a, b, Fraction(found.argmax))
    assert abs(there - Fraction(found.maximum)) <= Fraction(found.rounding)
    for step in range(-3, 4):
        t = min(Fraction(1), max(Fraction(0), Fraction(found.argmax) + Fraction(step, 10**6)))
        assert exact_value(made, a, b, t) <= Fraction(found.bound)


def spike(width: float, at: float) -> tuple[Objective, Tensor, Tensor]:
    """A criterion that is zero along the segment but for a spike of height 1."""
    made = Objective(
        network(1, 3, 1, True, False),
        F.mse_loss,
        train=(torch.ones(2, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)),
    )
    knots = torch.tensor([at - width, at, at + width], dtype=torch.float64)
    heights = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64) / width
    zero = torch.zeros(3, dtype=torch.float64)
    return made, torch.cat([zero, -knots, heights]), torch.cat([zero, 1 - knots, heights])


def test_a_spike_between_the_points_of_a_grid_is_found() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        made, a, b = spike(5e-5, 0.31235)
    finally:
        torch.set_default_dtype(torch.float32)
    assert values(made, a, b, np.linspace(0, 1, 1001)).max() < 1e-12
    found = exact_maximum(made, a, b)
    assert found.maximum == pytest.approx(1, rel=1e-9)
    assert found.argmax == pytest.approx(0.31235, abs=1e-12)
    assert found.breakpoints == 6


def test_a_maximum_inside_a_piece_is_found() -> None:
    one = torch.ones(1, 1)
    made = Objective(network(1, 1, 1, False, False), F.mse_loss, train=(one, one * 0))
    found = exact_maximum(made, torch.tensor([0.3, 1.0]), torch.tensor([1.0, 0.2]))
    a, b, c, d = (float(torch.tensor(v)) for v in (0.3, 1.0, 1.0, 0.2))
    t = -(b * (c - a) + a * (d - b)) / (2 * (c - a) * (d - b))
    assert found.argmax == pytest.approx(t, abs=1e-6)
    assert found.maximum == pytest.approx(((a + t * (c - a)) * (b + t * (d - b))) ** 2, rel=1e-13)
    assert found.pieces < 200


def test_a_constant_criterion_ends_at_once() -> None:
    made, a, _ = random_problem(3)
    found = exact_maximum(made, a, a)
    assert found.breakpoints == 0
    assert found.pieces < 10
    assert found.maximum == pytest.approx(values(made, a, a, [0.5])[0], rel=1e-12)


def test_many_breakpoints_in_several_blocks() -> None:
    torch.manual_seed(0)
    data = torch.randn(4000, 3), torch.randn(4000, 2)
    made = Objective(network(3, 5, 2, True, True), F.mse_loss, train=data, strategy="loop")
    a, b = torch.randn(2, made.layout.size)
    found = exact_maximum(made, a, b)
    assert found.breakpoints > 2048 * 2
    scan = max(values(made, a, b, [t])[0] for t in np.linspace(0, 1, 201))
    assert scan <= found.bound
    assert values(made, a, b, [found.argmax])[0] == pytest.approx(found.maximum, rel=1e-11)
    assert found.rounding < 1e-8 * found.maximum


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.out = nn.Linear(4, 3), nn.Dropout(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(F.relu(self.hidden(torch.flatten(x, 1)))))


def test_spellings_of_the_class_are_recognised() -> None:
    data = torch.randn(5, 2, 2), torch.randn(5, 2)
    partial = functools.partial(F.mse_loss, reduction="none")
    for loss in (F.mse_loss, nn.MSELoss(), nn.MSELoss(reduction="none"), partial):
        made = Objective(Flat(), loss, train=data)
        a, b = torch.randn(2, made.layout.size)
        top = made.double().criterion_of(torch.stack([a, b]).double()).values.max()
        assert exact_maximum(made, a, b).bound >= float(top)


def test_a_frozen_layer_stays_where_it_is() -> None:
    model = network(2, 3, 1, True, True)
    model.get_submodule("0").requires_grad_(False)
    made = Objective(model, F.mse_loss, train=(torch.randn(5, 2), torch.randn(5, 1)))
    a, b = torch.randn(2, 4)
    found = exact_maximum(made, a, b)
    assert found.breakpoints == 0
    top = made.double().criterion_of(torch.stack([a, b]).double()).values.max()
    assert found.maximum == pytest.approx(float(top), rel=1e-12)  # convex in W2 and b2


@pytest.mark.parametrize(
    ("model", "loss", "options", "said"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)), F.mse_loss, {}, "Tanh"),
        (nn.Sequential(nn.Linear(2, 1)), F.mse_loss, {}, "got linear"),
        (network(2, 2, 1, True, True), F.l1_loss, {}, "l1_loss"),
        (network(2, 2, 1, True, True), F.mse_loss,
         {"criterion": Criterion("error_rate")}, "error_rate"),
    ],
)  # fmt: skip
def test_other_objectives_are_refused_by_name(
    model: nn.Module, loss: Any, options: dict[str, Any], said: str
) -> None:
    made = Objective(model, loss, train=(torch.randn(5, 2), torch.randn(5, 1)), **options)
    theta = torch.zeros(made.layout.size)
    with pytest.raises(InputError, match=f"one hidden relu layer.*{said}"):
        exact_maximum(made, theta, theta)


def test_a_residual_connection_is_refused() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.second(F.relu(self.first(x)))

    made = Objective(Residual(), F.mse_loss, train=(torch.randn(5, 2), torch.randn(5, 2)))
    theta = torch.zeros(made.layout.size)
    with pytest.raises(InputError, match="something else at 'add'"):
        exact_maximum(made, theta, theta)
