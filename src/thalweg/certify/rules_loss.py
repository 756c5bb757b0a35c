"""Losses of Taylor models: convex in the output, they lie below the chord of their ends.

The mean over examples of such chords is the chord of the mean loss, so that nothing is lost by
averaging: at either end of the interval the bound is the mean loss of the worst outputs there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thalweg.certify import parabola_loss
from thalweg.certify.origins import bound_functional
from thalweg.certify.parabola import second_order
from thalweg.certify.ranges import reach
from thalweg.certify.rounding import charge, inflate
from thalweg.certify.rules_activation import _softplus, absolute, convex
from thalweg.certify.rules_algebra import (
    add,
    divide,
    mean,
    multiply,
    negate,
    square,
    subtract,
    total,
)
from thalweg.certify.rules_attention import log_sum
from thalweg.certify.taylor import TaylorModel, UnsupportedOperation, as_model, rule, structural

NEGLIGIBLE = 0.02
"""Share of the mean remainder of a loss below which a margin's remainder is left as it is."""


def margins(logits: TaylorModel, target: Tensor, *, signs: bool = False) -> TaylorModel:
    """Differences `z_j - z_y` to the score of the target; common slopes cancel.

    So do errors that both have in common, as far back as the scores know where theirs come from
    (:mod:`thalweg.certify.origins`). That is looked into only where it may matter.

    Args:
        logits: `[m, classes]`.
        target: `[m]`, class indices.
        signs: whether only the signs matter, not what a logsumexp makes of the margins.

    Returns:
        `[m, classes]`, exactly zero at the target.
    """
    index = target.long().unsqueeze(1)

    def own(part: Tensor) -> Tensor:
        return part.gather(1, index)

    difference = subtract(logits, structural(own, logits))
    for part in (difference.value, difference.slope, difference.remainder):
        if part is not None:
            part.scatter_(1, index, 0.0)
    if logits.origin is not None and difference.remainder is not None:
        _tighten(logits, index, difference, signs=signs)
    return difference


def _unclear(margin: TaylorModel, signs: bool) -> Tensor:
    """Which margins `[m, c]` are worth a closer look: a forecast, whose errors cost tightness."""
    noise = margin.remainder
    assert noise is not None
    far = reach(margin)
    if signs:
        return (margin.value + far >= 0) & (margin.value < far)
    part = torch.softmax(margin.value + far, 1) * noise
    return part > NEGLIGIBLE * part.sum(1).mean()


