"""Models of second order along a segment, for networks that feed a state back into themselves.

Over |s| <= 1 every number of a recurrent layer is enclosed as

    value + slope · s + curve · s² ± noise,

elementwise. Over many steps the noise matters more than anything else: a step that hands it on by
absolute values of its weights multiplies it, again and again. So a number also knows how its error
depends on the errors of the states with which the step began,

    e = Σ_k factor_k ⊙ (B_k e_before) + f,    |f| <= fresh,

`B_k` a block of recurrent weights at the centre or, for a state that is carried on, the identity:
:mod:`thalweg.certify.jacobians` makes less noise of that, :mod:`thalweg.certify.adjoint` carries a
sum of losses back through it. After the last step numbers keep their term in s² through linear maps
and moves up to a loss that knows what to do with it.

Rounding: every operation adds to `fresh`, and so to `noise`, more than what it rounds
(:mod:`thalweg.certify.rounding`); factors are charged where they are used. All of it may be done in
float32, whose roundoff then stands in the place of that of float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.adjoint import Trace
from thalweg.certify.jacobians import End, Factors, Passage
from thalweg.certify.rounding import gamma, inflate, ultimate, unit
from thalweg.certify.rules_linear import absolute_products, norms, rounded, row_norms
from thalweg.certify.taylor import TaylorModel

Parts = tuple[Tensor, Tensor, Tensor]
"""Value, slope and curve `[..., m]`, all float64 or all float32."""


@dataclass(eq=False)
class Parabola:
    """Numbers `[..., m]` of second order over |s| <= 1.

    Attributes:
        parts: value, slope and curve.
        noise: `[..., m]`, non-negative; infinite where nothing is known.
        fresh: the part of the noise that does not come from the states before the step.
        factors: how the rest of the error depends on the errors of those.
        end: of a state, what a look back over its step has to know.
        trace: where the errors come from, if a sum over them can be carried back.
    """

    parts: Parts
    noise: Tensor
    fresh: Tensor
    factors: Factors = field(default_factory=dict)
    end: End | None = None
    trace: Trace | None = None

    @classmethod
    def of(cls, model: TaylorModel) -> Parabola:
        """What a model says, to second order if it knows that."""
        if model.second is not None:
            return model.second
        zero = torch.zeros_like(model.value)
        slope = zero if model.slope is None else model.slope
        noise = zero if model.remainder is None else model.remainder
        return cls((model.value, slope, zero), noise, noise)

    def model(self) -> TaylorModel:
        """As a model of first order: `curve s²` is half of it, give or take the other half."""
        value, slope, curve = self.parts
        half = curve * 0.5
        value = value + half
        remainder = self.noise + half.abs() + value.abs() * (2 * unit(value.dtype))
        return TaylorModel(value, slope, inflate(remainder, 4))

    def to(self, dtype: torch.dtype) -> Parabola:
        """In another type; the origin is forgotten where that rounds, the trace is not."""
        if self.noise.dtype == dtype:
            return self
        value, slope, curve = (part.to(dtype) for part in self.parts)
        if dtype == torch.float64:
            noise = self.noise.to(dtype)
        else:
            noise = torch.add(self.noise, _size(self.parts), alpha=2 * unit(dtype)).to(dtype)
            noise = inflate(noise, 4)
        return Parabola((value, slope, curve), noise, noise, trace=self.trace)

    def state(self, number: int) -> Parabola:
        """The same numbers as state `number` with which a step begins."""
        ones, zeros = torch.ones_like(self.noise), torch.zeros_like(self.noise)
        return Parabola(self.parts, self.noise, zeros, {-1 - number: ones})

    def renewed(self) -> Parabola:
        """The same numbers, their origin forgotten."""
        return Parabola(self.parts, self.noise, self.noise)

    def over(self, function: Callable[[Tensor], Tensor]) -> Parabola:
        """With numbers picked or moved, by a function of tensors `[..., m]`."""
        found = self.moved(function)
        assert found is not None, "a function that makes one tensor of one"
        return found

    def moved(self, function: Callable[[Tensor], Any]) -> Parabola | None:
        """As :meth:`over`; None where the function makes several tensors of one."""
        noise = function(self.noise)
        if not isinstance(noise, Tensor):
            return None
        value, slope, curve = map(function, self.parts)
        trace = None if self.trace is None else self.trace.rearranged(function)
        return Parabola((value, slope, curve), noise, noise, trace=trace)

    def mapped(self, weight: TaylorModel, bias: TaylorModel | None) -> Parabola:
        """An affine map of them; see :func:`affine`."""
        return affine(self, weight, bias)

    def at(self, row: int) -> Parabola:
        """Row `[n, m]` of numbers `[rows, n, m]`; origin forgotten."""
        value, slope, curve = self.parts
        noise = self.noise[row]
        return Parabola((value[row], slope[row], curve[row]), noise, noise)

    def gates(self, count: int) -> list[Parabola]:
        """Numbers `[..., count · m]` as `count` groups; origin forgotten."""
        columns = [each.chunk(count, -1) for each in (*self.parts, self.noise)]
        return [Parabola((v, a, b), noise, noise) for v, a, b, noise in zip(*columns, strict=True)]


def affine(x: Parabola, weight: TaylorModel, bias: TaylorModel | None = None) -> Parabola:
    """An affine map of `[..., n]` to `[..., m]`; all of its error counts as fresh.

    Args:
        x: the argument.
        weight: `[m, n]`; with `W + s D` terms in s³ become noise.
        bias: `[m]`, or None.
    """
    found = _affine(x, weight, bias)
    trace = None
    if x.trace is not None:
        trace = x.trace.weighted(weight.value, found.noise, found.fresh)
    return Parabola(found.parts, found.noise, found.noise, trace=trace)


def recur(h: Parabola, weight: TaylorModel, bias: TaylorModel | None, gates: int) -> list[Parabola]:
    """The recurrent weights on a state: numbers `[n, m]` of each gate, one block each.

    Args:
        h: the state, `[n, m]`.
        weight: `[gates · m, m]`.
        bias: `[gates · m]`, or None.
        gates: how many.
    """
    found = _affine(h, weight, bias)
    one = torch.ones_like(h.noise)
    columns = [each.chunk(gates, -1) for each in (*found.parts, found.noise, found.fresh)]
    return [
        Parabola((v, a, b), noise, fresh, {k: one})
        for k, (v, a, b, noise, fresh) in enumerate(zip(*columns, strict=True))
    ]


def _affine(x: Parabola, weight: TaylorModel, bias: TaylorModel | None) -> Parabola:
    """The map, with what is not the weights at the centre times the error as fresh."""
    terms, outputs = x.noise.shape[-1], len(weight.value)
    rows = [part.reshape(-1, terms) for part in (*x.parts, x.noise)]
    value, slope, curve, noise = rows
    # All parts together are at most the product of norms, and so is what they are rounded.
    dtype = noise.dtype
    relative, slack = (part.to(dtype) for part in row_norms(weight))
    columns = norms(rows)
    error = relative * gamma(2 * terms + 32, unit(dtype)) + slack
    kernel = rounded(weight, "value", dtype).t()
    tilt = None if weight.slope is None else rounded(weight, "slope", dtype).t()
    if tilt is None:
        fresh = torch.outer(columns, error)
    else:
        fresh = (curve @ tilt).abs_().addr_(columns, error)
    inherited, *changed = absolute_products(noise, weight)
    for part in changed:
        fresh += part
    del changed
    curve = curve @ kernel if tilt is None else torch.addmm(slope @ tilt, curve, kernel)
    slope = slope @ kernel if tilt is None else torch.addmm(value @ tilt, slope, kernel)
    value = value @ kernel
    if bias is not None:
        value += bias.value
        size = bias.value.abs()
        if bias.slope is not None:
            slope += bias.slope
            size = size + bias.slope.abs()
        size = size * (8 * unit(dtype))
        fresh += size if bias.remainder is None else size + bias.remainder
    fresh = inflate(fresh, 2 * terms + 24)
    shape = (*x.noise.shape[:-1], outputs)
    noise = inflate(inherited.add_(fresh), 4)
    parts = (value.reshape(shape), slope.reshape(shape), curve.reshape(shape))
    return Parabola(parts, noise.reshape(shape), fresh.reshape(shape))


def second_order(x: Parabola) -> TaylorModel:
    """A model that knows its term in s²."""
    return TaylorModel.deferred(x, x.model)


def joined(numbers: Sequence[Parabola], dim: int, *, new: bool = False) -> Parabola:
    """Numbers side by side along a dimension, counted from the end; origin forgotten.

    Args:
        numbers: of shapes that fit.
        dim: negative.
        new: whether the dimension is a new one.
    """
    join = torch.stack if new else torch.cat
    noise = join([each.noise for each in numbers], dim)
    value, slope, curve = (
        join(list(parts), dim) for parts in zip(*(each.parts for each in numbers), strict=True)
    )
    return Parabola((value, slope, curve), noise, noise)


def plus(x: Parabola, y: Parabola) -> Parabola:
    """The sum."""
    (v, a, b), (w, c, d) = x.parts, y.parts
    parts = (v + w, a + c, b + d)
    error = _size(parts).mul_(2 * unit(v.dtype))
    factors = dict(x.factors)
    for key, factor in y.factors.items():
        factors[key] = factors[key] + factor if key in factors else factor
    noise, fresh = x.noise + error, error.add_(x.fresh)
    return Parabola(
        parts, inflate(noise.add_(y.noise), 4), inflate(fresh.add_(y.fresh), 4), factors
    )


def negative(x: Parabola) -> Parabola:
    """The number with the other sign."""
    v, a, b = x.parts
    return Parabola((-v, -a, -b), x.noise, x.fresh, {key: -f for key, f in x.factors.items()})


def times(x: Parabola, y: Parabola) -> Parabola:
    """The product: terms in s³ and s⁴ and products of errors with what moves become noise."""
    (v, a, b), (w, c, d) = x.parts, y.parts
    curve = (v * d).addcmul_(a, c).addcmul_(b, w)
    parts = (v * w, (v * c).addcmul_(a, w), curve)
    sv, sa, sb, sw, sc, sd = (part.abs() for part in (v, a, b, w, c, d))
    move_x, move_y = sa + sb, sc + sd
    # |v y's error| + |w x's error| are handed on; what follows is fresh.
    own = (sa * sd).addcmul_(sb, move_y)
    own.addcmul_(x.noise, move_y).addcmul_(y.noise, move_x + x.noise)
    own.addcmul_(move_x.add_(sv), move_y.add_(sw), value=16 * unit(v.dtype))
    fresh = torch.addcmul(own, sv, y.fresh).addcmul_(sw, x.fresh)
    noise = own.addcmul_(sv, y.noise).addcmul_(sw, x.noise)
    factors = {key: factor * w for key, factor in x.factors.items()}
    for key, factor in y.factors.items():
        if key in factors:
            factors[key].addcmul_(factor, v)
        else:
            factors[key] = factor * v
    return Parabola(parts, inflate(noise, 16), inflate(fresh, 16), factors)


def _size(parts: Parts) -> Tensor:
    """Sum of absolute values."""
    value, slope, curve = parts
    return value.abs().add_(slope.abs()).add_(curve.abs())


def sigmoid(x: Parabola) -> Parabola:
    """1 / (1 + exp(-y)); p = σ' in (0, 1/4], |σ'''| = p |1 − 6 p| <= min(p, 1/8), |p'| <= p."""
    value = torch.sigmoid(x.parts[0])
    gradient = value - value * value
    return _smooth(x, value, gradient, gradient - 2 * value * gradient, (1.0, 1.0, 0.125))


