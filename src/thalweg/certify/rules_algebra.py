"""Arithmetic of Taylor models: sums, products, quotients, powers.

A product of two models has a term in s². With |s| <= 1 it lies in [0, 1], so that q s² is centred
to q/2 ± |q|/2. Products of the remainders are bounded by absolute values.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.rounding import UNIT, charge, gamma, inflate
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    plus,
    rule,
    snapshot,
    widened,
)


@rule("add", "__add__", "__radd__")
def add(x: Any, y: Any, *, alpha: float = 1) -> TaylorModel:
    """Sum `x + alpha y`."""
    x, y = as_model(x), as_model(y if alpha == 1 else multiply(y, alpha))
    value = x.value + y.value
    slope = _fit(plus(x.slope, y.slope), value)
    remainder = _fit(plus(x.remainder, y.remainder), value)
    remainder = charge(remainder, 1, value, slope)
    if _infinite(x) or _infinite(y):  # an additive mask: minus infinity is exact
        remainder = torch.where(value.isinf(), 0.0, remainder)
    return TaylorModel(value, slope, remainder)


@rule("sub", "subtract", "__sub__")
def subtract(x: Any, y: Any, *, alpha: float = 1) -> TaylorModel:
    """Difference `x - alpha y`."""
    return add(x, negate(y if alpha == 1 else multiply(y, alpha)))


@rule("rsub", "__rsub__")
def subtract_from(x: Any, y: Any, alpha: float = 1) -> TaylorModel:
    """Difference `y - alpha x`."""
    return subtract(y, x, alpha=alpha)


@rule("neg", "negative", "__neg__")
def negate(x: Any) -> TaylorModel:
    """The negative: exact."""
    x = as_model(x)
    return TaylorModel(-x.value, None if x.slope is None else -x.slope, x.remainder)


@rule("mul", "multiply", "__mul__", "__rmul__")
def multiply(x: Any, y: Any) -> TaylorModel:
    """Elementwise product."""
    return _multiply(as_model(x), as_model(y))


def _multiply(x: TaylorModel, y: TaylorModel) -> TaylorModel:
    if is_constant(x):
        x, y = y, x
    if is_constant(y):
        value = x.value * y.value
        slope = None if x.slope is None else x.slope * y.value
        remainder = None if x.remainder is None else x.remainder * y.value.abs()
        return widened(value, slope, remainder)
    size_x, size_y = line_magnitude(x), line_magnitude(y)
    value = x.value * y.value
    slope = plus(
        None if y.slope is None else x.value * y.slope,
        None if x.slope is None else x.slope * y.value,
    )
    remainder = (size_x * size_y).mul_(4 * UNIT)
    if y.remainder is not None:
        remainder.add_(size_x * y.remainder)
        size_y = size_y + y.remainder
    if x.remainder is not None:
        remainder.add_(size_y * x.remainder)
    if x.slope is not None and y.slope is not None:
        square = (x.slope * y.slope).mul_(0.5)
        value.add_(square)
        remainder.add_(square.abs_())
    return TaylorModel(value, _fit(slope, value), inflate(remainder, 12))


@rule("div", "divide", "true_divide", "__truediv__")
def divide(x: Any, y: Any, *, rounding_mode: str | None = None) -> TaylorModel:
    """Quotient by a constant, or by a model that keeps away from zero."""
    if rounding_mode is not None:
        raise UnsupportedOperation("div", f"rounding_mode={rounding_mode}")
    if isinstance(y, TaylorModel):
        return multiply(x, reciprocal(y))
    x, divisor = as_model(x), as_model(y).value
    value = x.value / divisor
    slope = None if x.slope is None else x.slope / divisor
    remainder = None if x.remainder is None else x.remainder / divisor.abs()
    return widened(value, slope, remainder)


@rule("__rtruediv__", "__rdiv__")
def divide_into(x: Any, y: Any) -> TaylorModel:
    """Quotient `y / x`."""
    return divide(as_model(y), x)


@rule("reciprocal")
def reciprocal(x: Any) -> TaylorModel:
    """One over a model of one sign."""
    x = as_model(x)
    sign = x.value.sign()
    return multiply(power(multiply(x, sign), -1.0), sign)


@rule("pow", "__pow__")
def power(x: Any, exponent: Any) -> TaylorModel:
    """Constant power: any exponent where the base is positive, integers >= 0 anywhere."""
    from thalweg.certify.rules_activation import convex, real_power

    if isinstance(exponent, TaylorModel) or not isinstance(x, TaylorModel):
        raise UnsupportedOperation("pow", "an exponent that is not a number")
    p = float(exponent)
    if p < 0 or not p.is_integer():
        return real_power(x, p)
    n = int(p)
    if n == 0:
        return TaylorModel(torch.ones_like(x.value))
    if n == 1:
        return x
    if n == 2:
        return convex(x, torch.square, lambda y: 2 * y)
    half = power(x, n // 2)
    squared = power(half, 2)
    return squared if n % 2 == 0 else _multiply(squared, x)


@rule("square")
def square(x: Any) -> TaylorModel:
    """The square."""
    return power(x, 2)


@rule("sum")
def total(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> TaylorModel:
    """Sum over some dimensions."""
    x = as_model(x)
    dims = tuple(range(x.value.ndim)) if dim is None else dim
    if dims == ():
        return x
    terms = _count(x.value.shape, dims)

    def reduce(part: Tensor) -> Tensor:
        return part.sum(dims, keepdim)

    value = reduce(x.value)
    size = reduce(line_magnitude(x)).mul_(gamma(terms))
    if x.remainder is not None:
        size.add_(reduce(x.remainder))
    slope = None if x.slope is None else reduce(x.slope)
    return TaylorModel(value, slope, inflate(size, terms + 4))


@rule("mean")
def mean(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> TaylorModel:
    """Mean over some dimensions."""
    x = as_model(x)
    dims = tuple(range(x.value.ndim)) if dim is None else dim
    out = divide(total(x, dims, keepdim), _count(x.value.shape, dims))
    if out.value.ndim == 0:
        # A bound may look at the terms one by one; what happens to x later is not theirs.
        out.cache["mean of"] = snapshot(x)
    return out


@rule("var")
def variance(
    x: Any, dim: Any = None, unbiased: bool = True, keepdim: bool = False,
    *, correction: float | None = None,
) -> TaylorModel:  # fmt: skip
    """Variance over some dimensions."""
    x = as_model(x)
    dims = tuple(range(x.value.ndim)) if dim is None else dim
    freedom = _count(x.value.shape, dims) - (int(unbiased) if correction is None else correction)
    return divide(total(square(subtract(x, mean(x, dims, True))), dims, keepdim), freedom)


@rule("cumsum")
def cumsum(x: Any, dim: int, *, dtype: Any = None) -> TaylorModel:
    """Cumulative sum."""
    x = as_model(x)
    terms = x.value.shape[dim]
    remainder = line_magnitude(x).cumsum(dim).mul_(gamma(terms))
    if x.remainder is not None:
        remainder.add_(x.remainder.cumsum(dim))
    slope = None if x.slope is None else x.slope.cumsum(dim)
    return TaylorModel(x.value.cumsum(dim), slope, inflate(remainder, terms + 4))


def line_magnitude(x: TaylorModel) -> Tensor:
    """|value| + |slope|, without the remainder: a new tensor."""
    size = x.value.abs()
    return size if x.slope is None else size.add_(x.slope.abs())


def is_constant(x: TaylorModel) -> bool:
    """Whether a model does not depend on s, and is exact."""
    return x.slope is None and x.remainder is None


def _infinite(x: TaylorModel) -> bool:
    return is_constant(x) and bool(x.value.isinf().any())


def _fit(part: Tensor | None, value: Tensor) -> Tensor | None:
    """Broadcast a part to the shape of the value."""
    if part is None or part.shape == value.shape:
        return part
    return part.expand(value.shape)


def _count(shape: torch.Size, dims: Any) -> int:
    dims = (dims,) if isinstance(dims, int) else tuple(dims) or tuple(range(len(shape)))
    return math.prod(shape[dim] for dim in dims)
