"""The pieces of one segment, and what was seen on it, while it is proved.

A piece that fails is cut in two, and only the examples whose bounds are too loose go through the
network again: an example that is surely right on the whole piece, or whose loss is bounded closely,
is settled there (:mod:`thalweg.certify.rules_criterion`). The first pieces are as wide as a few
examples say that they can be (:mod:`thalweg.certify.forecast`); where there are hardly more than a
few, as the pieces before them say.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from thalweg.certify.curve import Curve
from thalweg.certify.enclosure import Segment, evaluate, mean_at
from thalweg.certify.forecast import first_pieces, starting_width
from thalweg.certify.rules_criterion import Settled, Tally

NARROWEST = 2.0**-40
"""Width below which a piece is not split again: there, rounding decides."""

PILOT = 128
"""Examples, at most, of the forecast that chooses the first pieces."""

CLOSE = 0.02
"""Where the criterion seems to be this close to the threshold, relatively, it is looked at."""

_CHEAP = 0.25
"""Share of open examples up to which the others' bounds do for a look at the middle of a piece."""

_FEWEST = 32
"""Examples, at least, that forecast anything."""

_SHARE = 0.5

# By which widths are changed from one piece to the next; after how many that leave little open,
# twice as many after a forecast that fails; and what share of a piece the last one may add.
_STEP = 2**0.5
_PATIENCE = 3
_LEFT_OVER = 0.1


