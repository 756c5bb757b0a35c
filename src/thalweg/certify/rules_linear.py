"""Linear algebra of Taylor models: affine maps, matrix products, any bilinear map."""

from __future__ import annotations

import functools
import math
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.origins import Origin
from thalweg.certify.rounding import TINY, UNIT, UNIT32, gamma, inflate
from thalweg.certify.rules_algebra import add, is_constant, line_magnitude, multiply
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    magnitude,
    plus,
    rule,
    structural,
)

SMALL = 512
"""Numbers an example below which float32 does not pay."""

BLOCK = 128
"""Terms of a product in float32 that are added in one go: fewer roundings follow each other."""


@rule("linear")
def linear(input: Any, weight: Any, bias: Any = None) -> TaylorModel:
    """Affine map `input @ weight.T + bias`; input `[..., n]`, weight `[m, n]`.

    The rounding error of the inner products is at most gamma_n |x|·|w| <= gamma_n ‖x‖ ‖w‖
    (Cauchy-Schwarz), an outer product of norms in place of another matrix product. The remainder
    of the weights, nothing but rounding for a model's own parameters, is charged the same way.
    """
    x, w = as_model(input), as_model(weight)
    if x.second is None:
        return _linear(x, w, bias)
    first = x.first_order_later()
    return TaylorModel.deferred(
        x.second.mapped(w, None if bias is None else as_model(bias)),
        lambda: _linear(first(), w, bias),
    )


def _linear(x: TaylorModel, w: TaylorModel, bias: Any) -> TaylorModel:
    if is_constant(x) and "products" in w.cache:
        out = w.cache["products"](x.value)
        if out is not None:
            return out if bias is None else _shift(out, as_model(bias))
    shape, terms = x.value.shape, x.value.shape[-1]
    parts = [
        None if part is None else part.reshape(-1, terms)
        for part in (x.value, x.slope, x.remainder)
    ]
    xv, xd, xr = parts
    assert xv is not None
    single = xd is not None and w.slope is not None and single_is_safe(xv)
    by_ends = single and ends_will_do(parts, w, _roundings(terms))
    remainder = inherited = second = None
    if xd is not None and w.slope is not None:
        second = _product(xd, w, "slope", single).mul_(0.5)
    if by_ends and xd is not None and second is not None:
        value, slope = line_by_ends(
            *(
                _in_blocks(end.float(), some)
                for end, some in zip(ends_of(xv, xd), ends(w), strict=True)
            )
        )
        value.sub_(second)
    else:
        value, slope = xv @ w.value.t(), _first_order(xv, xd, w, single)
        if second is not None:
            value.add_(second)
    if second is not None:
        remainder = second.abs_()
    if xr is not None:
        inherited, *changed = absolute_products(xr, w)
        for part in (inherited, *changed):
            remainder = part.clone() if remainder is None else remainder.add_(part)
    rows, slack = row_norms(w)
    error = rows * gamma(2 * terms + 12) + slack
    columns = norms(parts)
    if remainder is None:
        remainder = torch.outer(columns, error)
    else:
        remainder.addr_(columns, error)
    if single:
        _charge_single(remainder, parts, w, by_ends)
    result = (*shape[:-1], value.shape[-1])
    out = TaylorModel(
        value.reshape(result),
        None if slope is None else slope.reshape(result),
        inflate(remainder, 2 * terms + 12).reshape(result),
    )
    if bias is not None:
        out = _shift(out, as_model(bias))
    if x.remainder is not None and inherited is not None and len(shape) > 1:
        out.origin = _linear_origin(x.remainder, x.origin, w, out, inherited.reshape(result))
    return out


def _shift(out: TaylorModel, bias: TaylorModel) -> TaylorModel:
    """The sum with a bias `[m]`, in the place of numbers that nobody else holds."""
    value, slope = out.value.add_(bias.value), out.slope
    if bias.slope is not None:
        slope = bias.slope.expand_as(value).clone() if slope is None else slope.add_(bias.slope)
    remainder = torch.zeros_like(value) if out.remainder is None else out.remainder
    if bias.remainder is not None:
        remainder.add_(bias.remainder)
    for part in (value, slope):
        if part is not None:
            remainder.add_(part.abs(), alpha=UNIT)
    return TaylorModel(value, slope, inflate(remainder, 6))


