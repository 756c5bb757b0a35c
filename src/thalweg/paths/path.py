"""Curves from θA to θB: polygonal strings and Bézier curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor

from thalweg.errors import InputError
from thalweg.parameters import Layout, each_row, release


class Path(Protocol):
    """Any curve from θA to θB."""

    @property
    def kind(self) -> str:
        """``"polygonal"`` or ``"bezier"``."""
        ...

    @property
    def points(self) -> Tensor:
        """`[n, p]`: vertices or control points, both endpoints included, in order."""
        ...

    @property
    def layout(self) -> Layout:
        """Names and shapes of the parameters."""
        ...

    def at(self, t: Tensor) -> Tensor:
        """Points `[m, p]` of the curve at `t` `[m]` in [0, 1]."""
        ...

    @property
    def length(self) -> float:
        """Euclidean length, over all parameters."""
        ...

    @property
    def endpoint_distance(self) -> float:
        """‖θB − θA‖."""
        ...

    @property
    def normalized_length(self) -> float | None:
        """Length / ‖θB − θA‖ (Section 3.1); None where the endpoints are equal."""
        ...


class _Curve:
    """What all curves share: their ends."""

    points: Tensor

    @property
    def length(self) -> float:
        raise NotImplementedError

    @property
    def endpoint_distance(self) -> float:
        """‖θB − θA‖, in float64."""
        return distance(self.points[0], self.points[-1])

    @property
    def normalized_length(self) -> float | None:
        """Length / ‖θB − θA‖ over all parameters; None where the endpoints are equal."""
        apart = self.endpoint_distance
        return self.length / apart if apart > 0 else None


@dataclass(frozen=True, eq=False)
class Polygonal(_Curve):
    """A string: straight segments between neighbouring points.

    Attributes:
        points: `[n, p]`, both endpoints included, in order; may be memory-mapped.
        layout: names and shapes of the parameters.

    Example:
        >>> layout = Layout(("w",), ((2,),), torch.float32)
        >>> path = Polygonal(torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]), layout)
        >>> path.length, path.normalized_length
        (7.0, 1.4)
        >>> path.at(torch.tensor([0.0, 0.5]))
        tensor([[0.0000, 0.0000],
                [3.0000, 0.5000]])
    """

    points: Tensor
    layout: Layout
    kind: str = "polygonal"

    def __post_init__(self) -> None:
        _check_points(self.points, self.layout)

    @cached_property
    def segment_lengths(self) -> list[float]:
        """Length of each segment, in order, computed in float64."""
        return [distance(a, b) for a, b in pairwise(each_row(self.points))]

    @property
    def length(self) -> float:
        """Sum of the lengths of the segments."""
        # One segment is exactly as long as its endpoints are apart: the sum of one number.
        return math.fsum(self.segment_lengths)

    def at(self, t: Tensor) -> Tensor:
        """Points at fractions `t` of the length.

        Args:
            t: `[m]`, in [0, 1].

        Returns:
            `[m, p]`, in the dtype of the points.
        """
        lengths = self.segment_lengths
        knots = np.concatenate([[0.0], np.cumsum(lengths)])
        wanted = t.to(torch.float64).cpu().numpy() * knots[-1]
        segment = np.clip(np.searchsorted(knots, wanted, side="right") - 1, 0, len(lengths) - 1)
        width = np.array(lengths)[segment]
        inside = np.divide(wanted - knots[segment], width, out=np.zeros_like(width),
                           where=width > 0).clip(0, 1)  # fmt: skip
        inside[wanted >= knots[segment + 1]] = 1.0  # rounding must not move a vertex
        found = torch.cat([
            interpolate(self.points[i], self.points[i + 1], torch.tensor([s], dtype=torch.float64))
            for i, s in zip(segment.tolist(), inside.tolist(), strict=True)
        ])  # fmt: skip
        release(self.points)
        return found


@dataclass(frozen=True, eq=False)
class Bezier(_Curve):
    """A Bézier curve: its ends are the first and last control points (Garipov et al. 2018, Eq. 4).

    Attributes:
        points: `[n, p]`: control points, in order.
        layout: names and shapes of the parameters.

    Example:
        >>> layout = Layout(("w",), ((2,),), torch.float64)
        >>> control = torch.tensor([[0.0, 0.0], [0.5, 1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> Bezier(control, layout).at(torch.tensor([0.5]))
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """

    points: Tensor
    layout: Layout
    kind: str = "bezier"

    def __post_init__(self) -> None:
        _check_points(self.points, self.layout)

    def at(self, t: Tensor) -> Tensor:
        """Points at parameters `t` of the curve.

        Args:
            t: `[m]`, in [0, 1].

        Returns:
            `[m, p]`.
        """
        return bezier(self.points, t)

    @property
    def length(self) -> float:
        """Length by adaptive quadrature of the speed, to a relative error of 1e-10."""
        return self._length(0.0, 1.0)

    def fractions(self, t: np.ndarray) -> np.ndarray:
        """How much of the length lies before some parameters.

        Args:
            t: `[m]`, increasing from 0 to 1.

        Returns:
            `[m]`, from 0 to 1.
        """
        parts = [self._length(start, end) for start, end in pairwise(t.tolist())]
        travelled = np.concatenate([[0.0], np.cumsum(parts)])
        if travelled[-1] == 0:
            return t
        travelled /= travelled[-1]
        return travelled

    def _length(self, start: float, end: float) -> float:
        """Length between two parameters."""
        steps = (self.points[1:] - self.points[:-1]).to(torch.float64)
        degree = len(steps)
        gram = (steps @ steps.T).cpu().numpy()

        def speed(t: float) -> float:
            weights = bernstein(torch.tensor([t], dtype=torch.float64), degree - 1)[0].numpy()
            return degree * math.sqrt(max(weights @ gram @ weights, 0.0))

        return quad(speed, start, end, epsabs=0, epsrel=1e-10, limit=200)[0]


def bezier(points: Tensor, t: Tensor) -> Tensor:
    """Points of the Bézier curve with some control points, its ends exact.

    Args:
        points: `[n, p]`, control points.
        t: `[m]`, in [0, 1].

    Returns:
        `[m, p]`, in the dtype of the points.
    """
    return bernstein(t, len(points) - 1).to(points) @ points


def interpolate(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Points of a segment, its ends exact.

    Args:
        start: `[p]`.
        end: `[p]`.
        t: `[m]`, in [0, 1].

    Returns:
        `(1 − t)·start + t·end`, `[m, p]`.
    """
    t = t.to(start.device, start.dtype)[:, None]
    points = (1 - t) * start
    points += t * end
    return points


def distance(a: Tensor, b: Tensor) -> float:
    """Euclidean distance of two vectors, in float64."""
    difference = b.to(torch.float64, copy=True)
    difference -= a
    return float(torch.linalg.vector_norm(difference))


def bernstein(t: Tensor, degree: int) -> Tensor:
    """Bernstein polynomials at `t` `[m]`, `[m, degree + 1]`, float64."""
    t = t.to("cpu", torch.float64)
    return torch.stack(
        [math.comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)], dim=1
    )


def _check_points(points: Tensor, layout: Layout) -> None:
    if points.dtype != layout.dtype:
        raise InputError(
            f"expected points of the layout's dtype {layout.dtype}, got {points.dtype}"
        )
    if points.ndim != 2 or len(points) < 2 or points.shape[1] != layout.size:
        raise InputError(
            f"expected at least two points [n, {layout.size}] for a path, "
            f"got shape {list(points.shape)}"
        )
