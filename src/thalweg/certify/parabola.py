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
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.adjoint import Trace
from thalweg.certify.factors import Factors, combined
from thalweg.certify.jacobians import End, Passage
from thalweg.certify.parabola_loops import lay_affine, products, sigmoids, sums, tanhs
from thalweg.certify.rounding import gamma, inflate, unit
from thalweg.certify.rules_linear import row_norms
from thalweg.certify.single import scaled_absolute_product
from thalweg.certify.taylor import TaylorModel

_PRODUCTS = 1 << 20  # bytes of products that are worked on together


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
        block: value, slope, curve, noise and fresh, if they lie side by side.
    """

    parts: Parts
    noise: Tensor
    fresh: Tensor
    factors: Factors = field(default_factory=Factors)
    end: End | None = None
    trace: Trace | None = None
    block: Tensor | None = None

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

    @classmethod
    def laid(cls, block: Tensor, factors: Factors | None = None) -> Parabola:
        """Numbers of which value, slope, curve, noise and fresh lie side by side.

        Args:
            block: `[5, n, m]`.
            factors: see the attributes.
        """
        value, slope, curve, noise, fresh = block.unbind()
        return cls((value, slope, curve), noise, fresh, factors or Factors(), block=block)

    def side_by_side(self) -> Tensor:
        """The block `[5, ..., m]` of what :meth:`laid` takes apart."""
        if self.block is not None:
            return self.block
        return torch.stack([*self.parts, self.noise, self.fresh])

    def state(self, number: int) -> Parabola:
        """The same numbers as state `number` with which a step begins."""
        block = torch.stack([*self.parts, self.noise, torch.zeros_like(self.noise)])
        return Parabola.laid(block, Factors((-1 - number,), torch.ones_like(block[:1])))

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

    def flat(self) -> Parabola:
        """As `[n, m]`; origin forgotten."""
        value, slope, curve, noise = (part.flatten(0, -2) for part in (*self.parts, self.noise))
        return Parabola((value, slope, curve), noise, noise)

    def mapped(self, weight: TaylorModel, bias: TaylorModel | None) -> Parabola:
        """An affine map of them; see :func:`affine`."""
        return affine(self, weight, bias)

    def gates(self, count: int) -> Tensor:
        """Numbers `[n, count · m]` as a block of each gate, `[count, 5, n, m]`."""
        parts = (*self.parts, self.noise, self.fresh)
        return torch.stack([part.unflatten(-1, (count, -1)).movedim(-2, 0) for part in parts], 1)


def affine(x: Parabola, weight: TaylorModel, bias: TaylorModel | None = None) -> Parabola:
    """An affine map of `[..., n]` to `[..., m]`; all of its error counts as fresh.

    Args:
        x: the argument.
        weight: `[m, n]`; with `W + s D` terms in s³ become noise.
        bias: `[m]`, or None.
    """
    shape = x.noise.shape
    rows = x if len(shape) == 2 else x.flat()
    found = Parabola.laid(_affine(rows, weight, bias, 1)[0])
    parts = [part.reshape(*shape[:-1], -1) for part in (*found.parts, found.noise, found.fresh)]
    value, slope, curve, noise, fresh = parts
    trace = None if x.trace is None else x.trace.weighted(weight.value, noise, fresh)
    return Parabola((value, slope, curve), noise, noise, trace=trace)


def recur(h: Parabola, weight: TaylorModel, bias: TaylorModel | None, gates: int) -> Tensor:
    """What the recurrent weights make of a state: a block of each gate, `[gates, 5, n, m]`.

    Args:
        h: the state, `[n, m]`.
        weight: `[gates · m, m]`.
        bias: `[gates · m]`, or None.
        gates: how many.
    """
    return _affine(h, weight, bias, gates)


def _affine(x: Parabola, weight: TaylorModel, bias: TaylorModel | None, gates: int) -> Tensor:
    """The map of `[n, m]`; what is not the weights at the centre times the error is fresh."""
    (n, terms), dtype = x.noise.shape, x.noise.dtype
    # All parts together are at most the product of norms, and so is what they are rounded.
    relative, slack = (part.to(dtype) for part in row_norms(weight))
    error = relative * gamma(2 * terms + 32, unit(dtype)) + slack
    both, shift = _both(weight, dtype), _bias(bias, weight, dtype)
    found = x.noise.new_empty(gates, 5, n, len(error) // gates)
    # Rows of a few at a time, so that their products stay in the cache.
    size = max(1, _PRODUCTS // (3 * both[0].nbytes)) if x.noise.is_cpu else n
    for start in range(0, n, size):
        some = slice(start, start + size)
        numbers = (*x.parts, x.noise) if x.block is None else x.block[:4]
        rows = torch.stack([part[some] for part in numbers])
        sizes = inflate(torch.linalg.vector_norm(rows, dim=-1).sum(0), terms + 8)
        products = rows[:3] @ both
        absolute, factor, least = scaled_absolute_product(rows[3], weight)
        if weight.slope is None:
            absolute = torch.cat([absolute, torch.zeros_like(absolute)], -1)
        charges = 1 + (2 * terms + 40) * unit(dtype), factor, least
        lay_affine(products, absolute, (sizes, error), shift, charges, found, start)
    return found


def _both(weight: TaylorModel, dtype: torch.dtype) -> Tensor:
    """Weights and how they change, `[n, 2m]`, kept on the weight."""
    key = f"both {dtype}"
    if key not in weight.cache:
        tilt = torch.zeros_like(weight.value) if weight.slope is None else weight.slope
        weight.cache[key] = torch.cat([weight.value, tilt]).to(dtype).t()
    return weight.cache[key]


def _bias(
    bias: TaylorModel | None, weight: TaylorModel, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, slope, and what is unsure of a bias `[m]`, kept on it."""
    kept, key = (weight if bias is None else bias).cache, f"bias {dtype}"
    if key not in kept:
        zero = torch.zeros_like(weight.value[:, 0])
        parts = [zero] * 3 if bias is None else [bias.value, bias.slope, bias.remainder]
        value, slope, unsure = (zero if part is None else part for part in parts)
        unsure = unsure + (value.abs() + slope.abs()) * (8 * unit(dtype))
        kept[key] = value.to(dtype), slope.to(dtype), unsure.to(dtype)
    return kept[key]


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


