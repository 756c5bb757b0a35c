"""Convolution and average pooling of Taylor models.

What is of first and second order in the halfwidth may be convolved in float32 where that is faster,
its rounding error bounded like every other; values are convolved in float64, but on wide pieces
(:func:`_mixed`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.inner_products import Geometry
from thalweg.certify.origins import Origin
from thalweg.certify.ranges import reach
from thalweg.certify.rounding import charge, gamma, inflate, unit
from thalweg.certify.rules_algebra import add
from thalweg.certify.rules_linear import fresh_part, norms, sizes
from thalweg.certify.single import (
    SMALL,
    ends,
    ends_of,
    ends_will_do,
    line_by_ends,
    single_is_safe,
    upward,
)
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    plus,
    rule,
    structural,
)

Apply = Callable[[Tensor, Tensor], Tensor]

_BLOCK = 256  # terms of an inner product in float32 that are added in one go, about


@rule("conv1d", "conv2d", "conv3d")
def convolution(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> TaylorModel:  # fmt: skip
    """Convolution; input `[n, c, ...]` or `[c, ...]`, weight `[o, c / groups, ...]`."""
    x, w = as_model(input), as_model(weight)
    spatial = w.value.ndim - 2
    if x.value.ndim == spatial + 1:
        batched = structural(lambda part: part.unsqueeze(0), x)
        out = convolution(batched, w, bias, stride, padding, dilation, groups)
        return structural(lambda part: part.squeeze(0), out)

    geometry = Geometry(stride, padding, dilation, groups)
    apply = geometry.convolve
    terms = w.value[0].numel()
    # In small layers, the products are not what costs.
    large = w.slope is not None and groups == 1 and x.value[:1].numel() > SMALL
    lower = torch.float32 if single_is_safe(x.value) else torch.float64
    inherited = None
    if x.slope is not None and large:
        value, slope, remainder, inherited = _mixed(x, w, apply, lower)
    else:
        value, slope, second = _products(x, w, apply, lower if large else torch.float64)
        remainder = None
        if second is not None:
            value, remainder = value + second, second.abs()
        if x.remainder is not None:
            remainder = plus(remainder, apply(x.remainder, sizes(w)))
    # Rounding, by 1-norm of the kernel times the largest number of the example.
    largest = _largest(x)
    norms, slack = _kernel_norms(w)
    share = norms * gamma(2 * terms + 16) + slack
    if x.slope is None and w.slope is not None and large and lower == torch.float32:
        tilts = inflate(w.slope.flatten(1).abs().sum(1), terms)
        share = share + tilts * gamma(terms + 8, unit(lower))
    error = torch.outer(largest, share).add_(2.0**-90 if large else 0.0)
    added = None if bias is None else as_model(bias)
    if added is not None and slope is not None:
        # In place: another roundoff of value and slope, which the norms above leave room for.
        error.add_(charge(added.remainder, 4, added.value, added.slope))
        value.add_(_channels(added.value, spatial))
        if added.slope is not None:
            slope.add_(_channels(added.slope, spatial))
        added = None
    error = error.reshape(*error.shape, *[1] * spatial)
    if remainder is None:
        remainder = error.expand_as(value).clone()
    else:
        remainder.add_(error)
    out = TaylorModel(value, slope, inflate(remainder, 2 * terms + 12))
    if added is not None:
        out = add(out, structural(lambda part: _channels(part, spatial), added))
    if inherited is not None and x.remainder is not None and spatial == 2:
        out.origin = _convolution_origin(x, w, out, inherited, geometry)
    return out


def _convolution_origin(
    x: TaylorModel, w: TaylorModel, out: TaylorModel, inherited: Tensor, geometry: Geometry
) -> Origin | None:
    """The error goes through the kernels at the centre, back by a transposed convolution."""
    noise, remainder = x.remainder, out.remainder
    if noise is None or remainder is None or isinstance(geometry.padding, str):
        return None
    shape, kernel = x.value.shape[1:], w.cache["mixed"][0]

    def pull(g: Tensor, owner: Tensor) -> Tensor:
        return geometry.pull_back(g.to(kernel.dtype), kernel, shape).double()

    return Origin(
        noise,
        x.origin,
        pull,
        lambda owner: fresh_part(remainder[owner], inherited[owner]),
        2 * gamma(w.value[:, 0].numel() + 8, unit(kernel.dtype)),
    )


def _channels(part: Tensor, spatial: int) -> Tensor:
    """One number a channel, to be broadcast over an image."""
    return part.reshape(-1, *[1] * spatial)


def _products(
    x: TaylorModel, w: TaylorModel, apply: Apply, lower: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Products of order zero and one, and half of that of order two, in float64.

    The slope of a layer that sees the data is computed in `lower`: in float32, its error is at most
    gamma ‖D‖ times the largest number.
    """
    if w.slope is None:
        slope = None if x.slope is None else apply(x.slope, w.value)
        return apply(x.value, w.value), slope, None
    if x.slope is None:
        slope = apply(x.value.to(lower), w.slope.to(lower)).double()
        return apply(x.value, w.value), slope, None
    value, slope = apply(x.value, w.value), apply(x.value, w.slope)
    return value, slope.add_(apply(x.slope, w.value)), apply(x.slope, w.slope).mul_(0.5)


