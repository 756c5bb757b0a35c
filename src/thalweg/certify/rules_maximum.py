"""Maxima of Taylor models: of two, along a dimension, and max-pooling.

Max-pooling is a sequence of elementwise maxima of strided slices, first along one dimension, then
along the next.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.inner_products import entry
from thalweg.certify.loops import compiled, formula, larger, where
from thalweg.certify.origins import Origin
from thalweg.certify.rounding import TINY, UNIT, UNIT32, inflate
from thalweg.certify.rules_algebra import negate
from thalweg.certify.rules_shape import cat
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    parts_of,
    rule,
    structural,
)

_LEAST = 2.0**-120  # more than float32 loses to underflow
_LOWEST = -(2.0**1000)  # padding that never wins a maximum, and stays finite in a difference


@rule("maximum", "fmax")
def maximum(x: Any, y: Any) -> TaylorModel:
    """Larger of two numbers.

    max is 1-Lipschitz in the sup norm: max(p ± a, q ± b) = max(p, q) ± max(a, b), where the
    difference of the lines p and q has its sign certain or goes through a kink.
    """
    x, y = as_model(x), as_model(y)
    return _larger(_broadcast(x, y), _broadcast(y, x))[0]


def _larger(x: TaylorModel, y: TaylorModel) -> tuple[TaylorModel, _Choice]:
    """The larger of two numbers of one shape, and how it depends on either."""
    numbers = (*parts_of(x), *parts_of(y))
    if not x.value.is_cpu:
        value, slope, remainder, *choice = _maximum(*numbers)
        return TaylorModel(value, slope, remainder), _Choice(*choice)
    value, slope, remainder = (torch.empty(x.shape, dtype=torch.float64) for _ in range(3))
    choice = _Choice(torch.empty(x.shape), torch.empty(x.shape))
    _maxima(*(part.reshape(-1).numpy() for part in (*numbers, value, slope, remainder, *choice)))
    return TaylorModel(value, slope, remainder), choice


def _larger_of_pairs(x: TaylorModel, dim: int) -> tuple[TaylorModel, _Choice]:
    """The larger of every two neighbours along a dimension, without copies of them."""
    shape = [*x.shape[:dim], x.shape[dim] // 2, *x.shape[dim + 1 :]]
    value, slope, remainder = (torch.empty(shape, dtype=torch.float64) for _ in range(3))
    choice = _Choice(torch.empty(shape), torch.empty(shape))
    inner = math.prod(shape[dim + 1 :])
    loop, columns = (_maxima_beside, ()) if inner == 1 else (_maxima_below, (inner,))
    loop(
        *(part.reshape(-1, 2, *columns).numpy() for part in parts_of(x)),
        *(part.view(-1, *columns).numpy() for part in (value, slope, remainder, *choice)),
    )
    return TaylorModel(value, slope, remainder), choice


@formula
def _maximum(
    xv: Any, xs: Any, xr: Any, yv: Any, ys: Any, yr: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """The larger of `xv + xs s ± xr` and `yv + ys s ± yr`: line, remainder, m and fresh.

    With errors a and b it is the line plus `m a + (1 - m) b` plus something of at most `fresh`.
    """
    # Each difference is one operation, so that its error is relative to itself.
    gap, tilt, far = xv - yv, xs - ys, xr + yr
    half = abs(tilt)
    swing = (half + far) * (1 + 16 * UNIT)
    first = gap > 0
    # Twice the same line, as on the empty parts of an image: nothing is unsure but the remainder.
    same = (gap == 0) & (half == 0) & (xr <= yr)
    certain = (abs(gap) >= swing) | same
    # max(p, q) = q + relu(p - q): the chord of relu over the ends of the line p - q, m (p - q)
    # plus at most its height over the kink, and at least m (p - q).
    left, right = gap - half, gap + half
    ratio = right / (2 * half)
    inside = where(ratio > 1, 1.0, where(ratio < 0, 0.0, ratio))
    m = where(ratio == ratio, inside, 0.5)
    height = 0.5 * larger(
        where(right < 0, 0.0, right) - m * right, where(left < 0, 0.0, left) - m * left
    )
    rounding = (abs(xv) + abs(yv) + abs(xs) + abs(ys)) * (16 * UNIT) + TINY
    noise = (larger(xr, yr) + height + rounding) * (1 + 16 * UNIT)
    # max(p + a, q + b) - q - b = relu(z) for z = p - q + (a - b), convex, at least m z, and at most
    # m z plus the larger of (1 - m) z and -m z at its ends.
    over = larger((1 - m) * (right + far), m * (far - left))
    fresh = larger(over - height, height) + rounding + far * (32 * UNIT)
    # Both are kept in float32: m is off by a roundoff of it.
    fresh = (fresh + far * UNIT32) * (1 + 4 * UNIT32) + _LEAST
    return (
        where(certain, where(first, xv, yv), yv + m * gap + height),
        where(certain, where(first, xs, ys), ys + m * tilt),
        where(certain, where(first, xr, yr), noise),
        where(certain, where(first, 1.0, 0.0), m),
        where(certain, where(same, swing * (1 + 4 * UNIT32) + _LEAST, 0.0), fresh),
    )


@compiled()
def _maxima(
    xv: Any, xs: Any, xr: Any, yv: Any, ys: Any, yr: Any,
    value: Any, slope: Any, remainder: Any, share: Any, fresh: Any,
) -> None:  # fmt: skip
    for i in range(value.size):
        value[i], slope[i], remainder[i], share[i], fresh[i] = _maximum(
            xv[i], xs[i], xr[i], yv[i], ys[i], yr[i]
        )


@compiled()
def _maxima_beside(
    v: Any, s: Any, r: Any, value: Any, slope: Any, remainder: Any, share: Any, fresh: Any
) -> None:
    for i in range(value.size):
        value[i], slope[i], remainder[i], share[i], fresh[i] = _maximum(
            v[i, 0], s[i, 0], r[i, 0], v[i, 1], s[i, 1], r[i, 1]
        )


@compiled()
def _maxima_below(
    v: Any, s: Any, r: Any, value: Any, slope: Any, remainder: Any, share: Any, fresh: Any
) -> None:
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            value[i, j], slope[i, j], remainder[i, j], share[i, j], fresh[i, j] = _maximum(
                v[i, 0, j], s[i, 0, j], r[i, 0, j], v[i, 1, j], s[i, 1, j], r[i, 1, j]
            )


class _Choice(NamedTuple):
    """How the larger of two numbers depends on their errors a and b: m a + (1 - m) b ± fresh.

    Attributes:
        shares: m, one or zero where the larger is certain; float32 on the CPU.
        added: fresh, zero where the larger is certain and the lines are not the same.
    """

    shares: Tensor
    added: Tensor


def _broadcast(x: TaylorModel, y: TaylorModel) -> TaylorModel:
    shape = torch.broadcast_shapes(x.value.shape, y.value.shape)
    return x if x.value.shape == shape else structural(lambda part: part.expand(shape), x)


@rule("minimum", "fmin")
def minimum(x: Any, y: Any) -> TaylorModel:
    """Smaller of two numbers."""
    return negate(maximum(negate(x), negate(y)))


def largest_along(x: TaylorModel, dim: int, keepdim: bool = False) -> TaylorModel:
    """Maximum along one dimension, by halving."""
    while (size := x.value.shape[dim]) > 1:
        half = size // 2
        left = structural(lambda part, half=half: part.narrow(dim, 0, half), x)
        right = structural(lambda part, half=half: part.narrow(dim, half, half), x)
        joined = maximum(left, right)
        if size % 2:
            rest = structural(lambda part, size=size: part.narrow(dim, size - 1, 1), x)
            joined = cat([joined, rest], dim)
        x = joined
    return x if keepdim else structural(lambda part: part.squeeze(dim), x)


@rule("max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices",
      "max_pool2d_with_indices", "max_pool3d_with_indices")  # fmt: skip
def max_pool(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> TaylorModel:  # fmt: skip
    """Max-pooling over the last dimensions, as many as there are entries in the kernel."""
    x = as_model(input)
    spatial = x.value.ndim - 2 if not isinstance(kernel_size, tuple | list) else len(kernel_size)
    if return_indices or (isinstance(kernel_size, int) and x.value.ndim not in {3, 4, 5}):
        raise UnsupportedOperation("max_pool", "indices, or an input without batch and channels")
    stride = kernel_size if stride is None or stride == [] else stride
    for i in range(spatial):
        k, s, p, d = (entry(v, i) for v in (kernel_size, stride, padding, dilation))
        x = _pool_along(x, x.value.ndim - spatial + i, k, s, p, d, ceil_mode)
    return x


def _pool_along(
    x: TaylorModel, dim: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool
) -> TaylorModel:
    if (kernel, stride, padding) == (1, 1, 0):
        return x
    size = x.value.shape[dim]
    span = dilation * (kernel - 1) + 1
    steps = (size + 2 * padding - span) / stride
    count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    missing = max(0, (count - 1) * stride + span - size - padding)
    if padding or missing:
        trailing = [0, 0] * (x.value.ndim - 1 - dim)
        sides = [*trailing, padding, missing]
        x = TaylorModel(
            F.pad(x.value, sides, value=_LOWEST),
            None if x.slope is None else F.pad(x.slope, sides),
            None if x.remainder is None else F.pad(x.remainder, sides),
        )
    tiles = kernel == stride and dilation == 1 and size == count * kernel and dim > 0
    if tiles and kernel == 2 and x.value.is_cpu:
        largest, choice = _larger_of_pairs(x, dim)
        choices = [choice]
    else:
        largest, *others = _windows(x, dim, kernel, stride, dilation, count)
        choices = []
        for piece in others:
            largest, choice = _larger(largest, piece)
            choices.append(choice)
    if tiles and choices and x.origin is not None and x.remainder is not None:
        largest.origin = _pool_origin(x, x.remainder, choices, dim)
    return largest


def _windows(
    x: TaylorModel, dim: int, kernel: int, stride: int, dilation: int, count: int
) -> list[TaylorModel]:
    """The first numbers of all windows along a dimension, the second ones, and so on."""
    pieces = []
    for offset in range(kernel):
        start = offset * dilation
        window = slice(start, start + (count - 1) * stride + 1, stride)
        index = (slice(None),) * dim + (window,)
        pieces.append(structural(lambda part, index=index: part[index], x))
    return pieces


def _pool_origin(x: TaylorModel, noise: Tensor, choices: list[_Choice], dim: int) -> Origin:
    """An error of the maximum over a window is a mean of the errors in it, plus what is fresh."""

    def weights_of(owner: Tensor) -> tuple[Tensor, Tensor]:
        # e = m e' + (1 - m) e'' ± fresh, one element of the window after the other.
        weights: list[Tensor] = []
        fresh: Tensor | None = None
        for shares, added in choices:
            m = shares[owner].double()
            weights = [m, 1 - m] if not weights else [*(m * other for other in weights), 1 - m]
            fresh = added[owner] if fresh is None else m * fresh + added[owner]
        assert fresh is not None
        return torch.stack(weights, dim + 1), fresh

    def fresh_of(owner: Tensor) -> Tensor:
        weights, fresh = weights_of(owner)
        # Factors and their products are rounded: as many roundoffs of the noise.
        inherited = (weights * noise[owner].reshape(weights.shape)).sum(dim + 1)
        terms = weights.shape[dim + 1]
        return inflate(fresh + inherited * (16 * terms * UNIT), 8 * terms)

    def pull(g: Tensor, owner: Tensor) -> Tensor:
        parts = g.unsqueeze(dim + 1) * weights_of(owner)[0]
        return parts.reshape(len(g), *noise.shape[1:])

    return Origin(noise, x.origin, pull, fresh_of, 0.0)


class NoIndices:
    """Stands where torch returns indices of maxima, which may change along the segment."""

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedOperation("max", "indices of a maximum")

    def __eq__(self, other: object) -> bool:
        raise UnsupportedOperation("max", "indices of a maximum")

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Extremum(NamedTuple):
    """What ``torch.max(x, dim)`` returns, without indices that could be used."""

    values: TaylorModel
    indices: NoIndices


@rule("amax")
def amax(x: Any, dim: Any = (), keepdim: bool = False) -> TaylorModel:
    """Maximum along some dimensions."""
    x = as_model(x)
    dims: Any = [dim] if isinstance(dim, int) else list(dim) or range(x.value.ndim)
    for d in sorted((d % x.value.ndim for d in dims), reverse=True):
        x = largest_along(x, d, keepdim)
    return x


@rule("amin")
def amin(x: Any, dim: Any = (), keepdim: bool = False) -> TaylorModel:
    """Minimum along some dimensions."""
    return negate(amax(negate(x), dim, keepdim))


@rule("max")
def max_rule(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """``torch.max`` in its three forms."""
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        return maximum(x, other)
    if dim is None:
        return amax(x)
    return Extremum(amax(x, dim, keepdim), NoIndices())


@rule("min")
def min_rule(x: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """``torch.min`` in its three forms."""
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        return minimum(x, other)
    if dim is None:
        return amin(x)
    return Extremum(amin(x, dim, keepdim), NoIndices())
