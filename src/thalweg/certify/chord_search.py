"""Where to cut many segments into pieces, and when to stop, for proofs by chords.

All open segments advance in rounds, so that values and curvatures are computed in large stacks.
A value costs a pass over all examples, a curvature one over the boxes, which is less: pieces whose
bound is too high first get a curvature of their own in place of their parent's, and are cut only
if that does not help, into as many parts as their curvature says will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from thalweg.certify.chord_segment import Level, OpenSegment, Piece
from thalweg.certify.pieces import ProvedSegment
from thalweg.certify.rounding import ULTIMATE
from thalweg.certify.smooth_chain import SmoothChain

_NUMBERS = 1 << 22
"""Parameters of models that are made together."""


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
        # The same number for the same model: neighbours in a string share a bead.
        self._ends_known = torch.cat([starts, ends]).unique(dim=0, return_inverse=True)[1].tolist()
        self._segments = [OpenSegment(i, level) for i, level in enumerate(levels)]

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

    def _open(self) -> list[OpenSegment]:
        return [segment for segment in self._segments if segment.reason is None]

    def _look(self, points: Iterable[tuple[OpenSegment, float]]) -> None:
        """Evaluate the criterion at some t of some segments; once where several share an end."""
        wanted = list(points)
        if not wanted:
            return
        keys = [self._key(segment.index, t) for segment, t in wanted]
        first = dict(zip(reversed(keys), reversed(wanted), strict=True))
        values = dict(zip(first, self._values(list(first.values())), strict=True))
        for key, (segment, t) in zip(keys, wanted, strict=True):
            value = values[key]
            error = self._absolute[segment.index] + self._relative * abs(value)
            segment.evaluations += first[key][0] is segment
            segment.see(t, value, error * (1 + ULTIMATE))

    def _key(self, index: int, t: float) -> tuple[int, float]:
        """What two points have in common if they are the same model."""
        if t in {0.0, 1.0}:
            return self._ends_known[index + (len(self._starts) if t else 0)], 0.0
        return index, t

    def _values(self, points: Sequence[tuple[OpenSegment, float]]) -> list[float]:
        size = max(1, _NUMBERS // self._starts.shape[1])
        found: list[float] = []
        for i in range(0, len(points), size):
            rows, t = zip(*((segment.index, t) for segment, t in points[i : i + size]), strict=True)
            some, at = self._indices(rows), self._starts.new_tensor(t)[:, None]
            start, end = self._starts[some], self._ends[some]
            stack = torch.where(at < 1, start + (end - start) * at, end)
            found += self._chain.values(stack).tolist()
        return found

    def _indices(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, device=self._starts.device)

    def _curvatures(self, pieces: Sequence[tuple[OpenSegment, float, float]]) -> list[float]:
        """Curvatures of the pieces from left to right of some segments."""
        for segment, *_ in pieces:
            segment.curvatures += 1
        size = max(1, _NUMBERS // self._starts.shape[1])
        found: list[float] = []
        for i in range(0, len(pieces), size):
            rows, left, right = zip(
                *((segment.index, *ends) for segment, *ends in pieces[i : i + size]), strict=True
            )
            some, (left, right) = self._indices(rows), self._starts.new_tensor([left, right])
            start, end = self._starts[some], self._ends[some]
            found += self._chain.curvatures(start, end, left, right).tolist()
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
        stale: list[tuple[OpenSegment, Piece]] = []
        cuts: list[tuple[OpenSegment, Piece, int]] = []
        for segment in self._open():
            high = [piece for piece in segment.pieces if piece.bound > segment.goal]
            borrowed = [piece for piece in high if not piece.own]
            if borrowed:
                stale += [(segment, piece) for piece in borrowed]
            else:
                cuts += [(segment, *cut) for cut in self._cuts(segment, high)]
        self._refresh(stale)
        self._cut(cuts)

    def _cuts(self, segment: OpenSegment, high: list[Piece]) -> list[tuple[Piece, int]]:
        """Which pieces to cut and into how many parts, the highest first, within the budget."""
        sizes = self._chain.examples, len(self._chain.boxes.share)
        left = segment.level.evaluations - segment.spent(*sizes) / sizes[0]
        chosen: list[tuple[Piece, int]] = []
        for piece in sorted(high, key=lambda piece: -piece.bound):
            if left <= 0:
                break
            parts = segment.parts(piece)
            chosen.append((piece, parts))
            left -= parts - 1 + parts * sizes[1] / sizes[0]
        return chosen

    def _refresh(self, stale: Sequence[tuple[OpenSegment, Piece]]) -> None:
        found = self._curvatures([(segment, piece.left, piece.right) for segment, piece in stale])
        for (segment, piece), curvature in zip(stale, found, strict=True):
            segment.pieces.remove(piece)
            # That of a part is at most that of the whole.
            least = min(curvature, piece.curvature)
            segment.pieces.append(segment.piece(piece.left, piece.right, least, own=True))

    def _cut(self, cuts: Sequence[tuple[OpenSegment, Piece, int]]) -> None:
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
