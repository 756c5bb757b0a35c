"""Activations with a kink, and convex ones: functions of one number, applied elementwise.

A function with one kink (relu, abs, ...) is exact where the sign of its argument is certain, and
else gets the band between its chord and a parallel line below. A convex function lies below the
chord of its ends and above its tangent. :mod:`thalweg.certify.rules_smooth` has the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.hinge import hinge
from thalweg.certify.ranges import bounds, reach
from thalweg.certify.rounding import ULTIMATE, UNIT, inflate
from thalweg.certify.rules_algebra import add, divide, multiply, negate, subtract
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule

Function = Callable[[Tensor], Tensor]


@rule("relu")
def relu(x: Any) -> TaylorModel:
    """max(y, 0)."""
    return hinge(as_model(x), 0.0, 1.0)


@rule("leaky_relu")
def leaky_relu(x: Any, negative_slope: float = 0.01) -> TaylorModel:
    """max(y, 0) + negative_slope min(y, 0)."""
    x = as_model(x)
    if negative_slope <= 1:
        return hinge(x, negative_slope, 1.0)
    return negate(hinge(negate(x), 1.0, negative_slope))


@rule("prelu")
def prelu(x: Any, weight: Any) -> TaylorModel:
    """max(y, 0) + weight min(y, 0), the weight a parameter for each channel."""
    x, weight = as_model(x), as_model(weight)
    if weight.value.numel() > 1 and x.value.ndim > 1:
        shape = [1, -1] + [1] * (x.value.ndim - 2)
        weight = weight.reshape(shape)
    return subtract(hinge(x, 0.0, 1.0), multiply(weight, hinge(negate(x), 0.0, 1.0)))


@rule("abs", "absolute", "__abs__")
def absolute(x: Any) -> TaylorModel:
    """|y|."""
    return hinge(as_model(x), -1.0, 1.0)


@rule("hardtanh", "clamp", "clip", "hardtanh_")
def clamp(x: Any, min: Any = None, max: Any = None, **names: Any) -> TaylorModel:
    """min(max(y, low), high)."""
    x = as_model(x)
    low, high = names.get("min_val", min), names.get("max_val", max)
    if names.get("min_val") is None and "max_val" in names:
        low = -1.0 if low is None else low
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        raise UnsupportedOperation("clamp", "bounds that are tensors")
    if low is not None:
        x = add(hinge(subtract(x, low), 0.0, 1.0), low)
    return x if high is None else subtract(high, hinge(subtract(high, x), 0.0, 1.0))


@rule("relu6")
def relu6(x: Any) -> TaylorModel:
    """min(max(y, 0), 6)."""
    return clamp(x, 0.0, 6.0)


@rule("threshold")
def threshold(x: Any, threshold: float, value: float) -> TaylorModel:
    """relu under its older name."""
    if threshold != 0 or value != 0:
        raise UnsupportedOperation("threshold", "other than relu")
    return relu(x)


def convex(
    x: TaylorModel,
    function: Function,
    derivative: Function,
    absolute: float = 0.0,
    scale: Function | None = None,
) -> TaylorModel:
    """A convex function, elementwise: below the chord of its ends, above its tangent.

    Args:
        x: argument.
        function: convex, and computed with an error of at most 16 u |f| + `absolute` u.
        derivative: any subgradient, computed with such an error as well.
        absolute: see `function`.
        scale: size to which the error of the function is relative, where it exceeds |f|.

    Returns:
        The model; not finite where the function is not defined.
    """
    half = torch.zeros_like(x.value) if x.slope is None else x.slope
    noise = torch.zeros_like(x.value) if x.remainder is None else x.remainder
    distance = reach(x)

    def above(end: Tensor) -> tuple[Tensor, Tensor]:
        # The arguments are rounded outward, so that the chord is above the function.
        slack = noise + 4 * UNIT * (x.value.abs() + distance)
        points = (end - slack, end + slack)
        values = [function(point) for point in points]
        sizes = values if scale is None else [scale(point) for point in points]
        top = torch.maximum(*values)
        return top, torch.maximum(*(size.abs() for size in sizes))

    (left, left_size), (right, right_size) = above(x.value - half), above(x.value + half)
    value, gradient = function(x.value), derivative(x.value)
    middle, slope = (right + left) * 0.5, (right - left) * 0.5
    bottom = value - gradient.abs() * noise - (gradient * half - slope).abs()
    error = (left_size + right_size + value.abs()).mul_(32 * UNIT).add_(4 * absolute * UNIT)
    if scale is not None:
        error = error + scale(x.value).abs() * (32 * UNIT)
    error = error + (gradient.abs() + absolute) * distance * (32 * UNIT)
    band = (middle - bottom).abs().mul_(0.5).add_(error)
    return TaylorModel((middle + bottom) * 0.5, slope, inflate(band, 32))


def concave(x: TaylorModel, function: Function, derivative: Function) -> TaylorModel:
    """A concave function: the negative of a convex one."""
    return negate(convex(x, lambda y: -function(y), lambda y: -derivative(y)))


@rule("exp")
def exponential(x: Any) -> TaylorModel:
    """exp(y)."""
    return convex(as_model(x), torch.exp, torch.exp)


@rule("log")
def logarithm(x: Any) -> TaylorModel:
    """log(y) for y > 0."""
    return concave(_positive(as_model(x)), torch.log, torch.reciprocal)


@rule("log1p")
def logarithm_plus_one(x: Any) -> TaylorModel:
    """log(1 + y) for y > -1."""
    return logarithm(add(x, 1.0))


@rule("expm1")
def exponential_minus_one(x: Any) -> TaylorModel:
    """exp(y) - 1."""
    return convex(as_model(x), torch.expm1, torch.exp)


def real_power(x: TaylorModel, exponent: float) -> TaylorModel:
    """Power `y^p` of a positive number, for any real p."""
    x = _positive(x)

    def function(y: Tensor) -> Tensor:
        return y.pow(exponent)

    def derivative(y: Tensor) -> Tensor:
        return exponent * y.pow(exponent) / y

    family = concave if 0 < exponent < 1 else convex
    return family(x, function, derivative)


@rule("sqrt")
def square_root(x: Any) -> TaylorModel:
    """Square root of a positive number."""
    return real_power(as_model(x), 0.5)


@rule("rsqrt")
def inverse_square_root(x: Any) -> TaylorModel:
    """One over the square root of a positive number."""
    return real_power(as_model(x), -0.5)


def _positive(x: TaylorModel) -> TaylorModel:
    """The same model, its remainder infinite where the number may be zero or negative."""
    lower, _ = bounds(x)
    if bool((lower > 0).all()):
        return x
    noise = torch.zeros_like(x.value) if x.remainder is None else x.remainder
    return TaylorModel(x.value, x.slope, torch.where(lower > 0, noise, math.inf))


@rule("softplus")
def softplus(x: Any, beta: float = 1, threshold: float = 20) -> TaylorModel:
    """log(1 + exp(beta y)) / beta; the linear branch of torch above `threshold` is included."""
    x = as_model(x) if beta == 1 else multiply(x, beta)
    out = convex(x, _softplus, torch.sigmoid, absolute=8.0)
    _, upper = bounds(x)
    if out.remainder is not None and bool((upper >= threshold).any()):
        jump = torch.where(upper < threshold, 0.0, math.exp(-threshold) * (1 + ULTIMATE))
        out = TaylorModel(out.value, out.slope, inflate(out.remainder + jump))
    return out if beta == 1 else divide(out, beta)


def _softplus(y: Tensor) -> Tensor:
    return y.clamp(min=0) + torch.log1p(torch.exp(-y.abs()))


@rule("logsigmoid", "log_sigmoid")
def logsigmoid(x: Any) -> TaylorModel:
    """log(1 / (1 + exp(-y)))."""
    return negate(convex(negate(x), _softplus, torch.sigmoid, absolute=8.0))


@rule("elu")
def elu(x: Any, alpha: float = 1.0) -> TaylorModel:
    """max(y, 0) + alpha (exp(min(y, 0)) - 1)."""
    x = as_model(x)
    if 0 <= alpha <= 1:
        return convex(
            x,
            lambda y: torch.where(y > 0, y, alpha * torch.expm1(y.clamp(max=0))),
            lambda y: torch.where(y > 0, 1.0, alpha * torch.exp(y.clamp(max=0))),
        )
    tail = exponential_minus_one(negate(hinge(negate(x), 0.0, 1.0)))
    return add(hinge(x, 0.0, 1.0), multiply(tail, alpha))


@rule("selu")
def selu(x: Any) -> TaylorModel:
    """The self-normalizing elu (Klambauer et al. 2017)."""
    return multiply(elu(x, 1.6732632423543772848170429916717), 1.0507009873554804934193349852946)
