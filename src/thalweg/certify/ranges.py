"""Where the numbers of a Taylor model may lie over the whole interval."""

from __future__ import annotations

import torch
from torch import Tensor

from thalweg.certify.taylor import TaylorModel


def reach(x: TaylorModel) -> Tensor:
    """Upper bound `[...]` of the distance of the number from `value`: |slope| + remainder."""
    if x.slope is None:
        return torch.zeros_like(x.value) if x.remainder is None else x.remainder
    if x.remainder is None:
        return x.slope.abs()
    return (x.slope.abs() + x.remainder).mul_(1 + 2.0**-51)


def magnitude(x: TaylorModel) -> Tensor:
    """Upper bound `[...]` of the absolute number."""
    size = x.value.abs()
    if x.slope is None and x.remainder is None:
        return size
    return (size + reach(x)).mul_(1 + 2.0**-51)


def bounds(x: TaylorModel) -> tuple[Tensor, Tensor]:
    """Proved lower and upper bounds `[...]` over the whole interval."""
    distance = reach(x)
    lower, upper = x.value - distance, x.value + distance
    lower.sub_(lower.abs(), alpha=2.0**-52)
    upper.add_(upper.abs(), alpha=2.0**-52)
    return lower, upper
