"""Rounding is part of the proof: against exact arithmetic there is no tolerance at all."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import pytest
import torch
from mpmath import mpf
from torch import nn
from torch.nn import functional as F

from tests.certify.taylor_problems import enclosed, flat, problem
from thalweg.certify.rounding import UNIT, gamma
from thalweg.certify.single import ends_will_do
from thalweg.certify.taylor import TaylorModel

mpmath.mp.dps = 60


def sigmoid(y: Any) -> Any:
    return 1 / (1 + mpmath.exp(-y))


def normal(y: Any) -> Any:
    return mpmath.erfc(-y / mpmath.sqrt(2)) / 2


EXACT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], bool]] = {
    "relu": (torch.relu, lambda y: max(y, mpf(0)), False),
    "leaky_relu": (lambda y: F.leaky_relu(y, 0.1), lambda y: y if y > 0 else mpf(0.1) * y, False),
    "abs": (torch.abs, abs, False),
    "square": (torch.square, lambda y: y * y, False),
    "cube": (lambda y: y**3, lambda y: y**3, False),
    "exp": (torch.exp, mpmath.exp, False),
    "expm1": (torch.expm1, mpmath.expm1, False),
    "sigmoid": (torch.sigmoid, sigmoid, False),
    "tanh": (torch.tanh, mpmath.tanh, False),
    "erf": (torch.erf, mpmath.erf, False),
    "softplus": (lambda y: F.softplus(y, threshold=100), lambda y: mpmath.log1p(mpmath.exp(y)), False),  # noqa: E501
    "gelu": (F.gelu, lambda y: y * normal(y), False),
    "silu": (F.silu, lambda y: y * sigmoid(y), False),
    "elu": (F.elu, lambda y: y if y > 0 else mpmath.expm1(y), False),
    "sin": (torch.sin, mpmath.sin, False),
    "cos": (torch.cos, mpmath.cos, False),
    "log": (torch.log, mpmath.log, True),
    "sqrt": (torch.sqrt, mpmath.sqrt, True),
    "rsqrt": (torch.rsqrt, lambda y: 1 / mpmath.sqrt(y), True),
    "reciprocal": (torch.reciprocal, lambda y: 1 / y, True),
    "power": (lambda y: y**-0.75, lambda y: y ** mpf(-0.75), True),
}  # fmt: skip


def contains(model: Any, index: int, s: Any, truth: Any) -> bool:
    parts = (model.value, model.slope, model.remainder)
    value, slope, remainder = (
        mpf(0) if part is None else mpf(float(part.reshape(-1)[index])) for part in parts
    )
    return abs(truth - value - slope * s) <= remainder


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("scale", [1e-14, 1e-6, 0.3, 5.0])
def test_elementwise_rules_against_exact_values(name: str, scale: float) -> None:
    ours, exact, positive = EXACT[name]
    generator = torch.Generator().manual_seed(3)
    value = torch.randn(24, generator=generator, dtype=torch.float64) * 4
    slope = torch.randn(24, generator=generator, dtype=torch.float64) * scale
    noise = torch.rand(24, generator=generator, dtype=torch.float64) * scale
    noise[::2] = 0
    if positive:
        value = value.abs() + 0.1
        slope, noise = slope * 0.3 * value / (1 + scale), noise * 0.3 * value / (1 + scale)
    model = ours(TaylorModel(value, slope, noise))
    for index in range(len(value)):
        for s in (mpf(-1), mpf(-0.75), mpf(0), mpf(0.375), mpf(1)):
            for e in (-1, 0, 1):
                y = (
                    mpf(float(value[index])) + mpf(float(slope[index])) * s
                    + e * mpf(float(noise[index]))
                )  # fmt: skip
                if not (positive and y <= 0):
                    assert contains(model, index, s, exact(y)), (name, index, s, e)


def test_at_a_point_only_rounding_is_left_and_it_suffices() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(4, 6)
    made = problem(model, x, torch.tensor([0, 1, 2, 0]))
    made.inputs = (x.double(),)
    center = flat(model)
    result = enclosed(made, center, torch.zeros_like(center), 0.0)
    weights = [p.detach().tolist() for p in model.parameters()]
    for n, row in enumerate(made.inputs[0].tolist()):
        hidden = [mpf(v) for v in row]
        for layer, (w, b) in enumerate(zip(weights[::2], weights[1::2], strict=True)):
            hidden = [
                sum((mpf(a) * z for a, z in zip(line, hidden, strict=True)), mpf(c))
                for line, c in zip(w, b, strict=True)
            ]
            if layer < 2:
                function = mpmath.tanh if layer == 0 else lambda y: max(y, mpf(0))
                hidden = [function(y) for y in hidden]
        for j, truth in enumerate(hidden):
            assert contains(result, 3 * n + j, mpf(0), truth)
    assert result.remainder is not None
    assert float(result.remainder.max()) < 1e-11


def test_products_of_rationals_are_enclosed() -> None:
    torch.manual_seed(1)
    a, b = (
        TaylorModel(
            torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64) * 0.1,
            torch.rand(3, 3, dtype=torch.float64) * 1e-16,
        )
        for _ in range(2)
    )  # fmt: skip
    product, total = a @ b, (a * b + a - b).sum()

    def at(model: TaylorModel, i: int, j: int, s: Fraction) -> Fraction:
        parts = [p[i, j] for p in (model.value, model.slope, model.remainder) if p is not None]
        value, slope, noise = (Fraction(float(p)) for p in parts)
        return value + slope * s + noise

    for s in (Fraction(-1), Fraction(1, 3), Fraction(1)):
        for i in range(3):
            for j in range(3):
                truth = sum((at(a, i, k, s) * at(b, k, j, s) for k in range(3)), Fraction(0))
                assert contains(product, 3 * i + j, mpf(s.numerator) / s.denominator,
                                mpf(truth.numerator) / truth.denominator)  # fmt: skip
        pairs = [(at(a, i, j, s), at(b, i, j, s)) for i in range(3) for j in range(3)]
        truth = sum((x * y + x - y for x, y in pairs), Fraction(0))
        assert contains(total, 0, mpf(s.numerator) / s.denominator,
                        mpf(truth.numerator) / truth.denominator)  # fmt: skip


def test_gamma_is_not_below_its_definition() -> None:
    for n in (1, 3, 800, 10**6):
        exact = Fraction(n) * Fraction(UNIT) / (1 - Fraction(n) * Fraction(UNIT))
        assert Fraction(gamma(n)) >= exact


def test_single_precision_convolution_is_charged() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1))
    x = torch.randn(2, 1, 12, 12)
    made = problem(model, x, torch.zeros(2))
    made.inputs = (x.double(),)
    center = flat(model)
    direction = torch.randn_like(center)
    for halfwidth in (1e-9, 1e-6, 1e-3, 1e-1):
        result = enclosed(made, center, direction, halfwidth)
        assert result.slope is not None
        assert result.remainder is not None
        for s in (-1.0, -0.5, 0.25, 1.0):
            theta = center + s * halfwidth * direction
            truth = torch.func.functional_call(
                made.model, made.layout.unflatten(theta), made.inputs
            ).detach()
            distance = (truth - result.value - result.slope * s).abs()
            assert bool((distance <= result.remainder + 1e-13).all())


def test_lines_come_from_float32_values_at_their_ends_on_wide_pieces_alone() -> None:
    torch.manual_seed(0)
    weight, tilt = torch.randn(2, 16, 800).double()
    x, slope = torch.randn(2, 5, 800).double()

    def will_do(width: float, noise: float = 0.0) -> bool:
        w = TaylorModel(weight, width * tilt)
        return ends_will_do((x, width * slope, torch.full_like(x, noise)), w, 128)

    assert will_do(0.1)
    assert not will_do(1e-3)
    assert will_do(1e-3, noise=1e-2)  # what is unsure already hides the rounding