def _tighten(logits: TaylorModel, index: Tensor, margin: TaylorModel, *, signs: bool) -> None:
    """Replace remainders of some margins by bounds of e_j - e_y, where those are smaller."""
    noise = logits.remainder
    owners, rivals = torch.nonzero(_unclear(margin, signs), as_tuple=True)
    if noise is None or margin.remainder is None or not len(owners):
        return
    line = reach(TaylorModel(margin.value, margin.slope))
    # A margin is settled as soon as its upper bound is negative, and a little to spare.
    room = (-margin.value - line)[owners, rivals] * (1 - 2.0**-20) if signs else None
    rounding = charge(None, 2, margin.value, line)
    # As much memory as the scores, twice over, is in use at a time.
    for part in torch.arange(len(owners), device=owners.device).split(1 + len(noise) // 2):
        owner, rival = owners[part], rivals[part]
        g = noise.new_zeros(len(part), noise.shape[1])
        g.scatter_(1, rival.unsqueeze(1), 1.0).scatter_(1, index[owner], -1.0)
        enough = None if room is None else room[part]
        own = bound_functional(noise, logits.origin, g, owner, enough) + rounding[owner, rival]
        before = margin.remainder[owner, rival]
        margin.remainder[owner, rival] = torch.fmin(before, inflate(own))


def rows(logits: TaylorModel, target: Tensor) -> tuple[TaylorModel, Tensor]:
    """Class scores as rows: `[n, c, ...]` becomes `[m, c]`, and targets `[m]`."""
    if logits.ndim == 1:
        return structural(lambda part: part.unsqueeze(0), logits), target.reshape(1)

    def last(part: Tensor) -> Tensor:
        return part.movedim(1, -1).reshape(-1, part.shape[1])

    return (structural(last, logits) if logits.ndim > 2 else logits), target.reshape(-1)


@rule("cross_entropy", "cross_entropy_loss")
def cross_entropy(
    input: Any, target: Any, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> TaylorModel:  # fmt: skip
    """Cross-entropy in nats with class indices or probabilities as targets."""
    x = as_model(input)
    if isinstance(target, TaylorModel) or isinstance(weight, TaylorModel):
        raise UnsupportedOperation("cross_entropy", "targets or weights that are parameters")
    if target.is_floating_point():
        return _soft_cross_entropy(x, target, weight, reduction, label_smoothing)
    if label_smoothing:
        # (1 - e) times the plain loss and e times the mean over all classes.
        if weight is not None:
            raise UnsupportedOperation("cross_entropy", "class weights with label smoothing")
        plain = cross_entropy(x, target, None, None, ignore_index, None, reduction)
        dim = 1 if x.value.ndim > 1 else 0
        spread = subtract(log_sum(x, dim).squeeze(dim), mean(x, dim))
        spread = _reduce(spread, (target != ignore_index).double(), reduction)
        return add(multiply(plain, 1 - label_smoothing), multiply(spread, label_smoothing))
    logits, flat = rows(x, target)
    keep = flat != ignore_index
    flat = torch.where(keep, flat, 0)
    losses = _losses(logits, flat)
    factor = keep.double() if weight is None else weight.double()[flat] * keep
    if reduction == "none":
        shape = target.shape
        scaled = losses if weight is None and bool(keep.all()) else multiply(losses, factor)
        return structural(lambda part: part.reshape(shape), scaled)
    if weight is not None or not bool(keep.all()):
        return _reduce(losses, factor, reduction)
    return _reduce(structural(lambda part: part.reshape(target.shape), losses), None, reduction)


def _losses(logits: TaylorModel, target: Tensor) -> TaylorModel:
    """Cross-entropy `[m]` of scores `[m, c]`, a term in s² kept where the scores have one."""
    if logits.second is not None:
        return second_order(parabola_loss.cross_entropy(logits.second, target))
    return structural(lambda part: part.squeeze(1), log_sum(margins(logits, target), 1))


def _reduce(losses: TaylorModel, factor: Tensor | None, reduction: str) -> TaylorModel:
    """Sum or weighted mean."""
    if reduction == "none":
        return losses if factor is None else multiply(losses, factor)
    if factor is None:
        return mean(losses) if reduction == "mean" else total(losses)
    summed = total(multiply(losses, factor))
    return divide(summed, factor.sum()) if reduction == "mean" else summed


def _soft_cross_entropy(
    x: TaylorModel, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> TaylorModel:
    dim = 1 if x.value.ndim > 1 else 0
    classes = x.value.shape[dim]
    share = as_model(target.double())
    if smoothing:
        share = add(multiply(share, 1 - smoothing), smoothing / classes)
    if weight is not None:
        share = multiply(share, weight.double().reshape(-1, *[1] * (x.value.ndim - 1 - dim)))
    part = multiply(share, subtract(log_sum(x, dim), x))
    losses = total(part, dim)
    if reduction == "none":
        return losses
    examples = losses.value.numel()
    return divide(total(losses), examples if reduction == "mean" else 1)


@rule("nll_loss", "nll_loss_nd", "nll_loss2d")
def nll_loss(
    input: Any, target: Tensor, weight: Tensor | None = None, size_average: Any = None,
    ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
) -> TaylorModel:  # fmt: skip
    """Negative log-likelihood; after a log-softmax the same bound as cross-entropy."""
    x = as_model(input)
    if x.logits is not None and x.cache.get("dim") == min(1, x.value.ndim - 1):
        return cross_entropy(x.logits, target, weight, None, ignore_index, None, reduction)
    scores, flat = rows(x, target)
    keep = flat != ignore_index
    flat = torch.where(keep, flat, 0)
    losses = negate(structural(lambda p: p.gather(1, flat.unsqueeze(1)).squeeze(1), scores))
    factor = keep.double() if weight is None else weight.double()[flat] * keep
    out = _reduce(losses, factor, reduction)
    return structural(lambda p: p.reshape(target.shape), out) if reduction == "none" else out


def _simple(losses: TaylorModel, reduction: str, weight: Any = None) -> TaylorModel:
    if weight is not None:
        losses = multiply(losses, weight)
    return _reduce(losses, None, reduction)


@rule("mse_loss")
def mse_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", weight: Any = None,
) -> TaylorModel:  # fmt: skip
    """Squared error."""
    return _simple(square(subtract(input, target)), reduction, weight)


@rule("l1_loss")
def l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", weight: Any = None,
) -> TaylorModel:  # fmt: skip
    """Absolute error."""
    return _simple(absolute(subtract(input, target)), reduction, weight)


@rule("smooth_l1_loss")
def smooth_l1_loss(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", beta: float = 1.0,
) -> TaylorModel:  # fmt: skip
    """Squared error near zero, absolute error away from it."""
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    return divide(huber_loss(input, target, reduction, beta), beta)


@rule("huber_loss")
def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> TaylorModel:  # fmt: skip
    """Huber's loss."""

    def function(y: Tensor) -> Tensor:
        size = y.abs()
        return torch.where(size < delta, 0.5 * y * y, delta * (size - 0.5 * delta))

    losses = convex(subtract(input, target), function, lambda y: y.clamp(-delta, delta))
    return _simple(losses, reduction, weight)


@rule("binary_cross_entropy_with_logits")
def bce_with_logits(
    input: Any, target: Tensor, weight: Any = None, size_average: Any = None,
    reduce: Any = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> TaylorModel:  # fmt: skip
    """Binary cross-entropy of logits, targets in [0, 1]: (1 - t) z + k softplus(-z)."""
    if isinstance(target, TaylorModel) or bool(((target < 0) | (target > 1)).any()):
        raise UnsupportedOperation("binary_cross_entropy_with_logits", "targets outside [0, 1]")
    t = target.double()
    k = torch.ones_like(t) if pos_weight is None else (pos_weight.double() - 1) * t + 1
    x = as_model(input)

    def function(z: Tensor) -> Tensor:
        return (1 - t) * z + k * _softplus(-z)

    def scale(z: Tensor) -> Tensor:
        return z.abs() + k * (_softplus(-z) + 1)

    losses = convex(
        x, function, lambda z: (1 - t) - k * torch.sigmoid(-z), float(k.max()) * 8 + 8, scale
    )
    return _simple(losses, reduction, weight)


@rule("kl_div")
def kl_div(
    input: Any, target: Any, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", log_target: bool = False,
) -> TaylorModel:  # fmt: skip
    """Kullback-Leibler divergence from log-probabilities to a constant distribution."""
    if isinstance(target, TaylorModel) or reduction not in {"none", "mean", "sum", "batchmean"}:
        raise UnsupportedOperation("kl_div", "targets that depend on the parameters")
    t = target.double().exp() if log_target else target.double()
    entropy = torch.special.xlogy(t, t)
    band = (entropy.abs() + t) * (64 * 2.0**-53)
    constant = TaylorModel(entropy, None, inflate(band))
    losses = subtract(constant, multiply(TaylorModel(t, None, inflate(t * 2.0**-49)), input))
    if reduction == "batchmean":
        return divide(total(losses), losses.value.shape[0])
    return _simple(losses, reduction)
