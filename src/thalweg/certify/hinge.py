"""Functions with one kink, at zero: relu, its leaky kin and the absolute number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.loops import compiled, formula, larger, where
from thalweg.certify.origins import Origin
from thalweg.certify.rounding import TINY, UNIT, UNIT32, inflate
from thalweg.certify.taylor import TaylorModel, parts_of

_LEAST = 2.0**-120  # more than float32 loses to underflow


def hinge(x: TaylorModel, low: float, high: float) -> TaylorModel:
    """The function `high · y` for y > 0 and `low · y` for y < 0, with `low <= high`.

    Args:
        x: argument.
        low: slope on the left.
        high: slope on the right.

    Returns:
        A model that is exact where the sign of the argument cannot change, and else a band between
        the chord and a parallel line below.
    """
    exact = {low, high} <= {0.0, 1.0, -1.0}
    sides = (
        low, high, 0.0 if low <= 0 <= high else -math.inf, max(abs(low), abs(high), 1.0),
        0.0 if exact else 1.0,
    )  # fmt: skip
    noise = None if x.origin is None else x.remainder
    value, slope, remainder, *passage = _parts(x, sides, passage=noise is not None)
    out = TaylorModel(value, None if x.slope is None else slope, remainder)
    if x.origin is not None and noise is not None:
        out.origin = _origin(x.origin, noise, *passage)
    return out


def _parts(x: TaylorModel, sides: tuple[float, ...], *, passage: bool) -> Sequence[Tensor]:
    """Value, slope and remainder, and for the passage of errors factor and fresh."""
    numbers = parts_of(x)
    if not x.value.is_cpu:
        return _hinge(*numbers, tuple(x.value.new_tensor(side) for side in sides))
    parts = [torch.empty(x.shape, dtype=torch.float64) for _ in range(3)]
    if passage:
        parts += [torch.empty(x.shape), torch.empty(x.shape)]
    loop = _hinges if passage else _lines
    flat = (part.reshape(-1).numpy() for part in numbers)
    loop(*flat, sides, *(part.view(-1).numpy() for part in parts))
    return parts


def _origin(earlier: Origin, noise: Tensor, factor: Tensor, fresh: Tensor) -> Origin:
    """An error goes through by the factor of its line; only unsure kinks add to it.

    One roundoff of g times the factor is left to what is fresh, since `Origin.rounding` takes it of
    the output's remainder, which is no less than the factor's share of the noise only where the
    side is certain.
    """

    def added(owner: Tensor) -> Tensor:
        passed = noise[owner] * factor[owner].abs()
        return inflate(fresh[owner] + passed * (4 * UNIT), 8)

    return Origin(noise, earlier, lambda g, owner: g * factor[owner], added, 0.0)


@formula
def _hinge(v: Any, s: Any, r: Any, sides: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Line, remainder, factor m and fresh of a hinge f of `v + s t ± r`.

    With y(t) = v + s t, f(y ± r) is convex in t: it lies below the chord of its ends, of slope m in
    y. From below, f(z) >= m z for any m between the two slopes. And f(y + e) is the line plus m e
    plus something of at most `fresh`, for any |e| <= r.

    Args:
        v: value.
        s: slope.
        r: remainder.
        sides: slopes on the left and on the right; 0 where f >= 0, else minus infinity; the largest
            slope, at least 1; 0 where products with the slopes are exact, else 1.
    """
    low, high, floor, scale, rounded = sides
    half = abs(s)
    left, right = v - half, v + half
    # Beyond the ends of the line by its error, on either side.
    a, b, c, d = left - r, left + r, right - r, right + r
    fa, fb = where(a > 0, high * a, low * a), where(b > 0, high * b, low * b)
    fc, fd = where(c > 0, high * c, low * c), where(d > 0, high * d, low * d)
    at_left, at_right = larger(fa, fb), larger(fc, fd)
    chord = (at_right - at_left) / (right - left)
    chord = where(chord < low, low, where(chord > high, high, chord))
    m = where(right > left, chord, 0.5 * (low + high))
    top = larger(at_left - m * left, at_right - m * right)
    bottom = larger(-abs(m) * r, floor - larger(m * left, m * right))
    rounding = (abs(v) + half + r) * (32 * scale * UNIT) + TINY
    shift = 0.5 * (top + bottom)
    band = (0.5 * (top - bottom) + rounding) * (1 + 16 * UNIT)
    # f(z) - m z is convex in z = y + e, zero at the kink and not negative: at most what it is at
    # either end of all arguments, at least zero.
    over = larger(larger(fa - m * a, fd - m * d) - shift, shift) + rounding
    side = where(v > 0, high, low)
    # What the products with a side are rounded.
    lost = (abs(side) * (half + abs(v)) * (2 * UNIT) + TINY) * rounded
    steady = (abs(side) * r + lost) * (1 + 8 * UNIT * rounded)
    certain = abs(v) >= (half + r) * (1 + 4 * UNIT)
    factor, fresh = where(certain, side, m), where(certain, lost, over)
    # Both are kept in float32: the factor is off by a roundoff of at most `scale`, but for 0 and 1.
    inexact = where(certain, rounded, 1.0)
    fresh = (fresh + (scale * r * UNIT32 + _LEAST) * inexact) * (1 + 4 * UNIT32)
    return (
        where(certain, side * v, m * v + shift),
        factor * s,
        where(certain, steady, band),
        factor,
        fresh,
    )


@compiled()
def _hinges(
    v: Any, s: Any, r: Any, sides: Any,
    value: Any, slope: Any, remainder: Any, factor: Any, fresh: Any,
) -> None:  # fmt: skip
    for i in range(value.size):
        value[i], slope[i], remainder[i], factor[i], fresh[i] = _hinge(v[i], s[i], r[i], sides)


@compiled()
def _lines(v: Any, s: Any, r: Any, sides: Any, value: Any, slope: Any, remainder: Any) -> None:
    for i in range(value.size):
        value[i], slope[i], remainder[i], _, _ = _hinge(v[i], s[i], r[i], sides)
