"""Softmax, logsumexp and attention."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.ranges import reach
from thalweg.certify.rounding import UNIT, inflate
from thalweg.certify.rules_activation import exponential
from thalweg.certify.rules_algebra import (
    add,
    divide,
    multiply,
    negate,
    subtract,
    total,
)
from thalweg.certify.rules_linear import linear, matmul
from thalweg.certify.rules_shape import masked_fill
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule, structural


def log_sum(x: TaylorModel, dim: int) -> TaylorModel:
    """logsumexp along one dimension, kept as a dimension of size one.

    As a function of s it is convex for any fixed disturbance, and increasing in each argument: it
    lies below the chord of its ends with all remainders added, and above its tangent at the centre
    with all remainders subtracted.

    Args:
        x: argument.
        dim: dimension to reduce.

    Returns:
        The model `[..., 1, ...]`.
    """
    value = x.value
    half = torch.zeros_like(value) if x.slope is None else x.slope
    noise = torch.zeros_like(value) if x.remainder is None else x.remainder
    right = torch.logsumexp(value + half + noise, dim, True)
    left = torch.logsumexp(value - half + noise, dim, True)
    low = value - noise
    centre = torch.logsumexp(low, dim, True)
    gradient = (torch.exp(low - centre) * half).sum(dim, True)
    middle, slope = (right + left) * 0.5, (right - left) * 0.5
    bottom = centre - (gradient - slope).abs()
    finite = torch.where(value.isinf(), 0.0, value.abs()) + reach(x)
    size = finite.amax(dim, True)
    error = (size + 1).mul_((64 + 4 * value.shape[dim]) * UNIT) * (1 + half.abs().amax(dim, True))
    band = ((middle - bottom).abs() * 0.5).add_(error)
    return TaylorModel((middle + bottom) * 0.5, slope, inflate(band, 16))


@rule("logsumexp", "special_logsumexp")
def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> TaylorModel:
    """log of the sum of exponentials along one dimension."""
    if not isinstance(dim, int):
        if len(tuple(dim)) != 1:
            raise UnsupportedOperation("logsumexp", "several dimensions")
        (dim,) = tuple(dim)
    out = log_sum(as_model(x), dim)
    return out if keepdim else structural(lambda part: part.squeeze(dim), out)


@rule("log_softmax")
def log_softmax(
    x: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> TaylorModel:
    """Logarithm of softmax; remembers its logits for the losses that follow."""
    x, dim = as_model(x), _dimension(dim)
    out = log_sum(x, dim)
    result = subtract(x, out)
    result.logits, result.cache["dim"] = x, dim % x.value.ndim
    return result


@rule("softmax")
def softmax(x: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> TaylorModel:
    """Exponentials divided by their sum, shifted by the largest value, which changes nothing.

    Entries of minus infinity (masks) have weight zero.
    """
    x, dim = as_model(x), _dimension(dim)
    masked = x.value.isneginf()
    shift = x.value.amax(dim, True)
    shifted = subtract(x, torch.where(shift.isinf(), 0.0, shift))
    if bool(masked.any()):
        weights = multiply(exponential(masked_fill(shifted, masked, 0.0)), (~masked).double())
    else:
        weights = exponential(shifted)
    return divide(weights, total(weights, dim, True))


@rule("softmin")
def softmin(x: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> TaylorModel:
    """Softmax of the negative."""
    return softmax(negate(x), dim)


def _dimension(dim: int | None) -> int:
    if dim is None:
        raise UnsupportedOperation("softmax", "an implicit dimension")
    return dim


@rule("scaled_dot_product_attention")
def attention(
    query: Any, key: Any, value: Any, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> TaylorModel:  # fmt: skip
    """Scaled dot-product attention (Vaswani et al. 2017), without dropout."""
    if dropout_p or enable_gqa or isinstance(attn_mask, TaylorModel):
        raise UnsupportedOperation(
            "scaled_dot_product_attention", "dropout, grouped queries or a trained mask"
        )
    query, key = as_model(query), as_model(key)
    scale = 1 / math.sqrt(query.value.shape[-1]) if scale is None else scale
    scores = multiply(matmul(query, key.transpose(-2, -1)), scale)
    if is_causal:
        length, other = scores.value.shape[-2:]
        attn_mask = scores.value.new_ones(length, other, dtype=torch.bool).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = scores.value.new_zeros(attn_mask.shape).masked_fill(~attn_mask, -math.inf)
        scores = add(scores, attn_mask)
    return matmul(softmax(scores, -1), value)


@rule("multi_head_attention_forward")
def multi_head(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Any, in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool,
    dropout_p: float, out_proj_weight: Any, out_proj_bias: Any, training: bool = True,
    key_padding_mask: Tensor | None = None, need_weights: bool = True,
    attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None, k_proj_weight: Any = None, v_proj_weight: Any = None,
    static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[TaylorModel, None]:  # fmt: skip
    """``nn.MultiheadAttention`` in evaluation; inputs `[length, batch, embedding]`."""
    extras = (bias_k, bias_v, static_k, static_v, key_padding_mask)
    if any(extra is not None for extra in extras) or add_zero_attn or (training and dropout_p):
        raise UnsupportedOperation("multi_head_attention_forward", "options beyond the plain form")
    biases = (None,) * 3 if in_proj_bias is None else as_model(in_proj_bias).chunk(3)
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        weights = as_model(in_proj_weight).chunk(3)
    inputs = [as_model(part) for part in (query, key, value)]
    alone = inputs[0].value.ndim == 2
    heads = []
    for part, weight, bias in zip(inputs, weights, biases, strict=True):
        projected = linear(part.unsqueeze(1) if alone else part, weight, bias)
        length, batch, width = projected.value.shape
        split = projected.reshape(length, batch, num_heads, width // num_heads)
        heads.append(split.permute(1, 2, 0, 3))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = ~attn_mask  # here True means masked
    if attn_mask is not None and attn_mask.ndim == 3:
        attn_mask = attn_mask.reshape(-1, num_heads, *attn_mask.shape[-2:])
    mixed = attention(*heads, attn_mask=attn_mask, is_causal=is_causal and attn_mask is None)
    batch, _, length, _ = mixed.value.shape
    joined = mixed.permute(2, 0, 1, 3).reshape(length, batch, -1)
    out = linear(joined, out_proj_weight, out_proj_bias)
    return (out.squeeze(1) if alone else out), None
