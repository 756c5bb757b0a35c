"""Smooth activations that are neither convex nor concave: tanh, sigmoid, gelu, silu, ...

Developed at the centre v of the argument, f(y) = f(v) + f'(v)(y - v) + f''(ξ)(y - v)²/2, with f''
bounded over the range [l, u] of the argument. Where that range is wide, the band between two
parallel lines through (l, f(l)) and (u, f(u)), of slope m <= min f', is often narrower:
f(y) - m y does not decrease. Elementwise the narrower of the two is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.ranges import bounds, reach
from thalweg.certify.rounding import ULTIMATE, UNIT, inflate
from thalweg.certify.rules_activation import clamp
from thalweg.certify.rules_algebra import add, divide, multiply, power
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Smooth:
    """A smooth function with what its bound needs.

    Attributes:
        function: f, computed with an error of at most 16 u (|f| + 1).
        first: f', computed with an error of at most 16 u (|f'| + 1).
        second: f'', with an error far below ``ULTIMATE``.
        first_extrema: all critical points of f', where its least value on a range may lie.
        second_extrema: all critical points of f'', where its extreme values may lie; a small error
            of theirs changes f'' by its square only.
    """

    function: Function
    first: Function
    second: Function
    first_extrema: tuple[float, ...]
    second_extrema: tuple[float, ...]


def smooth(x: TaylorModel, family: Smooth) -> TaylorModel:
    """Apply a smooth function elementwise."""
    distance = reach(x)
    lower, upper = bounds(x)
    noise = torch.zeros_like(x.value) if x.remainder is None else x.remainder
    slope = torch.zeros_like(x.value) if x.slope is None else x.slope

    # Development at the centre.
    value, gradient = family.function(x.value), family.first(x.value)
    least, most = value_range(family.second, lower, upper, family.second_extrema)
    squared = distance.square()
    down, up = least.clamp(max=0) * squared * 0.5, most.clamp(min=0) * squared * 0.5
    taylor_value = value + (up + down) * 0.5
    taylor_band = gradient.abs() * noise + (up - down) * 0.5

    # Parallel lines through the ends.
    slant, _ = value_range(family.first, lower, upper, family.first_extrema)
    bottom = family.function(lower) - slant * lower
    top = family.function(upper) - slant * upper
    lines_value = slant * x.value + (top + bottom) * 0.5
    lines_band = slant.abs() * noise + (top - bottom).abs() * 0.5

    better = lines_band < taylor_band
    factor = torch.where(better, slant, gradient)
    band = torch.where(better, lines_band, taylor_band)
    error = (value.abs() + top.abs() + bottom.abs() + 1).mul_(32 * UNIT)
    error = error + (factor.abs() + 1) * (x.value.abs() + distance) * (32 * UNIT)
    return TaylorModel(
        torch.where(better, lines_value, taylor_value), factor * slope, inflate(band + error, 32)
    )


def value_range(
    function: Function, lower: Tensor, upper: Tensor, extrema: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Least and largest value over an interval of a function with known critical points.

    Args:
        function: computed with an error far below ``ULTIMATE``, relative to 1 or to its value.
        lower: ends on the left.
        upper: ends on the right, of the same shape.
        extrema: all points where the derivative may vanish.

    Returns:
        Lower and upper bounds of the values, margin included.
    """
    left, right = function(lower), function(upper)
    least, most = torch.minimum(left, right), torch.maximum(left, right)
    for point in extrema:
        inside = (lower <= point + ULTIMATE) & (upper >= point - ULTIMATE)
        at = function(torch.tensor(point, dtype=lower.dtype, device=lower.device))
        least = torch.where(inside, torch.minimum(least, at), least)
        most = torch.where(inside, torch.maximum(most, at), most)
    margin = torch.maximum(least.abs(), most.abs()).add(1.0).mul(ULTIMATE)
    return least - margin, most + margin


def _logistic(y: Tensor) -> Tensor:
    s = torch.sigmoid(y)
    return s * (1 - s)


def _logistic_second(y: Tensor) -> Tensor:
    s = torch.sigmoid(y)
    return s * (1 - s) * (1 - 2 * s)


def _tanh_second(y: Tensor) -> Tensor:
    t = torch.tanh(y)
    return -2 * t * (1 - t * t)


def _density(y: Tensor) -> Tensor:
    return torch.exp(-0.5 * y * y) * (1 / math.sqrt(2 * math.pi))


def _normal(y: Tensor) -> Tensor:
    return 0.5 * torch.erfc(y * -math.sqrt(0.5))


def _silu_first(y: Tensor) -> Tensor:
    s = torch.sigmoid(y)
    return s * (1 + y * (1 - s))


def _silu_second(y: Tensor) -> Tensor:
    s = torch.sigmoid(y)
    return s * (1 - s) * (2 + y * (1 - 2 * s))


def _gelu_first(y: Tensor) -> Tensor:
    return _normal(y) + y * _density(y)


