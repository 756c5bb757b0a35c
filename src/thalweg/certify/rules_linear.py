"""Linear algebra of Taylor models: affine maps, matrix products, any bilinear map."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.origins import Origin
from thalweg.certify.ranges import magnitude
from thalweg.certify.rounding import TINY, UNIT, UNIT32, gamma, inflate, unit
from thalweg.certify.rules_algebra import add, is_constant, line_magnitude, multiply
from thalweg.certify.single import (
    absolute_product,
    ends,
    ends_of,
    ends_will_do,
    in_blocks,
    line_by_ends,
    product,
    rounded,
    roundings_of,
    single_is_safe,
)
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    plus,
    rule,
    structural,
)


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
    by_ends = single and ends_will_do(parts, w, roundings_of(terms))
    value, slope, second = _line(parts, w, single, by_ends)
    remainder = None if second is None else second.abs_()
    if xr is not None:
        noise = absolute_product(xr, w)
        remainder = noise if remainder is None else remainder.add_(noise)
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
    if x.remainder is not None and len(shape) > 1:
        out.origin = _origin(x, w, torch.float32 if single else xv.dtype, out)
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


def _line(
    parts: Sequence[Tensor | None], w: TaylorModel, single: bool, by_ends: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Value and slope of a product, and half of its second order, which the value contains."""
    xv, xd, _ = parts
    assert xv is not None
    second = None
    if xd is not None and w.slope is not None:
        second = product(xd, w, "slope", single).mul_(0.5)
    if by_ends and xd is not None and second is not None:
        at_ends = zip(ends_of(xv, xd), ends(w), strict=True)
        value, slope = line_by_ends(*(in_blocks(end.float(), some) for end, some in at_ends))
        return value.sub_(second), slope, second
    value = xv @ w.value.t()
    slope = plus(
        None if xd is None else product(xd, w, "value", single),
        None if w.slope is None else product(xv, w, "slope", single),
    )
    return value if second is None else value.add_(second), slope, second


def _charge_single(
    remainder: Tensor, parts: Sequence[Tensor | None], w: TaylorModel, by_ends: bool
) -> None:
    """Add the rounding errors of products in float32 to a remainder `[m, outputs]`.

    Each is at most gamma ‖x‖ ‖w‖, see :func:`thalweg.certify.single.product`.
    """
    xv, xd, _ = parts
    gamma32 = gamma(roundings_of(w.value.shape[1]), UNIT32)
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


def _origin(x: TaylorModel, w: TaylorModel, dtype: torch.dtype, out: TaylorModel) -> Origin:
    """The error goes through the weights at the centre; all else in the remainder is fresh."""
    noise, remainder, weight = x.remainder, out.remainder, rounded(w, "value", dtype)
    assert noise is not None
    assert remainder is not None
    lost = gamma(weight.shape[1] + 16, unit(dtype))

    def handed(ids: Tensor) -> Tensor:
        key = f"size in {dtype}"
        if key not in w.cache:
            w.cache[key] = weight.abs().t()
        return noise[ids].to(dtype) @ w.cache[key]

    def fresh(owner: Tensor) -> Tensor:
        return fresh_part(remainder, handed, lost, owner)

    rounding = 2 * gamma(len(weight) + 8, unit(dtype))
    return Origin(
        noise, x.origin, lambda g, owner: (g.to(dtype) @ weight).double(), fresh, rounding
    )


def fresh_part(
    remainder: Tensor, handed: Callable[[Tensor], Tensor], lost: float, owner: Tensor
) -> Tensor:
    """What is left of the remainders of some examples without what is handed on of errors.

    Only for examples that somebody asks about is that worked out.

    Args:
        remainder: `[n, ...]`.
        handed: from examples to what is handed on of the errors of their input.
        lost: relative error of that.
        owner: `[k]`, examples, perhaps several times.
    """
    ids, places = owner.unique(return_inverse=True)
    # Where float32 overflows, nothing is known to be handed on.
    least = handed(ids).double().mul_(1 - 8 * lost).nan_to_num_(nan=0.0, posinf=0.0)
    fresh = (remainder[ids] - least).mul_(1 + 2.0**-50).add_(TINY)
    return fresh.clamp_(min=TINY)[places]


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