def _first_order(xv: Tensor, xd: Tensor | None, w: TaylorModel, single: bool) -> Tensor | None:
    """The slope `W x' + D x` of a product, None for zero."""
    return plus(
        None if xd is None else _product(xd, w, "value", single),
        None if w.slope is None else _product(xv, w, "slope", single),
    )


def _product(x: Tensor, w: TaylorModel, part: str, single: bool) -> Tensor:
    """Product `[m, outputs]` with the value or the slope of a weight."""
    if not single:
        return x @ getattr(w, part).t()
    return _in_blocks(x.float(), rounded(w, part, torch.float32))


def _in_blocks(x: Tensor, weight: Tensor) -> Tensor:
    """A product in float32, block after block, so that fewer roundings follow each other."""
    pairs = zip(x.split(BLOCK, 1), weight.split(BLOCK, 1), strict=True)
    return functools.reduce(Tensor.add_, (data @ block.t() for data, block in pairs)).double()


def rounded(w: TaylorModel, part: str, dtype: torch.dtype) -> Tensor:
    """The value or the slope of a weight in another type, kept on the weight."""
    if dtype == torch.float64:
        return getattr(w, part)
    if f"{part}32" not in w.cache:
        w.cache[f"{part}32"] = getattr(w, part).float()
    return w.cache[f"{part}32"]


def ends_will_do(parts: Sequence[Tensor | None], w: TaylorModel, roundings: int) -> bool:
    """Whether a line may be got from float32 values at its ends: see :func:`line_by_ends`.

    So it is where their rounding is small beside the second order and what is unsure already. All
    are estimated, by sums of terms of random signs: that decides how tight a bound is, never
    whether it holds.

    Args:
        parts: value, slope and remainder that a layer sees, of one shape; it has a slope.
        w: the weights, with a slope.
        roundings: how many follow each other in an inner product.
    """
    assert w.slope is not None
    if "frobenius" not in w.cache:
        w.cache["frobenius"] = float(w.value.norm()), float(w.slope.norm())
    kernel, tilt = w.cache["frobenius"]
    x, slope, noise = (0.0 if part is None else float(part.norm()) for part in parts)
    unsure = (tilt * slope + kernel * noise) / math.sqrt(w.value[0].numel())
    return gamma(roundings, UNIT32) * kernel * x <= unsure