def tanh(x: Parabola) -> Parabola:
    """Hyperbolic tangent; p = 1 − tanh², |tanh'''| = p |4 − 6 p| <= min(4 p, 2), |p'| <= 2 p."""
    value = torch.tanh(x.parts[0])
    gradient = 1 - value * value
    return _smooth(x, value, gradient, -2 * value * gradient, (2.0, 4.0, 2.0))


def _smooth(
    x: Parabola, value: Tensor, gradient: Tensor, bend: Tensor, third: tuple[float, float, float]
) -> Parabola:
    """Taylor's formula at the value, to second order, with the third derivative over the range.

    With δ = slope s + curve s² + e the terms in s and s² of `f'(v) δ + f''(v) δ²/2` are kept, the
    error is handed on by f'(v), all else is noise; so is `max |f'''| |δ|³/6`.

    Args:
        x: the argument.
        value: f, computed with an error of a few roundoffs of 1, as are its derivatives.
        gradient: f', positive.
        bend: f''.
        third: `(rate, factor, most)`: |f''| <= rate f', so that f' grows at most by e^(rate |δ|);
            |f'''| is at most `factor` times f', and at most `most`.
    """
    rate, factor, most = third
    _, a, b = x.parts
    rounding, generous = unit(a.dtype), ultimate(a.dtype)
    noise = x.noise
    sa, sb = a.abs(), b.abs()
    move = sa + sb
    away = move + noise
    steepest = (away * rate).exp_().mul_((gradient + generous) * (factor * (1 + generous)))
    own = noise * 0.5
    own.add_(move).mul_(noise)
    own.addcmul_(sb, 0.5 * sb + sa).mul_(bend.abs() + generous)
    own.addcmul_(steepest.clamp_(max=most), away * away * away, value=1 / 6)
    own.addcmul_(sa, sa, value=generous).add_(away, alpha=64 * rounding).add_(64 * rounding)
    curve = (gradient * b).addcmul_(bend * a, a, value=0.5)
    factors = {key: each * gradient for key, each in x.factors.items()}
    size = gradient.abs()
    handed, fresh = torch.addcmul(own, size, noise), own.addcmul_(size, x.fresh)
    parts = (value, gradient * a, curve)
    return Parabola(parts, inflate(handed, 24), inflate(fresh, 24), factors)


def tightened(x: Parabola, passage: Passage) -> Parabola:
    """The same number with the noise that Jacobians of its step give.

    Args:
        x: `[n, m]`, with factors.
        passage: the step.
    """
    noise, end = passage.tightened(x.noise, x.fresh, x.factors)
    return Parabola(x.parts, noise, x.fresh, x.factors, end)
