"""What is known of a segment in a proof by chords, and when it is done."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from thalweg.certify.pieces import NARROWEST, ProvedSegment
from thalweg.certify.rounding import TINY, ULTIMATE, UNIT

_PARTS = 8
"""Parts, at most, into which a piece is cut at once."""


@dataclass(frozen=True)
class Level:
    """When a segment is done.

    Attributes:
        threshold: proved or seen above it; None: when the bound is tight.
        tolerance: relative gap between the bound and a value seen that is not pursued.
        evaluations: budget.
    """

    threshold: float | None
    tolerance: float
    evaluations: int


@dataclass(frozen=True)
class Piece:
    """A piece [left, right].

    Attributes:
        curvature: K of the chord theorem, of this piece or of one that contains it.
        own: whether it is this piece's.
        bound: of the mean loss.
    """

    left: float
    right: float
    curvature: float
    own: bool
    bound: float


@dataclass
class OpenSegment:
    """What is known of a segment.

    Attributes:
        index: its row in the stack.
        level: when it is done.
        uppers: t to an upper bound of the mean loss there.
        pieces: covering [0, 1] from the first round on.
        seen: the mean loss is at least this somewhere.
        evaluations: points evaluated for this segment; a shared end counts for one of them.
        curvatures: how many were computed.
        reason: why the search ended; None while it goes on.
    """

    index: int
    level: Level
    uppers: dict[float, float] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    seen: float = -math.inf
    refused_at: float | None = None
    evaluations: int = 0
    curvatures: int = 0
    reason: str | None = None

    @property
    def goal(self) -> float:
        """Pieces with bounds up to this are done."""
        if self.level.threshold is not None:
            return self.level.threshold
        return self.seen + self.level.tolerance * abs(self.seen)

    def see(self, t: float, value: float, error: float) -> None:
        """Note a value; refuse the segment if it is above the threshold for sure."""
        upper, lower = value + error, value - error
        self.uppers[t] = upper if math.isfinite(upper) else math.inf
        if not math.isfinite(upper):
            self.reason = self.reason or "resolution"
            return
        self.seen = max(self.seen, lower)
        if self.level.threshold is not None and lower > self.level.threshold:
            self.refused_at, self.reason = t, "refused"

    def piece(self, left: float, right: float, curvature: float, own: bool) -> Piece:
        """A piece with its bound."""
        bound = parabola(self.uppers[left], self.uppers[right], right - left, curvature)
        return Piece(left, right, curvature, own, bound)

    def spent(self, examples: int, boxes: int) -> int:
        """Examples looked at, boxes included."""
        return self.evaluations * examples + self.curvatures * boxes

    def parts(self, piece: Piece) -> int:
        """Parts so narrow that, by the present curvature, their bounds are low enough."""
        width = piece.right - piece.left
        room = self.goal - max(self.uppers[piece.left], self.uppers[piece.right])
        if room <= 0 or not math.isfinite(piece.curvature):
            return 2
        parts = math.ceil(width * math.sqrt(piece.curvature / (8 * room)))
        return min(max(parts, 2), _PARTS)

    def judge(self, examples: int, boxes: int) -> None:
        """End the search if there is a reason to."""
        worst = max(self.pieces, key=lambda piece: piece.bound)
        threshold, tolerance = self.level.threshold, self.level.tolerance
        if threshold is not None and worst.bound <= threshold:
            self.reason = "proved"
        elif worst.bound - self.seen <= tolerance * abs(worst.bound) < math.inf:
            self.reason = "proved" if threshold is None else "tolerance"
        elif self.spent(examples, boxes) >= self.level.evaluations * examples:
            self.reason = "budget"
        elif worst.right - worst.left <= NARROWEST:
            self.reason = "resolution"

    def result(self, examples: int, boxes: int) -> ProvedSegment:
        """The record."""
        pieces = tuple(sorted((piece.left, piece.right, piece.bound) for piece in self.pieces))
        bound = max((bound for *_, bound in pieces), default=math.inf)
        share = math.ceil(self.curvatures * boxes / examples)
        return ProvedSegment(
            bound, self.seen, self.refused_at, pieces, self.evaluations + share,
            self.spent(examples, boxes), self.reason or "budget",
        )  # fmt: skip


def parabola(left: float, right: float, width: float, curvature: float) -> float:
    """Maximum of a chord plus a parabola: point 4 of :mod:`thalweg.certify.chord`, rounded up."""
    high = max(left, right)
    bend = max(curvature, 0.0) * width * width * (1 + ULTIMATE)
    if not math.isfinite(high + bend):
        return math.inf
    tilt = abs(right - left)
    if tilt < bend / 2:
        # (left + right)/2 + bend/8 + tilt²/(2 bend), written as an excess over the higher end.
        high += (bend / 2 - tilt) ** 2 / (2 * bend) * (1 + ULTIMATE)
    return high + abs(high) * (8 * UNIT) + TINY