def ends_of(value: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """A line at s = 1 and at s = -1."""
    return value + slope, value - slope


def ends(w: TaylorModel) -> tuple[Tensor, Tensor]:
    """Weights at both ends in float32, kept on the weight."""
    assert w.slope is not None
    if "ends" not in w.cache:
        right, left = ends_of(w.value, w.slope)
        w.cache["ends"] = right.float(), left.float()
    return w.cache["ends"]


def line_by_ends(right: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope of the line through two float64 values; they are overwritten.

    `(W + s D) (x + s x')` is W x + D x' ± (W x' + D x) at s = ±1: two products say what takes four
    otherwise. Between them the line errs by no more than at the worse end.

    Args:
        right: at s = 1.
        left: at s = -1.
    """
    slope = (right - left).mul_(0.5)
    return right.add_(left).mul_(0.5), slope


def _roundings(terms: int) -> int:
    """How many follow each other in a :func:`_product` in float32."""
    return BLOCK + terms // BLOCK + 4


def _charge_single(
    remainder: Tensor, parts: Sequence[Tensor | None], w: TaylorModel, by_ends: bool
) -> None:
    """Add the rounding errors of :func:`_product` in float32 to a remainder `[m, outputs]`.

    Each is at most gamma ‖x‖ ‖w‖ with as many roundings as a block has terms and as there are
    blocks.
    """
    xv, xd, _ = parts
    gamma32 = gamma(_roundings(w.value.shape[1]), UNIT32)
    if "norms" not in w.cache:
        w.cache["norms"] = norms((w.value,)), norms((w.slope,))
    kernel, tilt = w.cache["norms"]
    data, slope = norms((xv,)), norms((xd,))
    if by_ends:
        remainder.addr_(slope, tilt, alpha=gamma32)
        remainder.addr_(data + slope, kernel + tilt, alpha=gamma32)
    else:
        remainder.addr_(slope, kernel + tilt, alpha=gamma32)
        remainder.addr_(data, tilt, alpha=gamma32)
    remainder.add_(2.0**-90)


def absolute_products(noise: Tensor, w: TaylorModel) -> list[Tensor]:
    """Upper bounds of |W| r, the noise that weights hand on, and of |D| r, what their change adds.

    The weights' own remainder counts in the error by norms. In float32 where that is safe: a sum
    of non-negative terms errs relatively. The bounds are of the type of the noise.
    """
    product, factor, least = scaled_absolute_product(noise, w)
    if factor != 1:
        product = product.to(noise.dtype).mul_(factor).add_(least)
    return list(product.split(len(w.value), -1))


def scaled_absolute_product(noise: Tensor, w: TaylorModel) -> tuple[Tensor, float, float]:
    """What :func:`absolute_products` returns, side by side, as `factor` times it plus `least`."""
    terms = noise.shape[-1]
    single = noise.dtype == torch.float32 or single_is_safe(noise)
    key = "absolute32" if single else "absolute64"
    if key not in w.cache:
        sizes = [part.abs() for part in (w.value, w.slope) if part is not None]
        w.cache[key] = torch.cat([upward(size) if single else size for size in sizes]).t()
    product = (upward(noise) if single else noise) @ w.cache[key]
    if not single:
        return product, 1.0, 0.0
    accumulated = (terms + 8) * 2.0**-24
    return product, 1 + 2 * accumulated / (1 - accumulated), terms * 2.0**-120


def upward(part: Tensor) -> Tensor:
    """Float32 numbers that are no smaller, all positive."""
    return part.mul(1 + 2.0**-22).float().clamp_(min=2.0**-126)


def _linear_origin(
    noise: Tensor, earlier: Origin | None, w: TaylorModel, out: TaylorModel, inherited: Tensor
) -> Origin:
    """The error goes through the weights at the centre; all else in the remainder is fresh."""
    remainder, weight = out.remainder, w.cache.get("value32", w.value)
    assert remainder is not None
    terms = len(weight) + 8
    if weight.dtype == torch.float32:
        rounding = 2 * terms * 2.0**-24 / (1 - terms * 2.0**-24)
    else:
        rounding = gamma(terms)
    return Origin(
        noise,
        earlier,
        lambda g, owner: (g.to(weight.dtype) @ weight).double(),
        lambda owner: fresh_part(remainder[owner], inherited[owner]),
        rounding,
    )


def fresh_part(remainder: Tensor, inherited: Tensor) -> Tensor:
    """The rest of a remainder that is, rounded up, the sum of it and what is inherited."""
    return (remainder - inherited).mul_(1 + 2.0**-50).add_(TINY)


def single_is_safe(x: Tensor) -> bool:
    """Whether float32 products and convolutions are inner products, added in float32."""
    return (
        x.device.type == "cpu"
        and platform.machine() in {"x86_64", "AMD64"}
        and torch.get_float32_matmul_precision() == "highest"
        and "ONEDNN_DEFAULT_FPMATH_MODE" not in os.environ
        and x[:1].numel() > SMALL
    )


def row_norms(w: TaylorModel) -> tuple[Tensor, Tensor]:
    """Norm `[m]` of each row of a weight over the interval, and of its remainder; kept on it."""
    if "rows" not in w.cache:
        flat = [
            None if part is None else part.reshape(len(part), -1)
            for part in (w.value, w.slope, w.remainder)
        ]
        rows = norms(flat)
        slack = torch.zeros_like(rows) if flat[2] is None else norms(flat[2:])
        w.cache["rows"] = rows, slack
    return w.cache["rows"]


def norms(parts: Sequence[Tensor | None]) -> Tensor:
    """Upper bound `[m]` of the 2-norm of each row of |value| + |slope| + remainder."""
    present = [part for part in parts if part is not None]
    total = torch.linalg.vector_norm(present[0], dim=-1)
    for part in present[1:]:
        total = total + torch.linalg.vector_norm(part, dim=-1)
    return inflate(total, present[0].shape[-1] + 8)


def sizes(w: TaylorModel) -> Tensor:
    """Magnitude of a weight over the interval, kept on the weight."""
    if "sizes" not in w.cache:
        w.cache["sizes"] = magnitude(w)
    return w.cache["sizes"]


@rule("matmul", "__matmul__", "mm", "bmm", "dot", "mv")
def matmul(x: Any, y: Any) -> TaylorModel:
    """Matrix product of two models."""
    x, y = as_model(x), as_model(y)
    return bilinear(x, y, torch.matmul, x.value.shape[-1])


@rule("__rmatmul__")
def matmul_from(x: Any, y: Any) -> TaylorModel:
    """Matrix product `y @ x`."""
    return matmul(y, x)


@rule("addmm", "baddbmm")
def addmm(x: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> TaylorModel:
    """Matrix product and sum `beta x + alpha a @ b`."""
    product = matmul(a, b)
    return add(x if beta == 1 else multiply(x, beta), product, alpha=alpha)


@rule("einsum")
def einsum(equation: str, *operands: Any) -> TaylorModel:
    """Einstein sum of one or two models."""
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    if len(operands) == 1:
        operands = (*operands, as_model(operands[0]).value.new_ones(()))
        equation = equation.replace("->", ",->") if "->" in equation else f"{equation},"
    if len(operands) != 2:
        raise UnsupportedOperation("einsum", "more than two operands")
    x, y = as_model(operands[0]), as_model(operands[1])

    def apply(a: Tensor, b: Tensor) -> Tensor:
        return torch.einsum(equation, a, b)

    terms = _summed(equation.replace(" ", ""), x.value.shape, y.value.shape)
    return bilinear(x, y, apply, terms)


def _summed(equation: str, *shapes: torch.Size) -> int:
    """How many products an element of an Einstein sum adds up."""
    inputs, arrow, output = equation.partition("->")
    sizes: dict[str, int] = {}
    for labels, shape in zip(inputs.split(","), shapes, strict=True):
        before, dots, after = labels.partition("...")
        if dots and arrow and dots not in output:
            raise UnsupportedOperation("einsum", "a sum over dimensions without names")
        sizes.update(zip(before, shape, strict=False))
        sizes.update(zip(reversed(after), reversed(shape), strict=False))
    if not arrow:
        output = "".join(label for label in sizes if inputs.count(label) == 1)
    return math.prod(size for label, size in sizes.items() if label not in output)


def bilinear(
    x: TaylorModel, y: TaylorModel, apply: Callable[[Tensor, Tensor], Tensor], terms: int
) -> TaylorModel:
    """Any bilinear map of two models.

    Args:
        x: first model.
        y: second model.
        apply: the map of two tensors; a sum of at most `terms` products an element.
        terms: see `apply`.

    Returns:
        The model of `apply(x, y)`.
    """
    value = apply(x.value, y.value)
    slope = remainder = None
    if x.slope is not None:
        slope = apply(x.slope, y.value)
        if y.slope is not None:
            second = apply(x.slope, y.slope).mul_(0.5)
            value = value + second
            remainder = second.abs_()
    if y.slope is not None:
        slope = plus(slope, apply(x.value, y.slope))
    size_x, size_y = line_magnitude(x), line_magnitude(y)
    error = size_y * gamma(2 * terms + 12)
    if y.remainder is not None:
        error = error + y.remainder
        size_y = size_y + y.remainder
    noise = apply(size_x, error)
    if x.remainder is not None:
        noise = noise + apply(x.remainder, size_y)
    remainder = noise if remainder is None else remainder + noise
    return TaylorModel(value, slope, inflate(remainder, 2 * terms + 16))


@rule("bilinear")
def bilinear_form(a: Any, b: Any, weight: Any, bias: Any = None) -> TaylorModel:
    """The form `a weight b + bias` of ``torch.nn.Bilinear``."""
    left = einsum("...i,oij->...oj", a, weight)
    out = einsum("...oj,...j->...o", left, b)
    return out if bias is None else add(out, bias)


@rule("embedding")
def embedding(
    input: Tensor, weight: Any, padding_idx: Any = None, max_norm: Any = None, *_: Any, **__: Any
) -> TaylorModel:  # fmt: skip
    """Rows of a weight: exact."""
    if max_norm is not None:
        raise UnsupportedOperation("embedding", "max_norm")
    table = as_model(weight)
    found = TaylorModel.later(
        torch.Size((*input.shape, table.shape[-1])), table.device,
        lambda: structural(lambda part: F.embedding(input, part), table),
    )  # fmt: skip
    # A map of the numbers that follows may be taken once a word, not once a place in the text:
    # then nobody asks for the numbers at all.
    found.cache["table"] = table, input
    return found
