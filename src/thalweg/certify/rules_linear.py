"""Linear algebra of Taylor models: affine maps, matrix products, any bilinear map."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.origins import Origin
from thalweg.certify.rounding import TINY, gamma, inflate
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


@rule("linear")
def linear(input: Any, weight: Any, bias: Any = None) -> TaylorModel:
    """Affine map `input @ weight.T + bias`; input `[..., n]`, weight `[m, n]`.

    The rounding error of the inner products is at most gamma_n |x|·|w| <= gamma_n ‖x‖ ‖w‖
    (Cauchy-Schwarz), an outer product of norms in place of another matrix product. The remainder
    of the weights, nothing but rounding for a model's own parameters, is charged the same way.
    """
    x, w = as_model(input), as_model(weight)
    if is_constant(x) and "products" in w.cache:
        out = w.cache["products"](x.value)
        if out is not None:
            return out if bias is None else add(out, bias)
    shape, terms = x.value.shape, x.value.shape[-1]
    parts = [
        None if part is None else part.reshape(-1, terms)
        for part in (x.value, x.slope, x.remainder)
    ]
    xv, xd, xr = parts
    assert xv is not None
    wv = w.value.t()
    value = xv @ wv
    slope = remainder = None
    if xd is not None:
        slope = xd @ wv
        if w.slope is not None:
            second = (xd @ w.slope.t()).mul_(0.5)
            value.add_(second)
            remainder = second.abs_()
    if w.slope is not None:
        slope = xv @ w.slope.t() if slope is None else slope.addmm_(xv, w.slope.t())
    inherited = None
    if xr is not None:
        inherited, changed = _absolute_products(xr, w)
        remainder = changed if remainder is None else remainder.add_(changed)
        remainder.add_(inherited)
    rows, slack = row_norms(w)
    error = rows * gamma(2 * terms + 12) + slack
    columns = norms(parts)
    if remainder is None:
        remainder = torch.outer(columns, error)
    else:
        remainder.addr_(columns, error)
    result = (*shape[:-1], value.shape[-1])
    out = TaylorModel(
        value.reshape(result),
        None if slope is None else slope.reshape(result),
        inflate(remainder, 2 * terms + 12).reshape(result),
    )
    if bias is not None:
        out = add(out, bias)
    if x.remainder is not None and inherited is not None and len(shape) > 1:
        out.origin = _linear_origin(x.remainder, x.origin, w, out, inherited.reshape(result))
    return out


def _absolute_products(noise: Tensor, w: TaylorModel) -> tuple[Tensor, Tensor]:
    """Upper bounds of |W| r and |D| r, the noise that weights hand on and what their change adds.

    The weights' own remainder counts in the error by norms. In float32 where that is safe: a sum
    of non-negative terms errs relatively.
    """
    single = single_is_safe(noise)
    key = "absolute32" if single else "absolute64"
    if key not in w.cache:
        parts = [part.abs() for part in (w.value, w.slope) if part is not None]
        if single:
            parts = [upward(part) for part in parts]
        w.cache[key] = [part.t() for part in parts]
    terms = noise.shape[-1]
    if single:
        noise = upward(noise)
    products = [noise @ part for part in w.cache[key]]
    if single:
        accumulated = (terms + 8) * 2.0**-24
        factor = 1 + 2 * accumulated / (1 - accumulated)
        products = [part.double().mul_(factor).add_(terms * 2.0**-120) for part in products]
    return products[0], products[1] if len(products) > 1 else torch.zeros_like(products[0])


def upward(part: Tensor) -> Tensor:
    """Float32 numbers that are no smaller, all positive."""
    return part.mul(1 + 2.0**-22).float().clamp_(min=2.0**-126)


def _linear_origin(
    noise: Tensor, earlier: Origin | None, w: TaylorModel, out: TaylorModel, inherited: Tensor
) -> Origin:
    """The error goes through the weights at the centre; all else in the remainder is fresh."""
    remainder, weight = out.remainder, w.value
    assert remainder is not None
    return Origin(
        noise,
        earlier,
        lambda g, owner: g @ weight,
        lambda owner: fresh_part(remainder[owner], inherited[owner]),
        gamma(len(weight) + 4),
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


@dataclass(frozen=True)
class Chunk:
    """Examples that go through the model together, as a rule may recognize them.

    Attributes:
        inputs: the tensors handed to the model, `[m, ...]` each.
        ids: `[m]`, which examples of the split they are.
        total: number of all examples.
    """

    inputs: tuple[Tensor, ...]
    ids: Tensor
    total: int

    def find(self, x: Tensor) -> int | None:
        """Which of the inputs a tensor is, in any shape `[m, ...]`; None if it is none of them."""
        for i, own in enumerate(self.inputs):
            same = x.data_ptr() == own.data_ptr() and x.numel() == own.numel()
            whole = x.is_contiguous() and own.is_contiguous() and x._version == own._version
            if same and whole and x.ndim > 1 and len(x) == len(own):
                return i
        return None


class Products:
    """Products of the data with a layer's weights, shared by all pieces of one segment.

    On a segment `W(t) = W + (t - 1/2) D` a layer that sees the data themselves is affine in t:
    `x W` and `x D` are computed once an example. Only data are recognized, and kept as long as
    the room allows.

    Args:
        middle: weight `[m, n]` at t = 1/2.
        direction: `[m, n]`, its change along the whole segment.
        spread: `[m, n]`, how far the exact weights may be from that line, for every t.
        room: a list with the number of elements that may still be kept, shared among layers.
    """

    def __init__(self, middle: Tensor, direction: Tensor, spread: Tensor, room: list[int]) -> None:
        self._weights = torch.cat([middle, direction]).t()
        terms = middle.shape[1]
        self._error = norms((middle, direction)) * gamma(2 * terms + 16) + norms((spread,))
        self._room = room
        self._kept: dict[tuple[Any, ...], _Kept | None] = {}

    def at(
        self, offset: float, halfwidth: float, chunk: Chunk
    ) -> Callable[[Tensor], TaylorModel | None]:
        """The layer on a piece.

        Args:
            offset: t - 1/2 at its centre.
            halfwidth: of the piece.
            chunk: what is going through the model.

        Returns:
            A function of the input that gives the product, or None where nothing is kept.
        """

        def apply(x: Tensor) -> TaylorModel | None:
            which = chunk.find(x)
            if which is None:
                return None
            key = (which, x.shape[1:])
            if key not in self._kept:
                self._kept[key] = self._make(x, chunk.total)
            kept = self._kept[key]
            if kept is None:
                return None
            both, size = kept.rows(x, chunk.ids)
            m = self._weights.shape[1] // 2
            middle, direction = both[..., :m], both[..., m:]
            value = torch.add(middle, direction, alpha=offset)
            return TaylorModel(value, direction * halfwidth, inflate(size * self._error))

        return apply

    def _make(self, x: Tensor, total: int) -> _Kept | None:
        """Room for the products of all examples, if there is any."""
        width = self._weights.shape[1]
        needed = total * (x[0].numel() // x.shape[-1]) * (width + 1)
        if needed > self._room[0]:
            return None
        self._room[0] -= needed
        shape = (total, *x.shape[1:-1])
        return _Kept(
            self._weights,
            x.new_empty(*shape, width),
            x.new_empty(*shape, 1),
            torch.zeros(total, dtype=torch.bool, device=x.device),
        )


@dataclass(frozen=True, eq=False)
class _Kept:
    """Products of the examples seen so far.

    Attributes:
        weights: `[n, 2m]`.
        products: `[total, ..., 2m]`.
        sizes: `[total, ..., 1]`, norms of the data.
        known: `[total]`, bool.
    """

    weights: Tensor
    products: Tensor
    sizes: Tensor
    known: Tensor

    def rows(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Products and sizes of some examples, computed where they are not known."""
        if not bool(self.known[ids].all()):
            self.products[ids] = x @ self.weights
            self.sizes[ids] = norms((x,)).unsqueeze(-1)
            self.known[ids] = True
        return self.products[ids], self.sizes[ids]


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
        operands = (*operands, 1.0)
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
    return structural(lambda part: F.embedding(input, part), as_model(weight))
