"""Best-first bisection of a segment until its criterion is proved below a threshold.

The first pieces are as wide as forecasts on a few examples say that they can be; whatever fails on
all examples is bisected, the piece of largest bound first. Forecasts decide where to cut, never
what is true.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from thalweg.certify.enclosure import Enclosure, Segment, evaluate, in_float64
from thalweg.certify.rounding import TINY

NARROWEST = 2.0**-40
"""Width below which a piece is not split again: there, rounding decides."""

COARSEST = 2.0**-8
"""Width below which no forecast is trusted to choose a smaller one."""

ATTEMPTS = 8
"""Forecasts, at most, for the width of one piece."""

PILOT = 256
"""Examples, at most, of the forecast that chooses where to split: a mean over a few is near that
over all. Errors, which are counted, need eight times as many."""


@dataclass(frozen=True)
class ProvedSegment:
    """Outcome of an attempt to prove a segment.

    Attributes:
        bound: the criterion is at most this on the whole segment, proved; infinite where the
            search ended before every piece had a bound.
        seen: the criterion is at least this somewhere on the segment.
        refused_at: t in [0, 1] where the criterion exceeds the threshold, or None.
        pieces: `(t_left, t_right, bound)` in order, covering [0, 1].
        evaluations: times that the criterion was bounded or evaluated on all examples.
        samples: examples bounded or evaluated, forecasts included.
        reason: ``"proved"``, ``"refused"``, ``"tolerance"`` (bound and value agree to the
            tolerance, on both sides of the threshold), ``"budget"`` or ``"resolution"`` (pieces
            became too narrow).
    """

    bound: float
    seen: float
    refused_at: float | None
    pieces: tuple[tuple[float, float, float], ...]
    evaluations: int
    samples: int
    reason: str


def prove_segment(
    objective: Any,
    theta_a: Tensor,
    theta_b: Tensor,
    *,
    threshold: float | None,
    max_evaluations: int,
    tolerance: float,
    cuts: Sequence[float] = (),
) -> ProvedSegment:
    """Bound the criterion on the straight segment between two models.

    Args:
        objective: model, loss, data and criterion.
        theta_a: `[p]`.
        theta_b: `[p]`.
        threshold: stop as soon as the criterion is proved at most this, or seen above it; None:
            as tight as budget and tolerance allow.
        max_evaluations: of the criterion, bounds and plain values alike, each on all examples;
            a forecast counts by its share of them. The last split may exceed it.
        tolerance: relative to the bound: a smaller gap between the bound and a value that was
            seen is not pursued.
        cuts: increasing t in (0, 1) at which the first pieces end, in place of forecasts: a
            subdivision of one's own, for a second look at what was proved.

    Returns:
        The outcome; its bound holds whatever the reason for stopping.

    Raises:
        UnsupportedOperation: for an operation without a rule, with its module's path.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from thalweg.objective import Objective
        >>> x = torch.linspace(-1, 1, 16).reshape(16, 1)
        >>> line = Objective(nn.Linear(1, 1, bias=False), nn.functional.mse_loss, train=(x, x))
        >>> ends = torch.tensor([0.0]), torch.tensor([2.0])
        >>> found = prove_segment(
        ...     line, *ends, threshold=0.5, max_evaluations=50, tolerance=1e-3
        ... )
        >>> found.reason, found.bound <= 0.5
        ('proved', True)
    """
    search = _Search(in_float64(objective), theta_a, theta_b, threshold)
    reason = search.cut(cuts) if cuts else search.start(max_evaluations)
    while reason is None:
        reason = search.verdict(max_evaluations, tolerance)
        if reason is None:
            reason = search.split_worst()
    return search.result(reason)


class _Search:
    """Open pieces by bound, and what was seen."""

    def __init__(
        self, objective: Any, theta_a: Tensor, theta_b: Tensor, threshold: float | None
    ) -> None:
        self._objective = objective
        self._segment = Segment(objective, theta_a, theta_b)
        self._threshold = threshold
        self._total = len(objective.splits[objective.criterion.split])
        counted = objective.criterion.name == "error_rate"
        self._pilot = min(8 * PILOT if counted else PILOT, self._total // 16)
        self._least = PILOT if counted else PILOT // 8
        self._last = Enclosure(math.inf, -math.inf, math.inf, 0)
        self._heap: list[tuple[float, float, float]] = []  # (-bound, left, right)
        self._seen, self._refused_at = -math.inf, None
        self._evaluations = self._samples = 0

    def cut(self, cuts: Sequence[float]) -> str | None:
        """Open the pieces between given places."""
        for left, right in pairwise((0.0, *cuts, 1.0)):
            refused = self._open(left, right)
            if refused:
                return refused
        return None

    def start(self, max_evaluations: int) -> str | None:
        """Look at the middle; then choose the first pieces by forecasts on few examples."""
        if self._threshold is None:
            return self._open(0.0, 1.0)
        value = self._value(0.5)
        if self._exceeds(value, 0.5):
            return "refused"
        if self._pilot < self._least:
            return self._open(0.0, 1.0)
        # Where the few examples differ from all: in value, known at the middle, and in excess.
        shift = value - evaluate(self._objective, self._segment.at(0.5), self._pilot)
        left, width, scale = 0.0, 1.0, 1.0
        while left < 1:
            if self._spent(max_evaluations):
                return self._open(left, 1.0)
            right, expected = self._forecast(left, width, shift, scale)
            refused = self._open(left, right)
            if refused:
                return refused
            if 0 < _excess(self._last) < math.inf and expected > 0:
                scale = min(max(_excess(self._last) / expected, 0.25), 4.0)
            left, width = right, right - left
        return None

    def _forecast(
        self, left: float, width: float, shift: float, scale: float
    ) -> tuple[float, float]:
        """The end of a piece as wide as forecasts let it be, and the excess expected there.

        The excess of a bound over the value at the middle grows with the power 2 to 3 of the
        width; the threshold leaves some room for it.
        """
        level = math.inf if self._threshold is None else self._threshold
        rest = 1 - left
        right, expected = 1.0, math.inf
        for _ in range(ATTEMPTS):
            parts = min(math.ceil(rest / width), 2)  # two equal pieces rather than a narrow last
            right = 1.0 if parts == 1 else left + min(width, rest / 2)
            forecast = self._enclose(left, right, self._pilot)
            expected = _excess(forecast)
            room = level - (forecast.seen + forecast.middle) / 2 - shift
            factor = 0.5
            if room > 0 and math.isfinite(expected):
                factor = 0.95 * (room / max(scale * expected, TINY)) ** 0.4
            fits = 0.95 <= factor <= 1.2 or (factor > 1 and right == 1)
            if fits or right - left < COARSEST:
                break
            width = (right - left) * min(max(factor, 0.3), 2.0)
        return right, expected

    def _open(self, left: float, right: float) -> str | None:
        """Bound a piece on all examples; look at its middle where that may be too high."""
        found = self._enclose(left, right, None)
        self._evaluations += 1
        self._last = found
        heapq.heappush(self._heap, (-found.upper, left, right))
        middle = (left + right) / 2
        if self._exceeds(found.seen, middle):
            return "refused"
        if self._threshold is None or found.middle <= self._threshold:
            return None
        return "refused" if self._exceeds(self._value(middle), middle) else None

    def split_worst(self) -> str | None:
        """Bisect the piece of largest bound."""
        _, left, right = heapq.heappop(self._heap)
        middle = (left + right) / 2
        return self._open(left, middle) or self._open(middle, right)

    def verdict(self, max_evaluations: int, tolerance: float) -> str | None:
        """Why to stop now, or None."""
        bound, left, right = -self._heap[0][0], *self._heap[0][1:]
        if self._threshold is not None and bound <= self._threshold:
            return "proved"
        if bound - self._seen <= tolerance * abs(bound):
            return "proved" if self._threshold is None else "tolerance"
        if self._spent(max_evaluations):
            return "budget"
        return "resolution" if right - left <= NARROWEST else None

    def result(self, reason: str) -> ProvedSegment:
        """The record of the search."""
        pieces = tuple(sorted((left, right, -bound) for bound, left, right in self._heap))
        marks = [0.0, *(right for _, right, _ in pieces)]
        covered = marks[-1] == 1 and [left for left, _, _ in pieces] == marks[:-1]
        bound = max(piece[2] for piece in pieces) if covered else math.inf
        return ProvedSegment(
            bound, self._seen, self._refused_at, pieces, self._evaluations, self._samples, reason
        )

    def _enclose(self, left: float, right: float, examples: int | None) -> Enclosure:
        found = self._segment.enclose(left, right, examples)
        self._samples += found.samples
        return found

    def _spent(self, max_evaluations: int) -> bool:
        return self._samples >= max_evaluations * self._total

    def _value(self, t: float) -> float:
        self._evaluations += 1
        self._samples += self._total
        return evaluate(self._objective, self._segment.at(t))

    def _exceeds(self, value: float, t: float) -> bool:
        self._seen = max(self._seen, value)
        if self._threshold is None or not value > self._threshold:
            return False
        self._refused_at = t
        return True


def _excess(found: Enclosure) -> float:
    """How far a bound lies above the value at the middle of its piece."""
    return found.upper - (found.seen + found.middle) / 2
