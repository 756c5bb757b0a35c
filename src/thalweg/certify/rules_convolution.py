"""Convolution and average pooling of Taylor models.

What is of first and second order in the halfwidth may be convolved in float32 where that is faster,
its rounding error bounded like every other (:func:`_mixed`); on wide pieces everything is
(:func:`_by_ends`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify import convolution_loops
from thalweg.certify.inner_products import Geometry
from thalweg.certify.origins import Origin
from thalweg.certify.ranges import reach
from thalweg.certify.rounding import TINY, charge, gamma, inflate, unit
from thalweg.certify.rules_algebra import add
from thalweg.certify.rules_linear import fresh_part, sizes
from thalweg.certify.single import (
    SMALL,
    ends,
    ends_of,
    ends_will_do,
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
    error = _unsure(x, w, large, lower)
    added = None if bias is None else as_model(bias)
    if x.slope is not None and large and lower == torch.float32 and _ends_will_do(x, w):
        out = _by_ends(x, w, apply, error, added)
        if spatial == 2:
            out.origin = _origin(x, w, out, geometry)
        return out
    if x.slope is not None and large:
        value, slope, remainder = _mixed(x, w, apply, lower)
    else:
        value, slope, second = _products(x, w, apply, lower if large else torch.float64)
        remainder = None
        if second is not None:
            value, remainder = value + second, second.abs()
        if x.remainder is not None:
            remainder = plus(remainder, apply(x.remainder, sizes(w)))
    if added is not None and slope is not None:
        # In place: another roundoff of value and slope, which the norms above leave room for.
        error.add_(_unsure_bias(added))
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
    if x.slope is not None and large and spatial == 2:
        out.origin = _origin(x, w, out, geometry)
    return out


def _unsure(x: TaylorModel, w: TaylorModel, large: bool, lower: torch.dtype) -> Tensor:
    """Rounding `[n, m]`, by 1-norm of the kernel times the largest number of the example."""
    terms = w.value[0].numel()
    largest = _largest(x)
    norms, slack = _kernel_norms(w)
    share = norms * gamma(2 * terms + 16) + slack
    if x.slope is None and w.slope is not None and large and lower == torch.float32:
        tilts = inflate(w.slope.flatten(1).abs().sum(1), terms)
        share = share + tilts * gamma(terms + 8, unit(lower))
    return torch.outer(largest, share).add_(2.0**-90 if large else 0.0)


def _unsure_bias(bias: TaylorModel) -> Tensor:
    """What is unsure of a bias `[m]` that is added in place."""
    return charge(bias.remainder, 4, bias.value, bias.slope)


def _origin(x: TaylorModel, w: TaylorModel, out: TaylorModel, geometry: Geometry) -> Origin | None:
    """The error goes through the kernels at the centre, back by a transposed convolution."""
    noise, remainder = x.remainder, out.remainder
    if noise is None or remainder is None or isinstance(geometry.padding, str):
        return None
    shape, (kernel, _, _, size, _) = x.value.shape[1:], w.cache["mixed"]
    lost = gamma(w.value[0].numel() + 16, unit(kernel.dtype))

    def fresh(owner: Tensor) -> Tensor:
        return fresh_part(
            remainder, lambda ids: geometry.convolve(noise[ids].to(size.dtype), size), lost, owner
        )

    def pull(g: Tensor, owner: Tensor) -> Tensor:
        return geometry.pull_back(g.to(kernel.dtype), kernel, shape).double()

    rounding = 2 * gamma(w.value[:, 0].numel() + 8, unit(kernel.dtype))
    return Origin(noise, x.origin, pull, fresh, rounding)


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Value in float64; slope, second order and remainder in `lower`, their rounding charged.

    Convolution in float32 is several times faster than in float64 on a CPU, and its rounding
    error, gamma_n |w|·|x| with n terms and u = 2^-24, is small beside the second order: everything
    it touches is itself of first order in the halfwidth. With the Cauchy-Schwarz inequality on each
    patch, |w|·|x| <= ‖w‖ ‖x‖: the error of a slope is at most gamma (‖W‖ ‖slope‖ + ‖D‖ ‖value‖),
    norms of kernels times norms of patches.

    Returns:
        Value, slope and remainder.
    """
    kernel, tilt, first_order, _, both = _kernels(w, lower)
    assert x.slope is not None
    rounding = gamma(2 * w.value[0].numel() + 8, unit(lower))
    data, slope = x.value.to(lower), x.slope.to(lower)
    second = apply(slope, tilt).double().mul_(0.5)
    value = apply(x.value, w.value).add_(second)
    out = apply(torch.cat([slope, data], 1), first_order).double()
    by_kernel, by_tilt = (part * rounding for part in _norms(w))
    remainder = second.abs_()
    for part, share in ((slope, by_kernel + by_tilt), (data, by_tilt)):
        # Sums of a few thousand squares err by less than 2^-10; the root halves that.
        patches = _squares(part, kernel, apply).sqrt_().double().mul_(1 + 2.0**-9)
        remainder.addcmul_(patches, _channels(share, x.value.ndim - 2))
    remainder.add_(2.0**-60)
    if x.remainder is not None:
        noise = apply(_raised(x.remainder, lower), both).double()
        remainder.add_(noise.mul_(1 + 2 * rounding).add_(2.0**-90))
    return value, out, remainder


