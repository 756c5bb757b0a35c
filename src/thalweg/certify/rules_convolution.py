"""Convolution and average pooling of Taylor models.

Values are convolved in float64. What is of first and second order in the halfwidth may be
convolved in float32, its rounding error bounded like every other (:func:`_mixed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from thalweg.certify.origins import Origin
from thalweg.certify.rounding import charge, gamma, inflate
from thalweg.certify.rules_algebra import add
from thalweg.certify.rules_linear import fresh_part, norms, single_is_safe, sizes, upward
from thalweg.certify.taylor import (
    TaylorModel,
    UnsupportedOperation,
    as_model,
    plus,
    reach,
    rule,
    structural,
)

Apply = Callable[[Tensor, Tensor], Tensor]

UNFOLDED = 2**21
"""Bytes of unfolded input that are convolved at once."""

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


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

    def apply(data: Tensor, kernel: Tensor) -> Tensor:
        def convolve(part: Tensor) -> Tensor:
            return _CONVOLUTIONS[spatial](part, kernel, None, stride, padding, dilation, groups)

        # NNPACK may take Winograd's scheme, whose rounding error is not that of inner products.
        with torch.backends.nnpack.flags(enabled=False):
            if data.dtype == torch.float32:
                return convolve(data)
            return torch.cat([convolve(part) for part in data.split(_batch(data, kernel))])

    terms = w.value[0].numel()
    inherited, fast = None, w.slope is not None and groups == 1 and single_is_safe(x.value)
    if x.slope is not None and fast:
        value, slope, remainder, inherited = _mixed(x, w, apply, terms)
    else:
        value, slope, second = _products(x, w, apply, fast=fast)
        remainder = None
        if second is not None:
            value, remainder = value + second, second.abs()
        if x.remainder is not None:
            remainder = plus(remainder, apply(x.remainder, sizes(w)))
    # Rounding, by 1-norm of the kernel times the largest number of the example.
    largest = _largest(x)
    norms, slack = _kernel_norms(w)
    share = norms * gamma(2 * terms + 16) + slack
    if x.slope is None and fast:
        share = share + w.cache["tilt32"].double().flatten(1).abs().sum(1) * _gamma32(terms + 8)
    error = torch.outer(largest, share).add_(2.0**-90 if fast else 0.0)
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
        out.origin = _convolution_origin(x, w, out, inherited, (stride, padding, dilation))
    return out


def _convolution_origin(
    x: TaylorModel, w: TaylorModel, out: TaylorModel, inherited: Tensor, geometry: Any
) -> Origin | None:
    """The error goes through the kernels at the centre, back by a transposed convolution."""
    noise, remainder = x.remainder, out.remainder
    if noise is None or remainder is None or isinstance(geometry[1], str):
        return None
    shape, kernel = x.value.shape[1:], w.cache["single"][0]

    def pull(g: Tensor, owner: Tensor) -> Tensor:
        with torch.backends.nnpack.flags(enabled=False):
            size = (len(g), *shape)
            return conv2d_input(size, kernel, g.float(), *geometry).double()

    return Origin(
        noise,
        x.origin,
        pull,
        lambda owner: fresh_part(remainder[owner], inherited[owner]),
        2 * _gamma32(w.value[:, 0].numel() + 8),
    )


def _batch(data: Tensor, kernel: Tensor) -> int:
    """Examples whose unfolded input stays in cache: in float64, torch unfolds a whole batch."""
    unfolded = kernel[0].numel() * math.prod(data.shape[2:])
    return max(1, UNFOLDED // (8 * unfolded))


def _channels(part: Tensor, spatial: int) -> Tensor:
    """One number a channel, to be broadcast over an image."""
    return part.reshape(-1, *[1] * spatial)


def _gamma32(terms: int) -> float:
    """Higham's gamma_n in float32."""
    accumulated = terms * 2.0**-24
    return accumulated / (1 - accumulated)