# Inflection of the logistic's derivative: s = (3 ± sqrt 3)/6, y = ± log(2 + sqrt 3).
_LOGISTIC = math.log(2 + math.sqrt(3))
# silu'' = 0 and silu''' = 0, from 30 digits.
_SILU_FIRST = 2.39935728051546767
_SILU_SECOND = 3.43584099353511069

SIGMOID = Smooth(torch.sigmoid, _logistic, _logistic_second, (0.0,), (-_LOGISTIC, _LOGISTIC))
TANH = Smooth(
    torch.tanh, lambda y: 1 - torch.tanh(y) ** 2, _tanh_second,
    (0.0,), (-_LOGISTIC / 2, _LOGISTIC / 2),
)  # fmt: skip
SILU = Smooth(
    lambda y: y * torch.sigmoid(y), _silu_first, _silu_second,
    (-_SILU_FIRST, _SILU_FIRST), (-_SILU_SECOND, 0.0, _SILU_SECOND),
)  # fmt: skip
# gelu'' = (2 - y²) φ(y), gelu''' = y (y² - 4) φ(y).
GELU = Smooth(
    lambda y: y * _normal(y), _gelu_first, lambda y: (2 - y * y) * _density(y),
    (-math.sqrt(2), math.sqrt(2)), (-2.0, 0.0, 2.0),
)  # fmt: skip
# erf'' = -4 y exp(-y²) / sqrt(π), largest at y = ± 1/sqrt 2.
ERF = Smooth(
    torch.erf, lambda y: torch.exp(-y * y) * (2 / math.sqrt(math.pi)),
    lambda y: -4 * y * torch.exp(-y * y) / math.sqrt(math.pi),
    (0.0,), (-math.sqrt(0.5), math.sqrt(0.5)),
)  # fmt: skip
# softsign'' jumps from 2 to -2 at zero; Taylor's formula holds for a Lipschitz derivative.
SOFTSIGN = Smooth(
    lambda y: y / (1 + y.abs()), lambda y: (1 + y.abs()) ** -2,
    lambda y: -2 * y.sign() / (1 + y.abs()) ** 3, (0.0,), (-1e-300, 1e-300),
)  # fmt: skip


@rule("sigmoid", "expit", "special_expit")
def sigmoid(x: Any) -> TaylorModel:
    """1 / (1 + exp(-y))."""
    return smooth(as_model(x), SIGMOID)


@rule("tanh")
def tanh(x: Any) -> TaylorModel:
    """Hyperbolic tangent."""
    return smooth(as_model(x), TANH)


@rule("erf")
def erf(x: Any) -> TaylorModel:
    """Error function."""
    return smooth(as_model(x), ERF)


@rule("silu")
def silu(x: Any) -> TaylorModel:
    """y sigmoid(y)."""
    return smooth(as_model(x), SILU)


@rule("gelu")
def gelu(x: Any, approximate: str = "none") -> TaylorModel:
    """y Φ(y), or its approximation by tanh (Hendrycks & Gimpel 2016)."""
    x = as_model(x)
    if approximate == "none":
        return smooth(x, GELU)
    if approximate != "tanh":
        raise UnsupportedOperation("gelu", f"approximate={approximate}")
    inner = multiply(add(x, multiply(power(x, 3), 0.044715)), math.sqrt(2 / math.pi))
    return multiply(multiply(x, 0.5), add(tanh(inner), 1.0))


@rule("sin")
def sine(x: Any) -> TaylorModel:
    """Sine: its derivatives are bounded by 1."""
    return _wave(as_model(x), torch.sin, torch.cos)


@rule("cos")
def cosine(x: Any) -> TaylorModel:
    """Cosine."""
    return _wave(as_model(x), torch.cos, lambda y: -torch.sin(y))


def _wave(x: TaylorModel, function: Function, first: Function) -> TaylorModel:
    distance = reach(x)
    noise = torch.zeros_like(x.value) if x.remainder is None else x.remainder
    gradient = first(x.value)
    band = gradient.abs() * noise + distance.square() * 0.5 + (1 + distance) * (32 * UNIT)
    slope = None if x.slope is None else gradient * x.slope
    return TaylorModel(function(x.value), slope, inflate(band, 16))


@rule("mish")
def mish(x: Any) -> TaylorModel:
    """y tanh(softplus(y))."""
    from thalweg.certify.rules_activation import softplus

    return multiply(x, tanh(softplus(x)))


@rule("hardsigmoid")
def hardsigmoid(x: Any) -> TaylorModel:
    """min(max(y + 3, 0), 6) / 6."""
    return divide(clamp(add(x, 3.0), 0.0, 6.0), 6.0)


@rule("hardswish")
def hardswish(x: Any) -> TaylorModel:
    """y min(max(y + 3, 0), 6) / 6."""
    return multiply(x, hardsigmoid(x))


@rule("softsign")
def softsign(x: Any) -> TaylorModel:
    """y / (1 + |y|)."""
    return smooth(as_model(x), SOFTSIGN)
