"""Second-order jets of a smooth chain over a piece of a segment, for boxes of inputs at once.

Along `θ(t) = θ(c) + (t - c) D`, `|t - c| <= h`, every number y(t, x) that the network computes is
carried as three intervals that hold for all inputs x of a box:

    y(c, x) in Y0,    y'(c, x) in Y1,    y''(t, x) in Y2 for all t of the piece,

so that over the whole piece, by Taylor's formula, `y' in Y1 + [-h, h] Y2` and
`y in Y0 + [-h, h] Y1 + [-h²/2, h²/2] Y2`. A linear layer `W(t) x + b(t)`, W(t) affine, gives

    y = W x + b,    y' = W x' + W' x + b',    y'' = W x'' + 2 W' x',

with W at c in the first two, W and x' over the piece in the third. An activation f gives

    z = f(y),    z' = f'(y) y',    z'' = f''(y) y'² + f'(y) y'',

with f and f' over Y0 in the first two, f', f'' and y' over the piece in the third; f' Lipschitz is
enough, z' is then Lipschitz and z'' its derivative almost everywhere.

Intervals are center and radius, `[pieces, features, boxes]`. Only the size of y'' matters to the
proof, and a relative 2**-40 of it does not: every operation widens its radius by `ULTIMATE` plus
γ_n times the absolute terms that went into it, far more than what it rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.certify.rounding import TINY, ULTIMATE, gamma
from thalweg.certify.rules_smooth import value_range
from thalweg.certify.smooth_activation import Activation


@dataclass(frozen=True)
class Interval:
    """`center ± radius`, elementwise.

    Attributes:
        center: `[pieces, features, boxes]`.
        radius: of the same shape, not negative.
    """

    center: Tensor
    radius: Tensor

    @classmethod
    def between(cls, lower: Tensor, upper: Tensor) -> Interval:
        """The interval from `lower` to `upper`, slightly widened."""
        center = (lower + upper) / 2
        return cls(center, (upper - lower) / 2 + (lower.abs() + upper.abs()) * ULTIMATE)

    @property
    def size(self) -> Tensor:
        """Largest absolute value."""
        return self.center.abs() + self.radius

    @property
    def lower(self) -> Tensor:
        """Left end."""
        return self.center - self.radius

    @property
    def upper(self) -> Tensor:
        """Right end."""
        return self.center + self.radius

    def widened(self, by: Tensor) -> Interval:
        """The same center, a radius larger by `by`, rounded up."""
        return Interval(self.center, (self.radius + by) * (1 + ULTIMATE))

    def times(self, other: Interval) -> Interval:
        """The product."""
        center = self.center * other.center
        radius = self.center.abs() * other.radius + self.radius * other.size
        return Interval(center, radius + (center.abs() + radius) * (2 * ULTIMATE))

    def plus(self, other: Interval) -> Interval:
        """The sum."""
        center, radius = self.center + other.center, self.radius + other.radius
        return Interval(center, radius + (self.size + other.size) * ULTIMATE)

    def squared(self) -> Interval:
        """The square, which is not negative."""
        least = (self.center.abs() - self.radius).clamp(min=0)
        return Interval.between(least.square(), self.size.square())


@dataclass(frozen=True)
class Affine:
    """A linear layer along the pieces of a stack: values at their centers and derivatives.

    Attributes:
        weight: `[pieces, outputs, inputs]`.
        weight_slope: W', of the same shape.
        weight_spread: how far the exact weight at the center may be from `weight`.
        bias: `[pieces, outputs, 1]`, or None.
        bias_slope: of the same shape.
        bias_spread: of the same shape.
    """

    weight: Tensor
    weight_slope: Tensor
    weight_spread: Tensor
    bias: Tensor | None = None
    bias_slope: Tensor | None = None
    bias_spread: Tensor | None = None


@dataclass(frozen=True)
class Jet:
    """A number of the network over a piece.

    Attributes:
        value: at the center of the piece.
        first: derivative by t at the center; None for inputs, which do not depend on t.
        second: second derivative over the whole piece; None where it is zero.
    """

    value: Interval
    first: Interval | None = None
    second: Interval | None = None

    def first_over(self, halfwidth: Tensor) -> Interval | None:
        """First derivative over the whole piece.

        Args:
            halfwidth: `[pieces, 1, 1]`.
        """
        if self.first is None or self.second is None:
            return self.first
        return self.first.widened(halfwidth * self.second.size)

    def value_over(self, halfwidth: Tensor) -> Interval:
        """Value over the whole piece."""
        if self.first is None:
            return self.value
        reach = halfwidth * self.first.size
        if self.second is not None:
            reach = reach + halfwidth.square() * 0.5 * self.second.size
        return self.value.widened(reach)


def push(
    layers: Sequence[Affine | Activation], inputs: Interval, halfwidth: Tensor
) -> tuple[Interval, Interval]:
    """Outputs of a chain over pieces, and their second derivatives.

    Args:
        layers: in order; the first and at least one more are linear or elementwise.
        inputs: `[features, boxes]`, constant.
        halfwidth: `[pieces]`, of each piece.

    Returns:
        Intervals `[pieces, outputs, boxes]`: the outputs over the whole piece and box, and their
        second derivatives by t.

    Example:
        >>> one = torch.ones(1, 1, 1, dtype=torch.float64)
        >>> x = Interval(one[0], 0 * one[0])
        >>> line = Affine(one, one, 0 * one)  # t x around t = 1
        >>> output, second = push([line, line], x, torch.zeros(1, dtype=torch.float64))  # t²
        >>> round(float(output.center), 9), round(float(second.center), 9)
        (1.0, 2.0)
    """
    half = halfwidth[:, None, None]
    jet = Jet(Interval(inputs.center[None], inputs.radius[None]))
    for layer in layers:
        jet = _linear(layer, jet, half) if isinstance(layer, Affine) else _apply(layer, jet, half)
    second = jet.second
    if second is None:
        zero = torch.zeros_like(jet.value.center)
        second = Interval(zero, zero)
    return jet.value_over(half), second


def _linear(layer: Affine, x: Jet, half: Tensor) -> Jet:
    weight, slope = layer.weight, layer.weight_slope
    slack = ULTIMATE + gamma(2 * weight.shape[2] + 16)
    size, slope_size = weight.abs(), slope.abs()
    spread = layer.weight_spread + slack * size
    value = _sum((weight, x.value.center))
    noise = _sum((size, x.value.radius), (spread, x.value.size))
    first = _sum((slope, x.value.center))
    wiggle = _sum((slope_size, x.value.radius + slack * x.value.size))
    if layer.bias is not None and layer.bias_slope is not None and layer.bias_spread is not None:
        value = value + layer.bias
        noise = noise + layer.bias_spread + slack * layer.bias.abs()
        first = first + layer.bias_slope
        wiggle = wiggle + slack * layer.bias_slope.abs()
    second = None
    if x.first is not None:
        first = first + _sum((weight, x.first.center))
        wiggle = wiggle + _sum((size, x.first.radius), (spread, x.first.size))
        over = x.first_over(half) or x.first
        terms = [(slope, 2 * over.center)]
        doubt = [(slope_size, 2 * (over.radius + slack * over.size))]
        if x.second is not None:
            terms.append((weight, x.second.center))
            doubt += [(size, x.second.radius), (spread + half * slope_size, x.second.size)]
        second = Interval(_sum(*terms), _rounded(_sum(*doubt), slack))
    return Jet(Interval(value, _rounded(noise, slack)), Interval(first, _rounded(wiggle, slack)),
               second)  # fmt: skip


def _sum(*terms: tuple[Tensor, Tensor]) -> Tensor:
    """Sum of matrix products `[p, o, i] @ [p or 1, i, b]`."""
    left = torch.cat([a for a, _ in terms], 2)
    right = torch.cat([b for _, b in terms], 1)
    return torch.bmm(left, right.expand(len(left), -1, -1))


def _rounded(radius: Tensor, slack: float) -> Tensor:
    """A radius with its own rounding, that of a sum of three times as many terms."""
    return radius * (1 + 4 * slack) + TINY


def _apply(layer: Activation, y: Jet, half: Tensor) -> Jet:
    family = layer.family
    near, over = y.value, y.value_over(half)
    least, most = value_range(family.first, near.lower, near.upper, family.first_extrema)
    gradient = Interval.between(least, most)
    # f(y) - m y does not decrease for m <= min f', hence f lies between its ends but for this:
    sag = least.clamp(max=0).abs() * 2 * near.radius
    left, right = family.function(near.lower), family.function(near.upper)
    margin = sag + (left.abs() + right.abs() + 1) * ULTIMATE
    value = Interval.between(left - margin, right + margin)
    if y.first is None:
        return Jet(value)
    slope = y.first_over(half) or y.first
    curve = Interval.between(
        *value_range(family.second, over.lower, over.upper, family.second_extrema)
    )
    # Beyond its limit the function is another one: nothing is known there.
    curve = curve.widened(torch.where(over.upper < layer.limit, 0.0, torch.inf))
    second = curve.times(slope.squared())
    if y.second is not None:
        steepest = value_range(family.first, over.lower, over.upper, family.first_extrema)
        second = second.plus(Interval.between(*steepest).times(y.second))
    return Jet(value, gradient.times(y.first), second)