def _by_ends(
    x: TaylorModel, w: TaylorModel, apply: Apply, error: Tensor, bias: TaylorModel | None
) -> TaylorModel:
    """All in float32, value and slope from the products at both ends of the piece.

    See :func:`thalweg.certify.single.line_by_ends`.

    Args:
        x: what the kernels see, with a slope.
        w: the kernels, with a slope.
        apply: the convolution.
        error: `[n, m]`, of which no product knows.
        bias: if there is one.
    """
    single = torch.float32
    kernel, tilt, _, _, both = _kernels(w, single)
    assert x.slope is not None
    data, slope = x.value.to(single), x.slope.to(single)
    channels, roundings = _blocks(w)
    at_ends = zip(ends_of(data, slope), ends(w), strict=True)
    right, left = (_in_blocks(*each, apply, channels) for each in at_ends)
    second = apply(slope, tilt)
    if x.remainder is None:
        absolute = torch.zeros_like(second)
    else:
        absolute = apply(upward(x.remainder), both)
    rounding = gamma(2 * w.value[0].numel() + 8, unit(single))
    by_kernel, by_tilt = _norms(w)
    at_end = (by_kernel + by_tilt) * gamma(roundings, unit(single))
    # Sums of a few thousand squares err by less than 2^-10; the root halves that.
    shares = torch.stack([at_end + by_tilt * rounding, at_end]) * (1 + 2.0**-9)
    patches = torch.stack([_squares(part, kernel, apply) for part in (slope, data)])
    shift = x.value.new_zeros(2, len(w.value))
    if bias is not None:
        shift[0] = bias.value
        if bias.slope is not None:
            shift[1] = bias.slope
        error = error + _unsure_bias(bias)
    out = [torch.empty(second.shape, dtype=torch.float64) for _ in range(3)]
    charges = 1 + 2 * rounding, 2.0**-59, 1 + gamma(2 * w.value[0].numel() + 32), TINY
    convolution_loops.by_ends(
        *(part.flatten(2).numpy() for part in (right, left, second, absolute)),
        patches.flatten(2).numpy(), shares.numpy(), shift.numpy(), error.numpy(), charges,
        *(part.flatten(2).numpy() for part in out),
    )  # fmt: skip
    return TaylorModel(*out)


def _kernels(w: TaylorModel, lower: torch.dtype) -> tuple[Tensor, ...]:
    """W, D, both side by side, and at least |W| and |W| + |D|; kept on the weight."""
    if "mixed" not in w.cache:
        assert w.slope is not None
        kernel, tilt = w.value.to(lower), w.slope.to(lower)
        w.cache["mixed"] = (
            kernel, tilt, torch.cat([kernel, tilt], 1), w.value.abs().to(lower),
            _raised(w.value.abs() + w.slope.abs(), lower),
        )  # fmt: skip
    return w.cache["mixed"]


def _norms(w: TaylorModel) -> tuple[Tensor, Tensor]:
    """2-norms `[m]` of the kernels and of how they change, kept on the weight."""
    if "kernel norms" not in w.cache:
        assert w.slope is not None
        kernel, tilt = (part.flatten(1).norm(dim=1) for part in (w.value, w.slope))
        w.cache["kernel norms"] = kernel, tilt
    return w.cache["kernel norms"]


def _ends_will_do(x: TaylorModel, w: TaylorModel) -> bool:
    return ends_will_do((x.value, x.slope, x.remainder), w, _blocks(w)[1])


def _blocks(w: TaylorModel) -> tuple[int, int]:
    """Channels that :func:`_in_blocks` convolves together, and how many roundings follow."""
    places = w.value[0, 0].numel()
    # Kernels are laid out for powers of two.
    channels = 2 ** int(math.log2(max(1, _BLOCK // places)))
    return channels, channels * places + w.value.shape[1] // channels + 8


def _in_blocks(data: Tensor, kernel: Tensor, apply: Apply, channels: int) -> Tensor:
    """A convolution in float32, some channels after the other, so that few roundings follow.

    Args:
        data: what the kernels see.
        kernel: of the same type.
        apply: the convolution.
        channels: how many go together.
    """
    blocks = zip(data.split(channels, 1), kernel.split(channels, 1), strict=True)
    parts = (apply(some.contiguous(), part.contiguous()) for some, part in blocks)
    return functools.reduce(Tensor.add_, parts)


def _raised(part: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of a type that are no smaller."""
    return upward(part) if dtype == torch.float32 else part


def _squares(data: Tensor, kernel: Tensor, apply: Apply) -> Tensor:
    """Sum `[n, 1, ...]` of the squares of every patch of the data that a kernel sees."""
    window = data.new_ones(1, 1, *kernel.shape[2:])
    return apply(data.square().sum(1, keepdim=True), window).clamp_(min=0)


def _largest(x: TaylorModel) -> Tensor:
    """Upper bound `[n]` of the absolute numbers of each example."""
    total = torch.zeros(len(x.value), dtype=torch.float64, device=x.value.device)
    for part in (x.value, x.slope, x.remainder):
        if part is not None:
            # Not aminmax, which goes through memory number by number.
            flat = part.flatten(1)
            total = total + torch.maximum(flat.amin(1).neg(), flat.amax(1))
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
