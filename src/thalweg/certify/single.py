"""Inner products in float32 where that is safe, and what they are rounded.

On a CPU they take half the time of float64, convolutions a quarter. Fit for that is what is small
itself: what is of first or second order in the halfwidth, and absolute products; on wide pieces
values, too.
"""

from __future__ import annotations

import functools
import math
import os
import platform
from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.certify.rounding import UNIT32, gamma
from thalweg.certify.taylor import TaylorModel

SMALL = 512
"""Numbers an example below which float32 does not pay."""

BLOCK = 128
"""Terms of a product in float32 that are added in one go: fewer roundings follow each other."""


def single_is_safe(x: Tensor) -> bool:
    """Whether float32 products and convolutions are inner products, added in float32."""
    return (
        x.device.type == "cpu"
        and platform.machine() in {"x86_64", "AMD64"}
        and torch.get_float32_matmul_precision() == "highest"
        and "ONEDNN_DEFAULT_FPMATH_MODE" not in os.environ
        and x[:1].numel() > SMALL
    )


def rounded(w: TaylorModel, part: str, dtype: torch.dtype) -> Tensor:
    """The value or the slope of a weight in another type, kept on the weight."""
    if dtype == torch.float64:
        return getattr(w, part)
    if f"{part}32" not in w.cache:
        w.cache[f"{part}32"] = getattr(w, part).float()
    return w.cache[f"{part}32"]


def product(x: Tensor, w: TaylorModel, part: str, single: bool) -> Tensor:
    """Product with a weight, its error in float32 at most gamma ‖x‖ ‖w‖, see :func:`roundings_of`.

    Args:
        x: `[m, terms]`, float64.
        w: the weight, `[outputs, terms]`.
        part: ``"value"`` or ``"slope"`` of it.
        single: whether to take float32.

    Returns:
        `[m, outputs]`, float64.
    """
    if not single:
        return x @ getattr(w, part).t()
    return in_blocks(x.float(), rounded(w, part, torch.float32))


def in_blocks(x: Tensor, weight: Tensor) -> Tensor:
    """A product in float32, block after block, so that fewer roundings follow each other.

    Args:
        x: `[m, terms]`.
        weight: `[outputs, terms]`.
    """
    pairs = zip(x.split(BLOCK, 1), weight.split(BLOCK, 1), strict=True)
    return functools.reduce(Tensor.add_, (data @ block.t() for data, block in pairs)).double()


def roundings_of(terms: int) -> int:
    """How many roundings follow each other in a :func:`product` of so many terms in float32."""
    return BLOCK + terms // BLOCK + 4


def absolute_product(noise: Tensor, w: TaylorModel) -> Tensor:
    """Upper bound of (|W| + |D|) r, the noise r that weights hand on, whatever s is.

    The weights' own remainder counts in the error by norms. In float32 where that is safe: a sum
    of non-negative terms errs relatively.

    Args:
        noise: `[m, terms]`.
        w: the weights, `[outputs, terms]`.

    Returns:
        `[m, outputs]`, of the type of the noise.
    """
    single = noise.dtype == torch.float32 or single_is_safe(noise)
    key = "size32" if single else "size64"
    if key not in w.cache:
        size = w.value.abs() if w.slope is None else w.value.abs().add_(w.slope.abs())
        w.cache[key] = (upward(size) if single else size).t()
    if not single:
        return noise @ w.cache[key]
    factor, least = _made_up(noise.shape[-1])
    return (upward(noise) @ w.cache[key]).to(noise.dtype).mul_(factor).add_(least)


def scaled_absolute_product(noise: Tensor, w: TaylorModel) -> tuple[Tensor, float, float]:
    """Bounds of |W| r and |D| r, side by side, `[m, 2 outputs]`, as `factor` times it plus `least`.

    See :func:`absolute_product`; where weights have no slope there is no |D| r.
    """
    single = noise.dtype == torch.float32 or single_is_safe(noise)
    key = "absolute32" if single else "absolute64"
    if key not in w.cache:
        sizes = [part.abs() for part in (w.value, w.slope) if part is not None]
        w.cache[key] = torch.cat([upward(size) if single else size for size in sizes]).t()
    found = (upward(noise) if single else noise) @ w.cache[key]
    return (found, *_made_up(noise.shape[-1])) if single else (found, 1.0, 0.0)


def _made_up(terms: int) -> tuple[float, float]:
    """What makes up for rounding and underflow of non-negative sums in float32."""
    return 1 + 2 * gamma(terms + 8, UNIT32), terms * 2.0**-120


def upward(part: Tensor) -> Tensor:
    """Float32 numbers that are no smaller, all positive."""
    return part.mul(1 + 2.0**-22).float().clamp_(min=2.0**-126)


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
