"""Proved bounds along a Bézier curve: its chord on a piece, and how far the curve is from it.

On a piece of the curve, in its own parameter σ in [0, 1],

    φ(σ) = chord(σ) - σ (1 - σ)/2 φ''(ξ)    elementwise, for some ξ in [0, 1],

and φ'' is a Bézier curve itself, whose control points are n (n - 1) times the second differences
of those of the piece: it stays within their least and largest (Farin 2002, *Curves and surfaces
for CAGD*, Sections 4.3 and 5.3). As 0 <= σ (1 - σ)/2 <= 1/8, the curve lies within a band around
its chord whose width falls with the square of the piece. The band is the *spread* of the
parameters, with which Taylor models along the chord are bounds along the curve.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.certify.chunks import chunk_size
from thalweg.certify.enclosure import (
    Chunk,
    Parameters,
    is_separable,
    segment_parameters,
    tally,
)
from thalweg.certify.rearranged import rearranged
from thalweg.certify.rounding import TINY, UNIT
from thalweg.certify.rules_criterion import Settled, Tally
from thalweg.paths import bezier


class Curve:
    """A Bézier curve between two models; the counterpart of a straight ``Segment``.

    Args:
        objective: in float64.
        points: `[n, p]`, control points, both ends included.
    """

    def __init__(self, objective: Any, points: Tensor) -> None:
        self._objective = objective = rearranged(objective)
        self._points = points.to(torch.float64)
        degree = len(points) - 1
        # Points of the curve and second differences are sums of `degree + 1` products of control
        # points with factors in [0, 1], rounded a few times each.
        size = self._points.abs().amax(0)
        self._rounding = size.mul_(64 * (degree + 1) ** 3 * UNIT).add_(TINY)
        split = objective.splits[objective.criterion.split]
        self.total = len(split)
        self._size = chunk_size(objective)
        self._separable = is_separable(objective, self._points[0])
        self._all = torch.arange(self.total, device=split.target.device)

    def at(self, t: float) -> Tensor:
        """Parameters `[p]` at t, as rounded."""
        return bezier(self._points, torch.tensor([t], dtype=torch.float64))[0]

    def enclose(
        self, left: float, right: float, ids: Tensor | None = None, settled: Settled | None = None
    ) -> tuple[Tally, int]:
        """Bound the criterion on a piece of the curve.

        Args:
            left: t in [0, 1] where it begins.
            right: t where it ends.
            ids: `[m]`, increasing: the examples to go through; None: all.
            settled: what the others add on this piece.

        Returns:
            What is known of every example gone through, and how many they were.
        """
        ids = self._all if ids is None else ids
        found = self._tally(left, right, ids, settled or Settled(), self.total)
        return found, len(ids)

    def pilot(self, left: float, right: float, examples: int) -> Tally:
        """What the first so many examples say of a piece, as if they were all."""
        return self._tally(left, right, self._all[:examples], Settled(), examples)

    def _tally(self, left: float, right: float, ids: Tensor, settled: Settled, total: int) -> Tally:
        center, slope, spread = band(self._points, left, right)
        models = segment_parameters(self._objective, center, slope, spread + self._rounding)

        def parameters(chunk: Chunk) -> Parameters:
            del chunk
            return models

        return tally(
            self._objective, parameters, ids, settled, total, self._size, separable=self._separable
        )


def band(points: Tensor, left: float, right: float) -> tuple[Tensor, Tensor, Tensor]:
    """A line, and how far a piece of a Bézier curve may be from it.

    Args:
        points: `[n, p]`, control points, float64.
        left: t where the piece begins.
        right: t where it ends.

    Returns:
        Center, slope and spread, `[p]` each: for s in [-1, 1] the curve at
        `(left + right)/2 + s (right - left)/2` is within `spread` of `center + s * slope`,
        rounding aside.

    Example:
        >>> points = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)  # 2 t (1 - t)
        >>> center, slope, spread = band(points, 0.0, 1.0)
        >>> float(center), float(slope), float(spread)
        (0.25, 0.0, 0.25)
    """
    degree = len(points) - 1
    inner = torch.from_numpy(_subdivision(degree, left, right)).to(points.device) @ points
    center, slope = (inner[0] + inner[-1]) / 2, (inner[-1] - inner[0]) / 2
    if degree == 1:
        return center, slope, torch.zeros_like(center)
    bending = (inner[2:] - 2 * inner[1:-1] + inner[:-2]) * (degree * (degree - 1))
    low, high = bending.amin(0).clamp(max=0), bending.amax(0).clamp(min=0)
    # What is to be added to the chord lies between -high/8 and -low/8.
    return center - (high + low) / 16, slope, (high - low) / 16


def _subdivision(degree: int, left: float, right: float) -> np.ndarray:
    """From the control points of a curve to those of a piece of it, `[degree + 1, degree + 1]`.

    The polar form: control point j takes `right` j times and `left` the other times.
    """
    a, b = np.array([1 - left, left]), np.array([1 - right, right])
    return np.stack([
        functools.reduce(np.convolve, [a] * (degree - j) + [b] * j, np.ones(1))
        for j in range(degree + 1)
    ])  # fmt: skip