def gates_of(block: Tensor) -> list[Parabola]:
    """Each gate of a block `[gates, 5, n, m]`; what is not fresh comes through its weights."""
    ones = torch.ones_like(block[0, :1])
    return [Parabola.laid(gate, Factors((k,), ones)) for k, gate in enumerate(block)]


def plus(x: Parabola, y: Parabola) -> Parabola:
    """The sum."""
    factors = combined(x.factors, None, y.factors, None)
    return Parabola.laid(sums(x.side_by_side(), y.side_by_side()), factors)


def negative(x: Parabola) -> Parabola:
    """The number with the other sign."""
    v, a, b = x.parts
    factors = Factors(x.factors.order, -x.factors.block)
    return Parabola((-v, -a, -b), x.noise, x.fresh, factors)


def times(x: Parabola, y: Parabola) -> Parabola:
    """The product: terms in s³ and s⁴ and products of errors with what moves become noise."""
    factors = combined(x.factors, y.parts[0], y.factors, x.parts[0])
    return Parabola.laid(products(x.side_by_side(), y.side_by_side()), factors)


def _size(parts: Parts) -> Tensor:
    """Sum of absolute values."""
    value, slope, curve = parts
    return value.abs().add_(slope.abs()).add_(curve.abs())


def sigmoid(x: Parabola) -> Parabola:
    """1 / (1 + exp(-y))."""
    return _smooth(x, *sigmoids(x.side_by_side()))


def tanh(x: Parabola) -> Parabola:
    """Hyperbolic tangent."""
    return _smooth(x, *tanhs(x.side_by_side()))


def _smooth(x: Parabola, block: Tensor, gradient: Tensor) -> Parabola:
    return Parabola.laid(block, x.factors.scaled(gradient))


def tightened(x: Parabola, passage: Passage) -> Parabola:
    """The same number with the noise that Jacobians of its step give.

    Args:
        x: `[n, m]`, with factors.
        passage: the step.
    """
    noise, end = passage.tightened(x.noise, x.fresh, x.factors)
    if x.block is None:
        return Parabola(x.parts, noise, x.fresh, x.factors, end)
    x.noise.copy_(noise)  # where it lies beside the others
    return replace(x, end=end)
