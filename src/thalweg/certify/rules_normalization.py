"""Normalizations, composed of arithmetic rules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.certify.rounding import charge
from thalweg.certify.rules_activation import inverse_square_root, square_root
from thalweg.certify.rules_algebra import (
    add,
    divide,
    mean,
    multiply,
    power,
    square,
    subtract,
    total,
)
from thalweg.certify.rules_convolution import average
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule


@rule("batch_norm")
def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *_: Any,
) -> TaylorModel:  # fmt: skip
    """Batch normalization in evaluation; the running statistics may be models themselves."""
    if isinstance(training, Tensor):  # torch.batch_norm has weight and bias first
        running_mean, running_var, weight, bias, training, eps = (
            weight, bias, running_mean, running_var, bool(momentum), float(_[0])
        )  # fmt: skip
    if training or running_mean is None:
        raise UnsupportedOperation("batch_norm", "statistics of the batch")
    x = as_model(input)
    shape = (1, -1, *[1] * (x.value.ndim - 2))
    factor = _inverse_deviation(running_var, eps)
    if weight is not None:
        factor = multiply(factor, weight)
    out = multiply(subtract(x, as_model(running_mean).reshape(shape)), factor.reshape(shape))
    return out if bias is None else add(out, as_model(bias).reshape(shape))


def _inverse_deviation(variance: Any, eps: float) -> TaylorModel:
    if isinstance(variance, TaylorModel):
        return inverse_square_root(add(variance, eps))
    value = (variance.double() + eps).rsqrt()
    return TaylorModel(value, None, charge(None, 16, value))


@rule("layer_norm")
def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    *_: Any,
) -> TaylorModel:  # fmt: skip
    """Layer normalization (Ba et al. 2016)."""
    x = as_model(input)
    dims = tuple(range(-len(tuple(normalized_shape)), 0))
    return _scaled(_standardized(x, dims, eps), weight, bias)


@rule("group_norm")
def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> TaylorModel:  # fmt: skip
    """Group normalization (Wu & He 2018)."""
    x = as_model(input)
    shape = x.value.shape
    grouped = x.reshape(shape[0], num_groups, -1)
    out = _standardized(as_model(grouped), (-1,), eps).reshape(shape)
    channels = (-1, *[1] * (len(shape) - 2))
    parts = [None if p is None else as_model(p).reshape(channels) for p in (weight, bias)]
    return _scaled(as_model(out), *parts)


@rule("rms_norm")
def rms_norm(
    input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> TaylorModel:  # fmt: skip
    """Root mean square normalization (Zhang & Sennrich 2019)."""
    x = as_model(input)
    dims = tuple(range(-len(tuple(normalized_shape)), 0))
    eps = torch.finfo(torch.float64).eps if eps is None else eps
    return _scaled(multiply(x, inverse_square_root(add(mean(square(x), dims, True), eps))), weight)


def _standardized(x: TaylorModel, dims: tuple[int, ...], eps: float) -> TaylorModel:
    centred = subtract(x, mean(x, dims, True))
    variance = mean(square(centred), dims, True)
    return multiply(centred, inverse_square_root(add(variance, eps)))


def _scaled(x: TaylorModel, weight: Any, bias: Any = None) -> TaylorModel:
    if weight is not None:
        x = multiply(x, weight)
    return x if bias is None else add(x, bias)


@rule("local_response_norm")
def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> TaylorModel:  # fmt: skip
    """Normalization across neighbouring channels (Krizhevsky et al. 2012)."""
    x = as_model(input)
    squares = square(x)

    def across(part: Tensor) -> Tensor:
        flat = part.reshape(part.shape[0], 1, part.shape[1], -1)
        padded = F.pad(flat, (0, 0, size // 2, (size - 1) // 2))
        return F.avg_pool2d(padded, (size, 1), stride=1).reshape(part.shape)

    local = average(squares, across, size)
    return multiply(x, power(add(multiply(local, alpha), k), -beta))


@rule("norm", "linalg_vector_norm")
def norm(
    x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None, ord: Any = None
) -> TaylorModel:  # fmt: skip
    """Euclidean norm, away from zero."""
    if p not in {2, "fro"} or ord not in {None, 2}:
        raise UnsupportedOperation("norm", f"other than Euclidean (p={p})")
    return square_root(total(square(x), dim, keepdim))


@rule("normalize")
def normalize(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> TaylorModel:
    """Division by the Euclidean norm, where that is larger than `eps`."""
    from thalweg.certify.rules_activation import clamp

    return divide(x, clamp(norm(x, p, dim, True), eps))


@rule("_weight_norm", "_weight_norm_interface")
def weight_norm(v: Any, g: Any, dim: int = 0) -> TaylorModel:
    """Weight normalization `g v / ‖v‖` (Salimans & Kingma 2016)."""
    v = as_model(v)
    dims = tuple(d for d in range(v.value.ndim) if d != dim % v.value.ndim)
    return multiply(v, divide(g, norm(v, 2, dims, True)))
