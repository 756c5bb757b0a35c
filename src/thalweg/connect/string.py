"""A string under construction: its segments, in order, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from thalweg.certify import Certificate
from thalweg.connect.connection import Counts
from thalweg.connect.outcome import Outcome


@dataclass(eq=False)
class Piece:
    """A segment of a string under construction, or the whole of a curve.

    Attributes:
        left: number in the store of the model at its start.
        right: number of the model at its end.
        depth: how often the direct segment was split to get here.
        certificate: once it has one.
        length: once it was asked for.
        bends: numbers of the control points between its ends, of a Bézier curve.
        seen: the largest value found on it outside of a certificate.
    """

    left: int
    right: int
    depth: int
    certificate: Certificate | None = None
    length: float | None = None
    bends: tuple[int, ...] = ()
    seen: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether a certificate holds it below the threshold."""
        return self.certificate is not None and self.certificate.accepted


@dataclass(eq=False)
class String:
    """A string under construction: the ordered beads between one pair of endpoints.

    Attributes:
        index: of the pair.
        threshold: L0.
        pieces: its segments, in order from A to B.
        values: criterion of each of its models, by number in the store.
        fresh: segments that have no certificate yet.
        undecided: segments that no certificate has accepted.
        created: beads created so far.
        depth: the largest depth among them.
        outcome: how the search for it ended, once it has.
        message: the same in one sentence.
        inserted: numbers of its beads in the order in which they were put in.
        counts: what it cost.
        training: its share of the seconds of training.
        certifying: its share of the seconds of certifying.
        settle: of points that move together: puts them into the string as they are.
    """

    index: int
    threshold: float
    pieces: list[Piece]
    values: dict[int, float]
    fresh: list[Piece]
    undecided: int = 1
    created: int = 0
    depth: int = 0
    outcome: Outcome | None = None
    message: str = ""
    inserted: list[int] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    training: float = 0.0
    certifying: float = 0.0
    settle: Callable[[], None] | None = None

    @property
    def numbers(self) -> list[int]:
        """Its models, or control points, in order, both endpoints included."""
        inner = [number for piece in self.pieces for number in (*piece.bends, piece.right)]
        return [self.pieces[0].left, *inner]

    @property
    def curved(self) -> bool:
        """Whether it is a Bézier curve."""
        return any(piece.bends for piece in self.pieces)

    def summary(self) -> str:
        """In one sentence how it connects, once every piece is accepted."""
        beads = len(self.numbers) - 2
        through = "by the straight segment"
        if beads:
            what = "control point" if self.curved else "bead"
            through = f"through {beads} {what}" + ("s" if beads > 1 else "")
        bound = max(p.certificate.bound or 0.0 for p in self.pieces if p.certificate is not None)
        return f"connected {through}: bound {bound:.6g}, threshold {self.threshold:g}"

    @property
    def history(self) -> tuple[int, ...]:
        """Places of the beads on the string, in the order in which they were put in.

        Empty where the beads of today are not those that were put in, but moved since.
        """
        places = {number: place for place, number in enumerate(self.numbers)}
        if set(self.inserted) != set(self.numbers[1:-1]):
            return ()
        return tuple(places[number] for number in self.inserted)

    def insert(self, piece: Piece, number: int, value: float) -> None:
        """Replace a segment by two that meet in a model of the store."""
        at = self.pieces.index(piece)
        halves = [
            Piece(piece.left, number, piece.depth + 1),
            Piece(number, piece.right, piece.depth + 1),
        ]
        self.pieces[at : at + 1] = halves
        self.fresh += halves
        self.undecided += 1
        self.values[number] = value
        self.inserted.append(number)
