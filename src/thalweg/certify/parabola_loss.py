"""Losses of numbers of second order: their mean keeps what cancels between examples.

With scores z(s) = v + a s + b s² + e, |e| <= E, the cross-entropy L of their first three terms is
interpolated by a parabola at s = -1, 0, 1, which errs by at most max |s (s² − 1)| / 6 = 1/(9√3)
times the third derivative. With p the softmax, moments under p, z' = a + 2 b s and z'' = 2 b,

    d³L/ds³ = κ_3(z') + 3 Cov(z', z''),    |κ_3(z')| <= r³/(6√3),    |Cov(z', z'')| <= r r'/4,

r and r' the ranges of z' and z'' over the classes: of all numbers in an interval of length r, those
at its ends with probabilities (1 ± 1/√3)/2 have the largest third central moment. The errors add

    ∇L(v)·e,    at most R E_max / 2 for how far ∇L moves,    and at most E_max²/2,

since e' H e is a variance under p, or a covariance with z − v, whose range is R.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thalweg.certify.adjoint import of_rows
from thalweg.certify.parabola import Parabola
from thalweg.certify.rounding import gamma, inflate, unit

_CLASSES = 256  # of scores in float32, at most: what they round grows with them

_TOGETHER = 1 << 15  # scores that are worked on together

_SAG = 1 / (9 * math.sqrt(3))
_SKEW = 1 / (6 * math.sqrt(3))


def cross_entropy(scores: Parabola, target: Tensor) -> Parabola:
    """Cross-entropy in nats `[m]`.

    Args:
        scores: `[m, classes]`.
        target: `[m]`, class indices.
    """
    if scores.noise.shape[1] > _CLASSES:
        scores = scores.to(torch.float64)
    v, a, b = scores.parts
    u = unit(v.dtype)
    index = target.long().unsqueeze(1)

    def ends_and_middle(v: Tensor, a: Tensor, b: Tensor, index: Tensor) -> Tensor:
        points = (v - a).add_(b), v, (v + a).add_(b)
        return torch.stack([z.logsumexp(1) - z.gather(1, index).squeeze(1) for z in points])

    # Rows of a few at a time, so that they stay in the cache.
    few = max(1, _TOGETHER // v.shape[1])
    some = (each.split(few) for each in (v, a, b, index))
    left, middle, right = torch.cat(list(map(ends_and_middle, *some)), 1)
    parts = (middle, (right - left) * 0.5, (right + left) * 0.5 - middle)
    gradient = v.softmax(1)
    gradient.scatter_add_(1, index, torch.full_like(gradient[:, :1], -1.0))
    bend, steep = _range(b), _range(a)
    over = steep + 2 * bend
    noise = _SAG * (_SKEW * over**3 + 1.5 * over * bend)
    most = scores.noise.amax(1)
    noise += 0.5 * most * (steep + bend + most)
    # Scores may be large where losses are small: their sizes are what is rounded.
    size = _largest(v) + _largest(a) + _largest(b) + math.log(v.shape[1]) + 1
    fresh = inflate(noise + (size + most) * ((64 + 2 * v.shape[1]) * u), 16).double()
    pairs = zip(gradient.split(few), scores.noise.split(few), strict=True)
    handed = torch.cat([g.abs().mul_(noise).sum(1) for g, noise in pairs])
    handed = inflate(handed, v.shape[1] + 8)
    noise = inflate(fresh + handed.double(), 4)
    trace = None if scores.trace is None else scores.trace.contracted(gradient, noise, fresh)
    value, slope, curve = (part.double() for part in parts)
    return Parabola((value, slope, curve), noise, noise, trace=trace)


def _largest(part: Tensor) -> Tensor:
    """Largest absolute value over the classes `[m]`."""
    return torch.maximum(part.amax(1), -part.amin(1))


def _range(part: Tensor) -> Tensor:
    """Largest less least over the classes `[m]`."""
    return part.amax(1) - part.amin(1)


def means(losses: Parabola) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means of the losses of each example: value, slope, curve and noise `[n]`.

    Their errors are summed with signs, back through time, where it is known where they come from
    and that example i is row i there.

    Args:
        losses: `[n, k]`.
    """
    count = losses.noise.shape[1]
    value, slope, curve = (part.mean(-1) for part in losses.parts)
    noise = None
    if losses.trace is not None:
        share = torch.full_like(losses.noise, 1 / count)
        noise = of_rows(losses.trace, share, losses.noise)
    if noise is None:
        noise = inflate(losses.noise.mean(-1), count + 8)
    size = sum((part.abs().mean(-1) for part in losses.parts), torch.zeros_like(value))
    noise = noise + (size + noise) * (2 * gamma(count + 8))
    return value, slope, curve, inflate(noise, 8)
