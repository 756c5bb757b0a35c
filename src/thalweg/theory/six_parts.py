"""The path of Theorem 2.4 between two relu networks of one hidden layer, and its height.

The construction, the bound and its proof are those of :mod:`thalweg.theory.theorem24`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from thalweg.certify import exact_maximum
from thalweg.objective import Objective
from thalweg.theory.linear import Matrix
from thalweg.theory.sparse_fits import Fit, Indices, Problem, compress
from thalweg.theory.strings import relu_objective

_GAP = 1e-5
_MOST_PIECES = 300


@dataclass(frozen=True, eq=False)
class Leg:
    """A straight segment of the path.

    Attributes:
        start: its network.
        end: its network.
        part: of the six.
        kind: ``"convex"`` where the first layer stays, ``"constant"`` where only silent units move
            or weight is handed to a copy, ``"both"`` where both layers move.
    """

    start: Fit
    end: Fit
    part: int
    kind: str


@dataclass(frozen=True, eq=False)
class SixParts:
    """A path between two networks, and its bound.

    Attributes:
        legs: in order.
        ends: F of both networks.
        lassos: δ_A(m, 0) and δ_B(m, 0).
        compressed: found for δ_A(m - l, α) and δ_B(m - l, α).
        oracle: found for e(l).
        excess: bound of what parts 2 and 5 add to the larger of their ends, from the units' turns.
        linear_excess: the same from α alone: `C1 α`.
    """

    legs: list[Leg]
    ends: tuple[float, float]
    lassos: tuple[float, float]
    compressed: tuple[float, float]
    oracle: float
    excess: tuple[float, float]
    linear_excess: tuple[float, float]

    @property
    def epsilon(self) -> float:
        """The bound of Eq. 11, with the excess in place of `C1 α + O(α²)`."""
        legs = zip(self.lassos, self.compressed, self.excess, strict=True)
        return float(max(self.oracle, *(max(lasso, fit) + more for lasso, fit, more in legs)))


def connect(problem: Problem, a: Fit, b: Fit, best: Fit, alpha: float) -> SixParts:
    """Build the path.

    Args:
        problem: data and κ.
        a: one network, `[m, n]`.
        b: another one of as many units.
        best: an l-term fit, `l <= m / 2` or so that both ends can do without as many units.
        alpha: by which units may turn to make others dispensable.

    Returns:
        The path with its bound.
    """
    sides = [_Side.of(problem, each, len(best.w), alpha) for each in (a, b)]
    places = [side.free(len(best.w)) for side in sides]
    shared = np.intersect1d(places[0], places[1])
    # A unit of the l-term fit that stays in a shared place is the same on both sides.
    orders = [np.concatenate([shared, np.setdiff1d(place, shared)]) for place in places]
    starts = [side.filled(order, best) for side, order in zip(sides, orders, strict=True)]
    fits = [_placed(start.w, order, best.beta) for start, order in zip(starts, orders, strict=True)]
    copies = starts[0].w.copy()
    copies[orders[1]] = best.w
    first, second = (side.legs(start, fit, part) for side, start, fit, part in
                     zip(sides, starts, fits, (1, 6), strict=True))  # fmt: skip
    handed = [
        Leg(fits[0], Fit(copies, fits[0].beta), 3, "constant"),
        Leg(Fit(copies, fits[0].beta), Fit(copies, fits[1].beta), 3, "constant"),
        Leg(Fit(copies, fits[1].beta), fits[1], 4, "constant"),
    ]
    back = [Leg(leg.end, leg.start, leg.part, leg.kind) for leg in reversed(second)]
    return SixParts(
        legs=[*first, *handed, *back],
        ends=(problem(a), problem(b)),
        lassos=(problem(sides[0].lasso), problem(sides[1].lasso)),
        compressed=(problem(sides[0].sparse), problem(sides[1].sparse)),
        oracle=problem(best),
        excess=(sides[0].excess(problem), sides[1].excess(problem)),
        linear_excess=(sides[0].linear(problem, alpha), sides[1].linear(problem, alpha)),
    )


def _placed(w: Matrix, places: Indices, beta: Matrix) -> Fit:
    """A network with these output weights in these places, and none elsewhere."""
    whole = np.zeros(len(w))
    whole[places] = beta
    return Fit(w, whole)


@dataclass(frozen=True, eq=False)
class _Side:
    """One end, its lasso, and its compressed fit."""

    end: Fit
    lasso: Fit
    sparse: Fit

    @classmethod
    def of(cls, problem: Problem, end: Fit, spared: int, alpha: float) -> _Side:
        lasso = problem.lasso(end.w)
        return cls(end, lasso, compress(problem, lasso, len(end.w) - spared, alpha))

    def free(self, units: int) -> Indices:
        """Places without output weight."""
        return np.flatnonzero(self.sparse.beta == 0)[:units]

    def filled(self, places: Indices, best: Fit) -> Fit:
        """The compressed fit with other units in silent places."""
        w = self.sparse.w.copy()
        w[places] = best.w
        return Fit(w, self.sparse.beta)

    def legs(self, filled: Fit, best: Fit, part: int) -> list[Leg]:
        """From the end to the l-term fit in its places."""
        parts = (1, 2, 3, 3) if part == 1 else (6, 5, 4, 4)
        kinds = ("convex", "both", "constant", "convex")
        fits = [self.end, self.lasso, self.sparse, filled, best]
        return [Leg(s, t, p, k) for (s, t), p, k in zip(pairwise(fits), parts, kinds, strict=True)]

    def excess(self, problem: Problem) -> float:
        """`2 r ν + ν²`."""
        moved = problem.x @ (self.sparse.w - self.lasso.w).T
        sizes = np.abs(self.lasso.beta) + np.abs(self.sparse.beta)
        nu = float(sizes @ np.sqrt((moved**2).mean(axis=0))) / 4
        return float(2 * np.sqrt(self._larger(problem)) * nu + nu**2)

    def linear(self, problem: Problem, alpha: float) -> float:
        """`C1 α`."""
        norm = float(np.linalg.norm(problem.x, 2)) ** 2 / len(problem.x)
        sizes = float(np.abs(self.lasso.beta).sum() + np.abs(self.sparse.beta).sum())
        return float(np.sqrt(self._larger(problem) * norm)) * sizes * alpha / 2

    def _larger(self, problem: Problem) -> float:
        return max(problem(self.lasso), problem(self.sparse))


@dataclass(frozen=True)
class Height:
    """The maximum of F along a path.

    Attributes:
        seen: the largest value evaluated.
        bound: F is proved to stay at or below it, to rounding.
        part: where the largest value lies.
    """

    seen: float
    bound: float
    part: int


def height(problem: Problem, path: SixParts) -> Height:
    """The maximum of F along the path.

    Args:
        problem: data and κ.
        path: of :func:`connect`.

    Returns:
        The largest value, and a bound that exceeds it by a small share.
    """
    objective = relu_objective(problem.x, problem.y[:, None], len(path.legs[0].start.w))
    found = []
    for leg in path.legs:
        ends = max(problem(leg.start), problem(leg.end))
        if leg.kind == "both":
            found.append((*_height_of(problem, objective, leg), leg.part))
        else:
            found.append((ends, ends, leg.part))
    seen, _, part = max(found)
    return Height(seen, max(bound for _, bound, _ in found), part)


def at(leg: Leg, t: float) -> Fit:
    """A point of a leg."""
    return Fit((1 - t) * leg.start.w + t * leg.end.w, (1 - t) * leg.start.beta + t * leg.end.beta)


def _height_of(problem: Problem, objective: Objective, leg: Leg) -> tuple[float, float]:
    """Largest value and bound on a leg where both layers move."""

    def bound(left: float, right: float) -> tuple[float, float]:
        a, b = at(leg, left), at(leg, right)
        thetas = [torch.from_numpy(np.concatenate([f.w.ravel(), f.beta])) for f in (a, b)]
        maximum = exact_maximum(objective, *thetas)
        # |β|_1 is convex, so that its chord is above it.
        penalty = problem.kappa * max(float(np.abs(f.beta).sum()) for f in (a, b))
        t = left + maximum.argmax * (right - left)
        return maximum.bound + penalty, max(problem(at(leg, s)) for s in (left, t, right))

    # Where no unit turns, F is convex.
    if np.array_equal(leg.start.w, leg.end.w):
        ends = max(problem(leg.start), problem(leg.end))
        return ends, ends
    highest, seen = bound(0.0, 1.0)
    heap = [(-highest, 0.0, 1.0)]
    for _ in range(_MOST_PIECES):
        if -heap[0][0] - seen <= _GAP * seen:
            break
        _, left, right = heapq.heappop(heap)
        middle = (left + right) / 2
        for ends in ((left, middle), (middle, right)):
            highest, value = bound(*ends)
            seen = max(seen, value)
            heapq.heappush(heap, (-highest, *ends))
    return seen, -heap[0][0]