@dataclass(frozen=True)
class ProvedSegment:
    """Outcome of an attempt to prove a segment.

    Attributes:
        bound: the criterion is at most this on the whole segment, proved; infinite where the
            search ended before every piece had a bound.
        seen: the criterion is at least this somewhere on the segment.
        refused_at: t in [0, 1] where the criterion exceeds the threshold, or None.
        pieces: `(t_left, t_right, bound)` in order, covering [0, 1].
        evaluations: pieces that were bounded, and points evaluated on all examples.
        samples: examples bounded or evaluated for that, forecasts included.
        reason: ``"proved"``, ``"refused"``, ``"tolerance"`` (bound and value agree to the
            tolerance, on both sides of the threshold), ``"budget"`` or ``"resolution"`` (pieces
            became too narrow).
        half: the criterion at t = 1/2, about, where it was looked at.
    """

    bound: float
    seen: float
    refused_at: float | None
    pieces: tuple[tuple[float, float, float], ...]
    evaluations: int
    samples: int
    reason: str
    half: float | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """A segment to prove.

    Attributes:
        start: `[p]`, at t = 0.
        end: `[p]`, at t = 1.
        threshold: stop as soon as the criterion is proved at most this, or seen above it; None:
            as tight as budget and tolerance allow.
        cuts: increasing t in (0, 1) at which the first pieces end, in place of forecasts: a
            subdivision of one's own, for a second look at what was proved.
        values: the criterion at t = 0, 1/2 and 1, about, where it is known; None for the middle
            where it has to be looked at first, being close to the threshold.
        bends: `[m, p]`, control points between the ends of a Bézier curve; None: a segment.
    """

    start: Tensor
    end: Tensor
    threshold: float | None
    cuts: Sequence[float] = ()
    values: tuple[float, float | None, float] | None = None
    bends: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of a segment with its bound.

    Attributes:
        left: t where it begins.
        right: t where it ends.
        bound: of the criterion on it.
        settled: what the settled examples add on it.
        ids: `[m]`, the others; None: all of them, which cannot be told apart.
        share: of the room below the threshold, for the remainders of the settled examples.
        open_noise: sum of the remainders of the others.
    """

    left: float
    right: float
    bound: float
    settled: Settled
    ids: Tensor | None
    share: float
    open_noise: float


class Search:
    """The pieces of one segment, and what was seen on it.

    Args:
        objective: in float64.
        task: the segment.
        max_evaluations: see :func:`thalweg.certify.bisection.prove_segments`.
        tolerance: see there.
    """

    def __init__(self, objective: Any, task: Task, max_evaluations: int, tolerance: float) -> None:
        self._objective = objective
        self._segment: Segment | Curve | None = (
            Segment(objective, task.start, task.end) if task.bends is None
            else Curve(objective, torch.cat([task.start[None], task.bends, task.end[None]]))
        )  # fmt: skip
        self._threshold = task.threshold
        self._cuts = task.cuts
        self._given, self._values = task.values, None
        self._total = self._segment.total
        self._budget = max_evaluations * self._total
        self._tolerance = tolerance
        self._heap: list[tuple[float, int, _Piece]] = []
        self._count = itertools.count()  # pieces of equal bound: first come, first cut
        self._seen, self._refused_at = -math.inf, None
        self._evaluations = self._samples = 0
        self._reason: str | None = None
        self._half = None if task.values is None else task.values[1]

    @property
    def highest(self) -> float:
        """The largest bound of its pieces."""
        return -self._heap[0][0] if self._heap else math.inf

    def start(self) -> None:
        """Look at the middle and the ends where they are unknown; then open the first pieces."""
        if self._threshold is not None:
            self._values = self._known_values()
        if self._refused_at is None:
            pieces = self._first_pieces()
            if pieces is None and not self._march():
                self._close_if("budget")
                return
            # Highest expectations first: they may refuse the segment at once.
            for left, right in sorted(pieces or [], key=lambda e: -self._expected(sum(e) / 2)):
                if self._refused_at is None:
                    self._open(left, right, Settled(), None, _SHARE)
        self._close_if(self._verdict())

    def advance(self) -> bool:
        """Cut the worst piece; whether the search goes on."""
        if self._reason is not None:
            return False
        piece = heapq.heappop(self._heap)[2]
        # Where the settled examples keep the bound up, too many were settled: open them again.
        again = piece.ids is not None and piece.settled.noise > piece.open_noise
        middle = (piece.left + piece.right) / 2
        for side, ends in ((-1, (piece.left, middle)), (1, (middle, piece.right))):
            if self._refused_at is not None:
                break
            if again:
                self._open(*ends, Settled(), None, piece.share / 8)
            else:
                settled = piece.settled.on_half(side, piece.right - piece.left)
                self._open(*ends, settled, piece.ids, piece.share)
        self._close_if(self._verdict())
        return self._reason is None

    def result(self) -> ProvedSegment:
        """The record of the search."""
        pieces = tuple(sorted((p.left, p.right, p.bound) for _, _, p in self._heap))
        marks = [0.0, *(right for _, right, _ in pieces)]
        covered = marks[-1] == 1 and [left for left, _, _ in pieces] == marks[:-1]
        bound = max(piece[2] for piece in pieces) if covered else math.inf
        return ProvedSegment(
            bound, self._seen, self._refused_at, pieces, self._evaluations, self._samples,
            self._reason or "budget", self._half,
        )  # fmt: skip

    def _known_values(self) -> tuple[float, float, float] | None:
        """The criterion at both ends and the middle; None if the segment is refused there."""
        start, middle, end = self._given or (None, None, None)
        if middle is None:
            middle = self._look(0.5)
            if self._refused_at is not None:
                return None
        return (
            self._look(0.0) if start is None else start, middle,
            self._look(1.0) if end is None else end,
        )  # fmt: skip

    def _first_pieces(self) -> list[tuple[float, float]] | None:
        """The first pieces, where more is known of them than each can say of the next."""
        if self._cuts:
            return list(pairwise((0.0, *self._cuts, 1.0)))
        if self._threshold is None or self._total < 2 * _FEWEST:
            return [(0.0, 1.0)]
        few = min(PILOT, self._total // 16)
        if self._objective.criterion.name == "error_rate" and self._total >= 8 * _FEWEST:
            few = max(few, _FEWEST)
        return None if few < _FEWEST else self._forecast(self._threshold, few)

    def _march(self) -> bool:
        """Bound pieces from left to right, each as wide as those before it suggest.

        Both halves of a piece have to go through the examples again that it leaves open. Where that
        is more than a narrower one would have cost, the next one is narrower; after a few that left
        little open a forecast is made for a wider one.

        Returns:
            Whether it came to the end, or to a refusal, before the budget was spent.
        """
        width = starting_width(lambda some: self._forecast_open(0.0, some), 0.25)
        left, good, patience = 0.0, 0, _PATIENCE
        while left < 1 and self._refused_at is None:
            if self._samples >= self._budget:
                return False
            # The last two are equal, so that none is left over that is hardly one.
            rest = 1 - left
            pieces = max(1, math.ceil(rest / width - _LEFT_OVER))
            step = rest / pieces if pieces <= 2 else width
            right = 1.0 if step == rest else left + step
            share = self._left_open(self._open(left, right, Settled(), None, _SHARE))
            left = right
            if 1 + 2 * share > _STEP:
                width, good = step / _STEP, 0
                continue
            good += 1
            wider = width * _STEP
            if good >= patience and left + wider <= 1:
                good = 0
                if 1 + 2 * self._forecast_open(left, left + wider) <= 1.2:
                    width, patience = wider, _PATIENCE
                else:
                    patience *= 2
        return True

    def _left_open(self, piece: _Piece) -> float:
        """Share of the examples that both halves of a piece have to go through again."""
        if self._threshold is None or piece.bound <= self._threshold:
            return 0.0
        return 1.0 if piece.ids is None else len(piece.ids) / self._total

    def _forecast_open(self, left: float, right: float) -> float:
        """The same, as some of the examples say."""
        assert self._segment is not None
        assert self._threshold is not None
        some = max(_FEWEST, self._total // 8)
        tally = self._segment.pilot(left, right, some)
        self._evaluations += 1
        self._samples += some
        upper, _, middle = tally.bound()
        if self._values is not None and math.isfinite(upper):
            # They may differ from all examples, but hardly in how far the bound is off.
            expected = self._expected((left + right) / 2)
            relative = self._objective.criterion.name == "perplexity"
            upper = upper / middle * expected if relative else upper - middle + expected
        if upper <= self._threshold:
            return 0.0
        _, still_open = tally.settle(self._room(left, right, _SHARE))
        return 1.0 if still_open is None else len(still_open) / some

    def _forecast(self, level: float, few: int) -> list[tuple[float, float]]:
        """First pieces, as a few examples say."""
        assert self._segment is not None
        if self._values is not None:
            # The few may differ from all examples: by as much elsewhere as at the middle.
            level += evaluate(self._objective, self._segment.at(0.5), few) - self._values[1]
        return first_pieces(lambda left, right: self._share_open(left, right, level, few))

    def _share_open(self, left: float, right: float, level: float, few: int) -> float:
        """Share of a few examples that a bound of a piece would leave open; 0 if it would do."""
        assert self._segment is not None
        tally = self._segment.pilot(left, right, few)
        self._samples += few
        if tally.bound()[0] <= level:
            return 0.0
        _, still_open = tally.settle(self._room(left, right, _SHARE))
        return 1.0 if still_open is None else len(still_open) / few

    def _open(
        self, left: float, right: float, settled: Settled, ids: Tensor | None, share: float
    ) -> _Piece:
        """Bound a piece; look at its middle where the criterion may be too high there."""
        assert self._segment is not None
        tally, samples = self._segment.enclose(left, right, ids, settled)
        self._samples += samples
        self._evaluations += 1
        upper, seen, _ = tally.bound()
        self._note(seen, (left + right) / 2)
        settled, ids = tally.settle(self._room(left, right, share))
        piece = _Piece(left, right, upper, settled, ids, share, tally.open_noise)
        heapq.heappush(self._heap, (-upper, next(self._count), piece))
        level = self._threshold
        if level is not None and upper > level and tally.about > level - CLOSE * abs(level):
            if ids is not None and len(ids) <= _CHEAP * self._total:
                self._look_at_open(tally, piece)
            elif tally.about > level:
                self._look((left + right) / 2)
        return piece

    def _look_at_open(self, tally: Tally, piece: _Piece) -> None:
        """Evaluate the criterion at the middle of a piece on the examples that are open there."""
        assert self._segment is not None
        assert piece.ids is not None
        middle, count = (piece.left + piece.right) / 2, len(piece.ids)
        self._samples += count
        mean = mean_at(self._objective, self._segment.at(middle), piece.ids) if count else 0.0
        self._note(tally.at_centre(piece.settled, mean, count), middle)

    def _room(self, left: float, right: float, share: float) -> float:
        """What remainders of settled examples may take up: a share of the room expected there."""
        if self._threshold is None:
            return share * self._tolerance * abs(self._seen)
        if self._values is None:
            return 0.0
        expected = max(self._expected(t) for t in (left, (left + right) / 2, right))
        room = max(self._threshold - expected, 0.0)
        if self._objective.criterion.name == "perplexity":
            room /= self._threshold  # in nats, the unit of the mean loss
        return share * room

    def _expected(self, t: float) -> float:
        """The criterion at t, by the parabola through its values at both ends and the middle.

        What is wrong about that costs time, not truth.
        """
        if self._values is None:
            return 0.0
        a, b, c = self._values
        return a + t * (4 * b - 3 * a - c) + t * t * 2 * (a + c - 2 * b)

    def _look(self, t: float) -> float:
        """Evaluate the criterion on all examples at one point."""
        assert self._segment is not None
        self._evaluations += 1
        self._samples += self._total
        value = evaluate(self._objective, self._segment.at(t))
        self._note(value, t)
        if t == 0.5:
            self._half = value
        return value

    def _note(self, value: float, t: float) -> None:
        """Keep a value that the criterion has, or exceeds, at t."""
        self._seen = max(self._seen, value)
        if self._threshold is not None and value > self._threshold:
            self._refused_at = t

    def _verdict(self) -> str | None:
        """Why to stop now, or None."""
        if self._refused_at is not None:
            return "refused"
        piece = self._heap[0][2]
        if self._threshold is not None and piece.bound <= self._threshold:
            return "proved"
        if piece.bound - self._seen <= self._tolerance * abs(piece.bound) < math.inf:
            return "proved" if self._threshold is None else "tolerance"
        if self._samples >= self._budget:
            return "budget"
        return "resolution" if piece.right - piece.left <= NARROWEST else None

    def _close_if(self, reason: str | None) -> None:
        """Stop for a reason, and let go of what the bounds of the segment shared."""
        self._reason = reason
        if reason is not None:
            self._segment = None
