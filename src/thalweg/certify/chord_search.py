"""Where to cut many segments into pieces, and when to stop, for proofs by chords.

All open segments advance in rounds, so that values and curvatures are computed in large stacks.
A value costs a pass over all examples, a curvature one over the boxes, which is less: pieces whose
bound is too high first get a curvature of their own in place of their parent's, and are cut only
if that does not help, into as many parts as their curvature says will do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from thalweg.certify.bisection import NARROWEST, ProvedSegment
from thalweg.certify.rounding import TINY, ULTIMATE, UNIT
from thalweg.certify.smooth_chain import SmoothChain

_PARTS = 8
"""Parts, at most, into which a piece is cut at once."""

_NUMBERS = 1 << 22
"""Parameters of models that are made together."""


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
class _Piece:
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
class _Segment:
    """What is known of a segment.

    Attributes:
        index: its row in the stack.
        level: when it is done.
        uppers: t to an upper bound of the mean loss there.
        pieces: covering [0, 1] from the first round on.
        seen: the mean loss is at least this somewhere.
        curvatures: how many were computed.
        reason: why the search ended; None while it goes on.
    """

    index: int
    level: Level
    uppers: dict[float, float] = field(default_factory=dict)
    pieces: list[_Piece] = field(default_factory=list)
    seen: float = -math.inf
    refused_at: float | None = None
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

    def piece(self, left: float, right: float, curvature: float, own: bool) -> _Piece:
        """A piece with its bound."""
        bound = _parabola(self.uppers[left], self.uppers[right], right - left, curvature)
        return _Piece(left, right, curvature, own, bound)

    def spent(self, examples: int, boxes: int) -> int:
        """Examples looked at, boxes included."""
        return len(self.uppers) * examples + self.curvatures * boxes

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
            bound, self.seen, self.refused_at, pieces, len(self.uppers) + share,
            self.spent(examples, boxes), self.reason or "budget",
        )  # fmt: skip


def _parabola(left: float, right: float, width: float, curvature: float) -> float:
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


class Search:
    """Cuts segments until each has a verdict.

    Args:
        chain: network, loss and data.
        starts: `[k, p]`, float64.
        ends: `[k, p]`, float64.
        levels: one a segment.
    """

    def __init__(
        self, chain: SmoothChain, starts: Tensor, ends: Tensor, levels: Sequence[Level]
    ) -> None:
        self._chain, self._starts, self._ends = chain, starts, ends
        absolute, self._relative = chain.errors(starts, ends)
        self._absolute = absolute.tolist()
        self._segments = [_Segment(i, level) for i, level in enumerate(levels)]

    def run(self, cuts: Sequence[Sequence[float]]) -> list[ProvedSegment]:
        """Prove, refuse or give up every segment.

        Args:
            cuts: of each segment, where its first pieces end.
        """
        self._look(
            (segment, t) for segment in self._segments for t in cuts[segment.index] or (0.5,)
        )
        self._look((segment, t) for segment in self._open() for t in (0.0, 1.0))
        self._begin()
        sizes = self._chain.examples, len(self._chain.boxes.share)
        while True:
            for segment in self._open():
                segment.judge(*sizes)
            if not self._open():
                return [segment.result(*sizes) for segment in self._segments]
            self._advance()

    def _open(self) -> list[_Segment]:
        return [segment for segment in self._segments if segment.reason is None]

    def _look(self, points: Iterable[tuple[_Segment, float]]) -> None:
        """Evaluate the criterion at some t of some segments."""
        wanted = list(points)
        if not wanted:
            return
        rows = torch.tensor([segment.index for segment, _ in wanted], device=self._starts.device)
        at = self._starts.new_tensor([t for _, t in wanted])
        for (segment, t), value in zip(wanted, self._values(rows, at), strict=True):
            error = self._absolute[segment.index] + self._relative * abs(value)
            segment.see(t, value, error * (1 + ULTIMATE))

    def _values(self, rows: Tensor, at: Tensor) -> list[float]:
        size = max(1, _NUMBERS // self._starts.shape[1])
        found: list[float] = []
        for some, t in zip(rows.split(size), at.split(size), strict=True):
            start = self._starts[some]
            stack = start + (self._ends[some] - start) * t[:, None]
            found += self._chain.values(stack).tolist()
        return found

    def _curvatures(self, pieces: Sequence[tuple[_Segment, float, float]]) -> list[float]:
        """Curvatures of the pieces from left to right of some segments."""
        if not pieces:
            return []
        rows = torch.tensor([segment.index for segment, *_ in pieces], device=self._starts.device)
        ends = self._starts.new_tensor([[left, right] for _, left, right in pieces])
        for segment, *_ in pieces:
            segment.curvatures += 1
        size = max(1, _NUMBERS // self._starts.shape[1])
        found: list[float] = []
        for some, (left, right) in zip(
            rows.split(size), (part.unbind(1) for part in ends.split(size)), strict=True
        ):
            found += self._chain.curvatures(
                self._starts[some], self._ends[some], left, right
            ).tolist()
        return found

    def _begin(self) -> None:
        """Make the first pieces of all open segments, between the points seen so far."""
        wanted = [
            (segment, left, right)
            for segment in self._open()
            for left, right in pairwise(sorted(segment.uppers))
        ]
        for (segment, left, right), curvature in zip(wanted, self._curvatures(wanted), strict=True):
            segment.pieces.append(segment.piece(left, right, curvature, own=True))

    def _advance(self) -> None:
        """One round: curvatures for pieces that have none of their own, cuts of the others."""
        stale: list[tuple[_Segment, _Piece]] = []
        cuts: list[tuple[_Segment, _Piece, int]] = []
        for segment in self._open():
            high = [piece for piece in segment.pieces if piece.bound > segment.goal]
            borrowed = [piece for piece in high if not piece.own]
            if borrowed:
                stale += [(segment, piece) for piece in borrowed]
            else:
                cuts += [(segment, *cut) for cut in self._cuts(segment, high)]
        self._refresh(stale)
        self._cut(cuts)

    def _cuts(self, segment: _Segment, high: list[_Piece]) -> list[tuple[_Piece, int]]:
        """Which pieces to cut and into how many parts, the highest first, within the budget."""
        sizes = self._chain.examples, len(self._chain.boxes.share)
        left = segment.level.evaluations - segment.spent(*sizes) / sizes[0]
        chosen: list[tuple[_Piece, int]] = []
        for piece in sorted(high, key=lambda piece: -piece.bound):
            if left <= 0:
                break
            parts = _parts(piece, segment)
            chosen.append((piece, parts))
            left -= parts - 1 + parts * sizes[1] / sizes[0]
        return chosen

    def _refresh(self, stale: Sequence[tuple[_Segment, _Piece]]) -> None:
        found = self._curvatures([(segment, piece.left, piece.right) for segment, piece in stale])
        for (segment, piece), curvature in zip(stale, found, strict=True):
            segment.pieces.remove(piece)
            # That of a part is at most that of the whole.
            least = min(curvature, piece.curvature)
            segment.pieces.append(segment.piece(piece.left, piece.right, least, own=True))

    def _cut(self, cuts: Sequence[tuple[_Segment, _Piece, int]]) -> None:
        marks = [
            [piece.left + (piece.right - piece.left) * i / parts for i in range(1, parts)]
            for _, piece, parts in cuts
        ]
        self._look(
            (segment, t) for (segment, *_), inner in zip(cuts, marks, strict=True) for t in inner
        )
        for (segment, piece, _), inner in zip(cuts, marks, strict=True):
            segment.pieces.remove(piece)
            segment.pieces += [
                segment.piece(left, right, piece.curvature, own=False)
                for left, right in pairwise((piece.left, *inner, piece.right))
            ]


def _parts(piece: _Piece, segment: _Segment) -> int:
    """Parts so narrow that, by the present curvature, their bounds are low enough."""
    width = piece.right - piece.left
    room = segment.goal - max(segment.uppers[piece.left], segment.uppers[piece.right])
    if room <= 0 or not math.isfinite(piece.curvature):
        return 2
    parts = math.ceil(width * math.sqrt(piece.curvature / (8 * room)))
    return min(max(parts, 2), _PARTS)
