"""Models of second order along a segment, for networks that feed a state back into themselves.

Over |s| <= 1 every number of a recurrent layer is enclosed as

    value + slope · s + curve · s² ± noise,

elementwise. Over many steps the noise matters more than anything else: a step that hands it on by
absolute values of its weights multiplies it, again and again. So a number also knows how its error
depends on the errors with which the step began,

    e = Σ_k factor_k ⊙ (B_k e_before) + f,    |f| <= fresh,

`B_k` a block of recurrent weights at the centre or, for a state that is carried on, the identity.
At the end of a step the Jacobian `Σ_k diag(factor_k) B_k` is summed with its signs, gate against
gate, before absolute values are taken (:func:`tightened`): a step of what Lohner's method does for
differential equations (Lohner 1987; Nedialkov, Jackson & Corliss 1999), with boxes.

Rounding: every operation adds to `fresh`, and so to `noise`, more than what it rounds
(:mod:`thalweg.certify.rounding`); factors are charged where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thalweg.certify.rounding import TINY, ULTIMATE, UNIT, gamma, inflate
from thalweg.certify.rules_linear import absolute_products, norms, row_norms, single_is_safe, sizes
from thalweg.certify.rules_smooth import SIGMOID, TANH, Smooth
from thalweg.certify.taylor import TaylorModel

# Numbers of all Jacobians that are looked at together.
_TOGETHER = 1 << 23

Factors = dict[int, Tensor]
"""Factor `[n, m]` of each block of the recurrent weights, and under `-1 - j` of state j itself."""


@dataclass(eq=False)
class Parabola:
    """Numbers `[..., m]` of second order over |s| <= 1.

    Attributes:
        parts: `[3, ..., m]`, float64: value, slope, curve.
        noise: `[..., m]`, non-negative; infinite where nothing is known.
        fresh: the part of the noise that does not come from the states before the step.
        factors: how the rest of the error depends on the errors of those.
    """

    parts: Tensor
    noise: Tensor
    fresh: Tensor
    factors: Factors = field(default_factory=dict)

    @classmethod
    def of(cls, model: TaylorModel) -> Parabola:
        """What a model of first order says."""
        zero = torch.zeros_like(model.value)
        slope = zero if model.slope is None else model.slope
        noise = zero if model.remainder is None else model.remainder
        return cls(torch.stack([model.value, slope, zero]), noise, noise)

    def model(self) -> TaylorModel:
        """As a model of first order: `curve s²` is half of it, give or take the other half."""
        value, slope, curve = self.parts
        half = curve * 0.5
        value = value + half
        remainder = self.noise + half.abs() + value.abs() * (2 * UNIT)
        return TaylorModel(value, slope, inflate(remainder, 4))

    def state(self, number: int) -> Parabola:
        """The same numbers as state `number` with which a step begins."""
        ones, zeros = torch.ones_like(self.noise), torch.zeros_like(self.noise)
        return Parabola(self.parts, self.noise, zeros, {-1 - number: ones})

    def renewed(self) -> Parabola:
        """The same numbers, their origin forgotten."""
        return Parabola(self.parts, self.noise, self.noise)

    def over(self, function: Callable[[Tensor], Tensor]) -> Parabola:
        """With numbers picked or moved, by a function of tensors `[..., m]`; origin forgotten."""
        noise = function(self.noise)
        return Parabola(torch.stack([function(part) for part in self.parts]), noise, noise)

    def at(self, row: int) -> Parabola:
        """Row `[n, m]` of numbers `[rows, n, m]`; origin forgotten."""
        return Parabola(self.parts[:, row], self.noise[row], self.noise[row])

    def gates(self, count: int) -> list[Parabola]:
        """Numbers `[..., count · m]` as `count` groups; origin forgotten."""
        columns = self.parts.chunk(count, -1), self.noise.chunk(count, -1)
        return [Parabola(parts, noise, noise) for parts, noise in zip(*columns, strict=True)]

    @property
    def sizes(self) -> Tensor:
        """Absolute values `[3, ..., m]` of the parts."""
        return self.parts.abs()


def affine(x: Parabola, weight: TaylorModel, bias: TaylorModel | None = None) -> Parabola:
    """An affine map of `[..., n]` to `[..., m]`; all of its error counts as fresh.

    Args:
        x: the argument.
        weight: `[m, n]`; with `W + s D` terms in s³ become noise.
        bias: `[m]`, or None.
    """
    found = _affine(x, weight, bias)
    return found.renewed()


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
    columns = [each.chunk(gates, -1) for each in (found.parts, found.noise, found.fresh)]
    return [
        Parabola(parts, noise, fresh, {k: one})
        for k, (parts, noise, fresh) in enumerate(zip(*columns, strict=True))
    ]


def _affine(x: Parabola, weight: TaylorModel, bias: TaylorModel | None) -> Parabola:
    """The map, with what is not the weights at the centre times the error as fresh."""
    terms, outputs = x.parts.shape[-1], len(weight.value)
    rows, noise = x.parts.reshape(-1, terms), x.noise.reshape(-1, terms)
    if "both" not in weight.cache:
        both = [weight.value] if weight.slope is None else [weight.value, weight.slope]
        weight.cache["both"] = torch.cat(both).t().contiguous()
    product = (rows @ weight.cache["both"]).reshape(3, len(noise), -1)
    parts = product[..., :outputs].contiguous()
    inherited, *changed = absolute_products(noise, weight)
    relative, slack = row_norms(weight)
    columns = norms([*rows.reshape(3, -1, terms), noise])
    fresh = torch.outer(columns, relative * gamma(2 * terms + 16) + slack)
    if weight.slope is not None:
        tilted = product[..., outputs:]
        parts[1:] += tilted[:2]
        fresh += tilted[2].abs()
    for part in changed:
        fresh += part
    if bias is not None:
        parts[0] += bias.value
        if bias.slope is not None:
            parts[1] += bias.slope
        if bias.remainder is not None:
            fresh += bias.remainder
    fresh += parts.abs().sum(0) * (8 * UNIT)
    fresh = inflate(fresh, 2 * terms + 24)
    shape = (*x.noise.shape[:-1], outputs)
    noise = inflate(fresh + inherited, 4)
    return Parabola(parts.reshape(3, *shape), noise.reshape(shape), fresh.reshape(shape))


def joined(numbers: Sequence[Parabola], dim: int, *, new: bool = False) -> Parabola:
    """Numbers side by side along a dimension, counted from the end; origin forgotten.

    Args:
        numbers: of shapes that fit.
        dim: negative.
        new: whether the dimension is a new one.
    """
    join = torch.stack if new else torch.cat
    noise = join([each.noise for each in numbers], dim)
    return Parabola(join([each.parts for each in numbers], dim), noise, noise)


def plus(x: Parabola, y: Parabola) -> Parabola:
    """The sum."""
    parts = x.parts + y.parts
    rounded = parts.abs().sum(0).mul_(2 * UNIT)
    factors = dict(x.factors)
    for key, factor in y.factors.items():
        factors[key] = factors[key] + factor if key in factors else factor
    return Parabola(
        parts,
        inflate(x.noise + y.noise + rounded, 4),
        inflate(x.fresh + y.fresh + rounded, 4),
        factors,
    )


def negative(x: Parabola) -> Parabola:
    """The number with the other sign."""
    return Parabola(-x.parts, x.noise, x.fresh, {key: -f for key, f in x.factors.items()})


def times(x: Parabola, y: Parabola) -> Parabola:
    """The product: terms in s³ and s⁴ and products of errors with what moves become noise."""
    (v, a, b), (w, c, d) = x.parts, y.parts
    parts = torch.stack([v * w, v * c + a * w, v * d + a * c + b * w])
    (sv, sa, sb), (sw, sc, sd) = x.sizes, y.sizes
    move_x, move_y = sa + sb, sc + sd
    # |v y's error| + |w x's error| are handed on; what follows is fresh.
    own = sa * sd + sb * sc + sb * sd
    own += x.noise * move_y + y.noise * (move_x + x.noise)
    own += (sv + move_x) * (sw + move_y) * (16 * UNIT)
    fresh = own + sv * y.fresh + sw * x.fresh
    noise = own + sv * y.noise + sw * x.noise
    factors = {key: factor * w for key, factor in x.factors.items()}
    for key, factor in y.factors.items():
        part = factor * v
        factors[key] = factors[key] + part if key in factors else part
    return Parabola(parts, inflate(noise, 16), inflate(fresh, 16), factors)


def sigmoid(x: Parabola) -> Parabola:
    """1 / (1 + exp(-y)); with p = σ' in (0, 1/4], |σ'''| = p |1 − 6 p| <= min(p, 1/8)."""
    return _smooth(x, SIGMOID, lambda p: p.clamp(max=0.125))


def tanh(x: Parabola) -> Parabola:
    """Hyperbolic tangent; with p = 1 − tanh², |tanh'''| = p |4 − 6 p| <= min(4 p, 2)."""
    return _smooth(x, TANH, lambda p: (4 * p).clamp(max=2.0))


def _smooth(x: Parabola, family: Smooth, third: Callable[[Tensor], Tensor]) -> Parabola:
    """Taylor's formula at the value, to second order, with the third derivative over the range.

    With δ = slope s + curve s² + e the terms in s and s² of `f'(v) δ + f''(v) δ²/2` are kept, the
    error is handed on by f'(v), all else is noise; so is `max |f'''| |δ|³/6`.

    Args:
        x: the argument.
        family: the function, whose derivative falls with the distance from zero.
        third: a bound of the third derivative from one of the first.
    """
    v, a, b = x.parts
    _, sa, sb = x.sizes
    value, gradient, bend = family.function(v), family.first(v), family.second(v)
    move = sa + sb
    away = move + x.noise
    nearest = (v.abs() - away * (1 + 4 * UNIT)).clamp_(min=0)
    steepest = family.first(nearest).clamp_(min=0) + ULTIMATE
    sharp = bend.abs() + ULTIMATE
    own = sharp * (sa * sb + 0.5 * sb * sb + (move + 0.5 * x.noise) * x.noise)
    own += third(steepest) * (away * away * away) * (1 / 6)
    own += (1 + move) * (64 * UNIT) + sa * sa * ULTIMATE + x.noise * (64 * UNIT)
    size = gradient.abs()
    parts = torch.stack([value, gradient * a, gradient * b + 0.5 * bend * a * a])
    factors = {key: factor * gradient for key, factor in x.factors.items()}
    noise, fresh = own + size * x.noise, own + size * x.fresh
    return Parabola(parts, inflate(noise, 24), inflate(fresh, 24), factors)


def tightened(
    x: Parabola, before: Sequence[Tensor], handed: Sequence[Tensor], blocks: Tensor
) -> Parabola:
    """The same number with the noise that its Jacobian by the states before the step gives.

    Args:
        x: `[n, m]`, with factors.
        before: noise `[n, m]` of each state; the first one goes through the recurrent weights.
        handed: `[n, m]` for each block, at least `|B_k|` times the noise of the first state.
        blocks: `[gates, m, m]`, those weights at the centre, in float32 or float64.

    Returns:
        The number with the lesser of both noises, infinite where neither is a number.
    """
    known, absolute = x.fresh.clone(), torch.zeros_like(x.fresh)
    for key, factor in x.factors.items():
        size = factor.abs()
        absolute += size * (handed[key] if key >= 0 else before[-1 - key])
        if key < -1:
            known += size * before[-1 - key]
    keys = [key for key in x.factors if key >= 0]
    if keys:
        known += _through(x.factors, keys, before[0], blocks)
    elif -1 in x.factors:
        known += x.factors[-1].abs() * before[0]
    # Factors and their sums with the blocks are rounded: relative to their absolute terms.
    unit = 2.0**-24 if blocks.dtype == torch.float32 else UNIT
    known += absolute * (unit * (2 * len(keys) + 24))
    known = inflate(known, len(x.factors) + 8)
    # What is not a number bounds nothing: fmin passes it over.
    noise = torch.fmin(x.noise, known).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    return Parabola(x.parts, noise, x.fresh, x.factors)


def _through(factors: Factors, keys: list[int], noise: Tensor, blocks: Tensor) -> Tensor:
    """|Σ_k diag(factor_k) B_k + diag(factor of the state itself)| · noise, `[n, m]`.

    Rounded up, but for what rounding does to the sum of matrices.
    """
    width = blocks.shape[-1]
    used = blocks[keys].transpose(0, 1)  # [m, keys, m]
    single = blocks.dtype == torch.float32
    slack = (width + 24) * (2.0**-23 if single else 2 * UNIT)
    stacked = torch.stack([factors[key] for key in keys], dim=-1).transpose(0, 1).to(blocks.dtype)
    given = noise.mul(1 + 2.0**-22).to(blocks.dtype) if single else noise
    found, together = [], max(1, _TOGETHER // width**2)
    for first in range(0, len(noise), together):
        part = slice(first, first + together)
        jacobian = torch.bmm(stacked[:, part], used)  # [m, n, m]
        if -1 in factors:
            diagonal = jacobian.diagonal(dim1=0, dim2=2)  # [n, m]
            diagonal += factors[-1][part].to(blocks.dtype)
        found.append(torch.einsum("unm,nm->nu", jacobian.abs_(), given[part]).double())
    lost = TINY
    if single:  # underflow of a factor, a product, or noise: weights are below 2^20
        sizes = torch.stack([factors[key].abs() for key in keys]).sum(0)
        lost = 2.0**-80 * (1 + noise.sum(-1, keepdim=True)) * (1 + sizes)
    return torch.cat(found).mul_(1 + slack).add_(lost)


def blocks_of(weight: TaylorModel, gates: int) -> Tensor:
    """Recurrent weights `[gates, m, m]` for :func:`tightened`, kept on the weight.

    In float32 where that is safe and no weight is so large that underflow would count.
    """
    if "blocks" not in weight.cache:
        value = weight.value
        small = float(sizes(weight).max()) < 2.0**20
        single = small and single_is_safe(value.reshape(1, -1))
        dtype = torch.float32 if single else torch.float64
        weight.cache["blocks"] = value.to(dtype).reshape(gates, -1, value.shape[-1])
    return weight.cache["blocks"]