def _products(
    x: TaylorModel, w: TaylorModel, apply: Apply, *, fast: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Products of order zero and one, and half of that of order two, in float64.

    The slope of a layer that sees the data is computed in float32 where that is fast: its error is
    at most gamma ‖D‖ times the largest number.
    """
    if w.slope is None:
        slope = None if x.slope is None else apply(x.slope, w.value)
        return apply(x.value, w.value), slope, None
    if x.slope is None and fast:
        if "tilt32" not in w.cache:
            w.cache["tilt32"] = w.slope.float()
        return apply(x.value, w.value), apply(x.value.float(), w.cache["tilt32"]).double(), None
    value, slope = apply(x.value, w.value), apply(x.value, w.slope)
    if x.slope is None:
        return value, slope, None
    return value, slope.add_(apply(x.slope, w.value)), apply(x.slope, w.slope).mul_(0.5)


def _mixed(
    x: TaylorModel, w: TaylorModel, apply: Apply, terms: int
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Value in float64; slope, second order and remainder in float32, their rounding charged.

    Convolution in float32 is several times faster than in float64, and its rounding error,
    gamma_n |w|·|x| with n terms and u = 2^-24, is small beside the second order: everything it
    touches is itself of first order in the halfwidth. With the Cauchy-Schwarz inequality on each
    patch, |w|·|x| <= ‖w‖ ‖x‖: the error of a slope is at most gamma (‖W‖ ‖slope‖ + ‖D‖ ‖value‖),
    norms of kernels times norms of patches.

    Returns:
        Value, slope and remainder, and the part |W| r of the remainder, or None.
    """
    assert x.slope is not None and w.slope is not None  # noqa: PT018 the caller has checked
    if "single" not in w.cache:
        kernel, tilt = w.value.float(), w.slope.float()
        w.cache["single"] = (
            kernel, tilt, torch.cat([kernel, tilt], 1), upward(w.value.abs()), _envelope(w.slope)
        )  # fmt: skip
    _, tilt, first_order, absolute, change = w.cache["single"]
    gamma32 = _gamma32(2 * terms + 8)
    data, slope = x.value.float(), x.slope.float()
    second = apply(slope, tilt).double().mul_(0.5)
    value = apply(x.value, w.value).add_(second)
    out = apply(torch.cat([slope, data], 1), first_order).double()
    # The third is that of the second order, twice.
    errors = [
        (w.value, slope, gamma32), (w.slope, data, gamma32), (w.slope, slope, gamma32)
    ]  # fmt: skip
    remainder, inherited = second.abs_(), None
    for weight, part, share in errors:
        remainder.add_(_patch_errors(weight, part, apply, share))
    if x.remainder is not None:
        # |D| r by an envelope of |D|: one channel, which is enough for what is so small.
        noise, (rows, columns) = upward(x.remainder), change
        inherited = apply(noise, absolute).double().mul_(1 + 2 * gamma32).add_(2.0**-90)
        changed = apply(noise, upward(columns).unsqueeze(0)).double().mul_(1 + 2 * gamma32)
        rows = rows.view(-1, *[1] * (x.value.ndim - 2))
        remainder.add_(inherited).addcmul_(changed.add_(2.0**-90), rows)
    return value, out, remainder, inherited


def _envelope(slope: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors a `[m]` and b `[...]` such that |slope[i]| <= a[i] b, elementwise."""
    rows = norms((slope.flatten(1),))
    columns = (slope.abs() / rows.view(-1, *[1] * (slope.ndim - 1))).amax(0)
    return rows, inflate(columns, 8)


def _patch_errors(kernel: Tensor, data: Tensor, apply: Apply, share: float) -> Tensor:
    """Upper bound of `share` times ‖kernel‖ ‖patch‖, for every kernel and patch of the data."""
    norms = kernel.flatten(1).norm(dim=1).float()
    window = kernel.new_ones(1, 1, *kernel.shape[2:]).float()
    patches = apply(data.square().sum(1, keepdim=True), window).clamp_(min=0).sqrt_()
    # Sums of a few thousand squares err by less than 2^-10; the root halves that.
    errors = patches * norms.mul_(share * (1 + 2.0**-9)).view(-1, *[1] * (data.ndim - 2))
    return errors.double().add_(2.0**-60)


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