def _mixed(
    x: TaylorModel, w: TaylorModel, apply: Apply, lower: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Slope, second order and remainder in `lower`, their rounding charged; the value in float64.

    Convolution in float32 is several times faster than in float64 on a CPU, and its rounding
    error, gamma_n |w|·|x| with n terms and u = 2^-24, is small beside the second order: everything
    it touches is itself of first order in the halfwidth. With the Cauchy-Schwarz inequality on each
    patch, |w|·|x| <= ‖w‖ ‖x‖: the error of a slope is at most gamma (‖W‖ ‖slope‖ + ‖D‖ ‖value‖),
    norms of kernels times norms of patches. On wide pieces value and slope come from products at
    both ends, in float32 as well.

    Returns:
        Value, slope and remainder, and the part |W| r of the remainder, or None.
    """
    assert x.slope is not None and w.slope is not None  # noqa: PT018 the caller has checked
    if "mixed" not in w.cache:
        kernel, tilt = w.value.to(lower), w.slope.to(lower)
        w.cache["mixed"] = (
            kernel, tilt, torch.cat([kernel, tilt], 1), _raised(w.value.abs(), lower),
            _envelope(w.slope),
        )  # fmt: skip
    kernel, tilt, first_order, absolute, change = w.cache["mixed"]
    rounding = gamma(2 * w.value[0].numel() + 8, unit(lower))
    data, slope = x.value.to(lower), x.slope.to(lower)
    second = apply(slope, tilt).double().mul_(0.5)
    norms = [part.flatten(1).norm(dim=1) for part in (w.value, w.slope)]
    channels, roundings = _blocks(w)
    if lower == torch.float32 and ends_will_do((data, slope, x.remainder), w, roundings):
        at_ends = zip(ends_of(x.value, x.slope), ends(w), strict=True)
        value, out = line_by_ends(*(_in_blocks(*each, apply, channels) for each in at_ends))
        value.sub_(second)
        both = (norms[0] + norms[1]) * gamma(roundings, unit(lower))
        shares = both + norms[1] * rounding, both
    else:
        value = apply(x.value, w.value).add_(second)
        out = apply(torch.cat([slope, data], 1), first_order).double()
        shares = (norms[0] + norms[1]) * rounding, norms[1] * rounding
    remainder, inherited = second.abs_(), None
    for part, share in zip((slope, data), shares, strict=True):
        remainder.addcmul_(_patch_norms(part, kernel, apply), _channels(share, x.value.ndim - 2))
    remainder.add_(2.0**-60)
    if x.remainder is not None:
        # |D| r by an envelope of |D|: one channel, which is enough for what is so small.
        noise, (rows, columns) = _raised(x.remainder, lower), change
        inherited = apply(noise, absolute).double().mul_(1 + 2 * rounding).add_(2.0**-90)
        changed = apply(noise, _raised(columns, lower).unsqueeze(0)).double()
        changed.mul_(1 + 2 * rounding)
        rows = _channels(rows, x.value.ndim - 2)
        remainder.add_(inherited).addcmul_(changed.add_(2.0**-90), rows)
    return value, out, remainder, inherited


def _blocks(w: TaylorModel) -> tuple[int, int]:
    """Channels that :func:`_in_blocks` convolves together, and how many roundings follow."""
    places = w.value[0, 0].numel()
    # Kernels are laid out for powers of two.
    channels = 2 ** int(math.log2(max(1, _BLOCK // places)))
    return channels, channels * places + w.value.shape[1] // channels + 8


def _in_blocks(data: Tensor, kernel: Tensor, apply: Apply, channels: int) -> Tensor:
    """A convolution in float32, some channels after the other, so that few roundings follow.

    Args:
        data: what the kernels see, in float64.
        kernel: in float32.
        apply: the convolution.
        channels: how many go together.
    """
    blocks = zip(data.float().split(channels, 1), kernel.split(channels, 1), strict=True)
    parts = (apply(some.contiguous(), part.contiguous()) for some, part in blocks)
    return functools.reduce(Tensor.add_, parts).double()


def _raised(part: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of a type that are no smaller."""
    return upward(part) if dtype == torch.float32 else part


def _envelope(slope: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors a `[m]` and b `[...]` such that |slope[i]| <= a[i] b, elementwise."""
    rows = norms((slope.flatten(1),))
    columns = (slope.abs() / rows.view(-1, *[1] * (slope.ndim - 1))).amax(0)
    return rows, inflate(columns, 8)


def _patch_norms(data: Tensor, kernel: Tensor, apply: Apply) -> Tensor:
    """Upper bound of the 2-norm of every patch of the data that a kernel sees, in float64.

    But for underflow, and wide enough for the product with a norm of the kernel.
    """
    window = data.new_ones(1, 1, *kernel.shape[2:])
    patches = apply(data.square().sum(1, keepdim=True), window).clamp_(min=0).sqrt_()
    # Sums of a few thousand squares err by less than 2^-10; the root halves that.
    return patches.double().mul_(1 + 2.0**-9)


def _largest(x: TaylorModel) -> Tensor:
    """Upper bound `[n]` of the absolute numbers of each example."""
    total = torch.zeros(len(x.value), dtype=torch.float64, device=x.value.device)
    for part in (x.value, x.slope, x.remainder):
        if part is not None:
            low, high = torch.aminmax(part.flatten(1), dim=1)
            total = total + torch.maximum(low.neg(), high)
    return inflate(total, 4)


def _kernel_norms(w: TaylorModel) -> tuple[Tensor, Tensor]:
    """1-norm of each kernel over the interval, and of its remainder; kept on the weight."""
    if "kernels" not in w.cache:
        terms = w.value[0].numel()
        norms = inflate(sizes(w).flatten(1).sum(1), terms + 4)
        slack = torch.zeros_like(norms)
        if w.remainder is not None:
            slack = inflate(w.remainder.flatten(1).sum(1), terms + 4)
        w.cache["kernels"] = norms, slack
    return w.cache["kernels"]


def average(x: TaylorModel, function: Any, terms: int) -> TaylorModel:
    """A linear map whose rows are averages of at most `terms` elements."""
    value = function(x.value)
    slope = None if x.slope is None else function(x.slope)
    size = reach(TaylorModel(x.value, x.value if x.slope is None else x.slope))
    error = function(x.value.abs() + size).mul_(gamma(2 * terms + 4))
    if x.remainder is not None:
        error.add_(function(x.remainder))
    return TaylorModel(value, slope, inflate(error, 2 * terms + 8))


def _pooling_rule(name: str) -> None:
    @rule(name)
    def apply(input: Any, size: Any, *args: Any, **kwargs: Any) -> TaylorModel:
        x = as_model(input)
        if kwargs.get("divisor_override", args[4] if len(args) > 4 else None) is not None:
            raise UnsupportedOperation(name, "divisor_override")
        function = getattr(F, name)
        spatial = int(name[-2])
        terms = math.prod(x.value.shape[-spatial:])
        return average(x, lambda part: function(part, size, *args, **kwargs), terms)

    apply.__doc__ = f"``{name}``: a linear map with non-negative weights of sum at most one."


for _spatial in (1, 2, 3):
    _pooling_rule(f"avg_pool{_spatial}d")
    _pooling_rule(f"adaptive_avg_pool{_spatial}d")
