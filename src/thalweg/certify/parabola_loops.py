"""Sums, products and functions of numbers of second order, each in one loop over its arguments.

A number is `value + slope s + curve s² ± noise`, with `fresh` the part of the noise that does not
come from the states before the step: see :mod:`thalweg.certify.parabola`. The five lie side by
side in a *block* `[5, ...]`. The last argument of each formula is more than what one operation
in the type of the numbers loses to underflow. What a loop computes in float64 of numbers in float32
is rounded less than what is charged here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.certify.loops import compiled, formula, where
from thalweg.certify.rounding import tiny, ultimate, unit


def sums(x: Tensor, y: Tensor) -> Tensor:
    """The block `[5, ...]` of the sum of two numbers, by their blocks."""
    return _of_two(_sum, _sum_loop, (2, 16), x, y, x.new_empty(x.shape))


def sums_of_gates(x: Tensor, y: Tensor) -> Tensor:
    """The same of several numbers, `[gates, 5, ...]`."""
    out = x.new_empty(x.shape)
    for one, other, found in zip(x, y, out, strict=True):
        _of_two(_sum, _sum_loop, (2, 16), one, other, found)
    return out


def products(x: Tensor, y: Tensor) -> Tensor:
    """The block `[5, ...]` of the product."""
    return _of_two(_product, _product_loop, (16, 32), x, y, x.new_empty(x.shape))


def sigmoids(x: Tensor) -> tuple[Tensor, Tensor]:
    """The block `[5, ...]` of 1 / (1 + exp(-x)), and its derivative at the value `[...]`."""
    return _of_one(torch.sigmoid, _sigmoid, _sigmoid_loop, x)


def tanhs(x: Tensor) -> tuple[Tensor, Tensor]:
    """The block `[5, ...]` of the hyperbolic tangent, and its derivative at the value `[...]`."""
    return _of_one(torch.tanh, _tanh, _tanh_loop, x)


def lay_affine(
    products: Tensor, absolute: Tensor, outer: tuple[Tensor, Tensor],
    bias: tuple[Tensor, Tensor, Tensor], charges: tuple[float, float, float], out: Tensor,
    start: int,
) -> None:  # fmt: skip
    """Write some rows of an affine map, by products of what it is applied to.

    Args:
        products: `[3, k, 2 gates m]`, of value, slope and curve with the weights at the centre,
            then with how they change.
        absolute: `[k, 2 gates m]`, of the noise with the absolute values of both, float32 or 64.
        outer: `[k]` and `[gates m]`, whose products bound what rounding does to the others.
        bias: `[gates m]` each, value, slope, and what is unsure of them.
        charges: what makes up for the rounding of noise; a factor of `absolute`, and something to
            be added to that.
        out: the block `[gates, 5, n, m]`.
        start: the first of the rows.
    """
    constants = _typed(out.dtype, *charges, tiny(out.dtype))
    if out.is_cpu:
        arrays = (products, absolute, *outer, *bias)
        _affine_loop(*(part.numpy() for part in arrays), *constants, start, out.numpy())
        return
    (p, q), (inherited, changed) = products.chunk(2, -1), absolute.chunk(2, -1)
    found = _shifted(*p, *q, inherited, changed, torch.outer(*outer), *bias, *constants)
    rows = out[:, :, start : start + len(absolute)]
    rows.copy_(torch.stack(found).unflatten(-1, (len(out), -1)).movedim(-2, 0))


def _of_two(
    rule: Any, loop: Any, roundings: tuple[int, int], x: Tensor, y: Tensor, out: Tensor
) -> Tensor:
    share, more = (count * unit(x.dtype) for count in roundings)
    constants = _typed(x.dtype, share, 1 + more, tiny(x.dtype))
    if x.is_cpu:
        loop(_flat(x), _flat(y), *constants, _flat(out))
        return out
    return torch.stack(rule(*x, *y, *constants), out=out)


def _of_one(function: Any, rule: Any, loop: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    constants = ultimate(x.dtype), unit(x.dtype), tiny(x.dtype)
    if not x.is_cpu:
        value = function(x[0])
        *rest, gradient = rule(value, *x[1:], *constants)
        return torch.stack([value, *rest]), gradient
    out, gradient = x.new_empty(x.shape), x.new_empty(x.shape[1:])
    function(x[0], out=out[0])
    loop(_flat(x), *constants, _flat(out), gradient.numpy().reshape(-1))
    return out, gradient


@functools.cache  # of some dozen calls: they are asked for at every step
def _typed(dtype: torch.dtype, *constants: float) -> tuple[Any, ...]:
    """Constants with which numbers of some type stay of that type in a loop."""
    return tuple(map(np.float32, constants)) if dtype == torch.float32 else constants


def _flat(block: Tensor) -> Any:
    """`[5, numbers]`, for loops."""
    return block.numpy().reshape(5, -1)


@formula
def _shifted(
    v: Any, a: Any, b: Any, dv: Any, da: Any, db: Any, inherited: Any, changed: Any, rounding: Any,
    bias: Any, tilt: Any, unsure: Any, grow: Any, factor: Any, least: Any, tiny: Any,
) -> tuple[Any, Any, Any, Any, Any]:  # fmt: skip
    """A sum of products: `d` stands before those with how the weights change, s times that."""
    fresh = (abs(db) + (changed * factor + least) + rounding + unsure) * grow + tiny
    noise = (inherited * factor + least + fresh) * grow + tiny
    return v + bias, a + dv + tilt, b + da, noise, fresh


@compiled()
def _affine_gate(
    products: Any, absolute: Any, columns: Any, rows: Any, bias: Any, tilt: Any, unsure: Any,
    grow: Any, factor: Any, least: Any, tiny: Any, start: Any, at: Any, beside: Any,
    out: Any,
) -> None:  # fmt: skip
    for i in range(len(absolute)):
        to = start + i
        for j in range(out.shape[2]):
            p, q = at + j, beside + j
            out[0, to, j], out[1, to, j], out[2, to, j], out[3, to, j], out[4, to, j] = _shifted(
                products[0, i, p], products[1, i, p], products[2, i, p],
                products[0, i, q], products[1, i, q], products[2, i, q],
                absolute[i, p], absolute[i, q], columns[i] * rows[p],
                bias[p], tilt[p], unsure[p], grow, factor, least, tiny,
            )  # fmt: skip


@compiled()
def _affine_loop(
    products: Any, absolute: Any, columns: Any, rows: Any, bias: Any, tilt: Any, unsure: Any,
    grow: Any, factor: Any, least: Any, tiny: Any, start: Any, out: Any,
) -> None:  # fmt: skip
    gates, _, _, m = out.shape
    for k in range(gates):
        _affine_gate(
            products, absolute, columns, rows, bias, tilt, unsure, grow, factor, least, tiny,
            start, k * m, (gates + k) * m, out[k],
        )  # fmt: skip


@formula
def _sum(
    v: Any, a: Any, b: Any, r: Any, f: Any, w: Any, c: Any, d: Any, q: Any, g: Any,
    share: Any, grow: Any, tiny: Any,
) -> tuple[Any, Any, Any, Any, Any]:  # fmt: skip
    """`(v + a s + b s² ± r) + (w + c s + d s² ± q)`, f and g the fresh parts of r and q.

    `share` of all sizes is charged for rounding; `grow` makes up for that of the noise itself.
    """
    value, slope, curve = v + w, a + c, b + d
    error = (abs(value) + abs(slope) + abs(curve)) * share
    return value, slope, curve, (r + q + error) * grow + tiny, (f + g + error) * grow + tiny


@compiled()
def _sum_loop(x: Any, y: Any, share: Any, grow: Any, tiny: Any, out: Any) -> None:
    for i in range(out.shape[1]):
        out[0, i], out[1, i], out[2, i], out[3, i], out[4, i] = _sum(
            x[0, i], x[1, i], x[2, i], x[3, i], x[4, i],
            y[0, i], y[1, i], y[2, i], y[3, i], y[4, i], share, grow, tiny,
        )  # fmt: skip


@formula
def _product(
    v: Any, a: Any, b: Any, r: Any, f: Any, w: Any, c: Any, d: Any, q: Any, g: Any,
    share: Any, grow: Any, tiny: Any,
) -> tuple[Any, Any, Any, Any, Any]:  # fmt: skip
    """`(v + a s + b s² ± r) (w + c s + d s² ± q)`, f and g the fresh parts of r and q.

    Terms in s³ and s⁴, and products of errors with what moves, become noise; |v| and |w| times the
    error of the other number are handed on.
    """
    sv, sa, sb, sw, sc, sd = abs(v), abs(a), abs(b), abs(w), abs(c), abs(d)
    x, y = sa + sb, sc + sd
    own = sa * sd + sb * y + r * y + q * (x + r) + (sv + x) * (sw + y) * share
    noise, fresh = own + sv * q + sw * r, own + sv * g + sw * f
    return v * w, v * c + a * w, v * d + a * c + b * w, noise * grow + tiny, fresh * grow + tiny


@compiled()
def _product_loop(x: Any, y: Any, share: Any, grow: Any, tiny: Any, out: Any) -> None:
    for i in range(out.shape[1]):
        out[0, i], out[1, i], out[2, i], out[3, i], out[4, i] = _product(
            x[0, i], x[1, i], x[2, i], x[3, i], x[4, i],
            y[0, i], y[1, i], y[2, i], y[3, i], y[4, i], share, grow, tiny,
        )  # fmt: skip


@formula
def _exponential(x: Any) -> Any:
    """At least eˣ for x >= 0, by at most a third of a percent for x <= .3: (1 − x/16)⁻¹⁶."""
    base = 1 / (1 - x / 16)
    square = base * base
    fourth = square * square
    eighth = fourth * fourth
    return where(x < 12, eighth * eighth, float("inf"))


@formula
def _bent(
    a: Any, b: Any, r: Any, f: Any, slope: Any, bend: Any,
    rate: Any, factor: Any, most: Any, generous: Any, u: Any, tiny: Any,
) -> tuple[Any, Any, Any, Any]:  # fmt: skip
    """A function of a number, without its value: Taylor's formula to second order, by its range.

    With δ = a s + b s² + e the terms in s and s² of `f'(v) δ + f''(v) δ²/2` are kept, the error is
    handed on by f'(v), all else is noise; so is `max |f'''| |δ|³/6`.

    Args:
        a: slope of the argument.
        b: its curve.
        r: its noise.
        f: the fresh part of that.
        slope: f'(v), positive, computed with an error of a few roundoffs of 1.
        bend: f''(v), likewise.
        rate: |f''| <= rate f', so that f' grows at most by e^(rate |δ|).
        factor: |f'''| is at most so many times f',
        most: and at most this.
        generous: a relative widening, see :func:`thalweg.certify.rounding.ultimate`.
        u: unit roundoff.
        tiny: for underflow.
    """
    sa, sb, size = abs(a), abs(b), abs(slope)
    move = sa + sb
    away = move + r
    steepest = _exponential(away * rate) * (slope + generous) * factor * (1 + generous)
    third = where(steepest < most, steepest, most)
    own = r * (r * 0.5 + move) + sb * (0.5 * sb + sa)
    own = own * (abs(bend) + generous) + third * away * away * away * (1 / 6)
    own = own + sa * sa * generous + away * (64 * u) + 64 * u
    grow = 1 + 48 * u
    return (
        slope * a,
        slope * b + 0.5 * bend * a * a,
        (own + size * r) * grow + tiny,
        (own + size * f) * grow + tiny,
    )


@formula
def _sigmoid(
    y: Any, a: Any, b: Any, r: Any, f: Any, generous: Any, u: Any, tiny: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """1 / (1 + exp(-v)), y its value: p = σ' in (0, 1/4], |σ'''| = p |1 − 6 p| <= min(p, 1/8).

    |p'| <= p. The last result is p.
    """
    p = y - y * y
    slope, curve, noise, fresh = _bent(
        a, b, r, f, p, p - 2 * y * p, 1.0, 1.0, 0.125, generous, u, tiny
    )
    return slope, curve, noise, fresh, p


@compiled()
def _sigmoid_loop(x: Any, generous: Any, u: Any, tiny: Any, out: Any, gradient: Any) -> None:
    for i in range(out.shape[1]):
        out[1, i], out[2, i], out[3, i], out[4, i], gradient[i] = _sigmoid(
            out[0, i], x[1, i], x[2, i], x[3, i], x[4, i], generous, u, tiny
        )


@formula
def _tanh(
    y: Any, a: Any, b: Any, r: Any, f: Any, generous: Any, u: Any, tiny: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """tanh(v), y its value: p = 1 − tanh², |tanh'''| = p |4 − 6 p| <= min(4 p, 2), |p'| <= 2 p.

    The last result is p.
    """
    p = 1 - y * y
    slope, curve, noise, fresh = _bent(a, b, r, f, p, -2 * y * p, 2.0, 4.0, 2.0, generous, u, tiny)
    return slope, curve, noise, fresh, p


@compiled()
def _tanh_loop(x: Any, generous: Any, u: Any, tiny: Any, out: Any, gradient: Any) -> None:
    for i in range(out.shape[1]):
        out[1, i], out[2, i], out[3, i], out[4, i], gradient[i] = _tanh(
            out[0, i], x[1, i], x[2, i], x[3, i], x[4, i], generous, u, tiny
        )
