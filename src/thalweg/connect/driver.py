"""The one loop that all methods run on: budgets, costs, outcomes and progress.

A method decides what to do next (``init`` and ``step``); it does so through a :class:`Search`,
which trains beads, certifies segments, keeps the books and ends strings. The loop itself is
:func:`run`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from thalweg.certify import Certifier, Span
from thalweg.connect.bead import Bead
from thalweg.connect.budget import Budget, Callback, Progress
from thalweg.connect.connection import Counts, Segment
from thalweg.connect.memory import allot
from thalweg.connect.outcome import Outcome
from thalweg.connect.pool import Pool
from thalweg.connect.store import Store
from thalweg.connect.string import Piece, String
from thalweg.objective import Objective
from thalweg.paths import Bezier, distance, interpolate

# Seconds of training between two reports of progress, and least seconds between any two.
_SLICE = 0.2
_QUIET = 0.05
# Segments certified between two reports, and parameters × examples of them.
_SEGMENTS = 256
_WORK = 10**10
# Points of a segment, and examples, that tell where it is highest.
_PLACES = 7
_SAMPLE = 2048


class Method(Protocol):
    """A way to find paths, on the common loop."""

    @property
    def name(self) -> str:
        """By which records and the command line call it."""
        ...

    def init(self, search: Search) -> Any:
        """The state before the first step."""
        ...

    def step(self, search: Search, state: Any) -> Any:
        """One unit of work on all open strings; the state after it.

        A string is finished through :meth:`Search.end`; when none is open, the loop ends.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Its options, for the record."""
        ...


class Search:
    """What a method works with: strings, the pool, the certifier, and the books.

    Args:
        objective: model, loss and data.
        pairs: endpoints `[p]` of each pair and their criterion, as
            ``(theta_a, theta_b, value_a, value_b)``.
        thresholds: L0 of each pair.
        certifier: of segments.
        budget: what may be spent.
        seed: of everything random.
        callback: told of progress.
    """

    def __init__(
        self,
        objective: Objective,
        pairs: Sequence[tuple[Tensor, Tensor, float, float]],
        thresholds: Sequence[float],
        *,
        certifier: Certifier,
        budget: Budget,
        seed: int,
        callback: Callback | None = None,
    ) -> None:
        self.objective = objective
        self.certifier = certifier
        self.budget = budget
        self.seed = seed
        self.allotment = allot(budget.memory_limit, objective.layout)
        self.store = Store(objective.layout.size, objective.layout.dtype, self.allotment.parked)
        self.pool = Pool(
            objective, seed=seed, max_steps=budget.steps, patience=budget.patience,
            capacity=self.allotment.models, factor=objective.training.bead_factor,
        )  # fmt: skip
        self.strings = [
            self._string(i, pair, threshold)
            for i, (pair, threshold) in enumerate(zip(pairs, thresholds, strict=True))
        ]
        self._open = dict(enumerate(self.strings))
        self._callback = callback
        self._begin = time.monotonic()
        self._reported = -math.inf
        self._beads_done = 0
        # Steps taken by points that move together, beside those of the pool.
        self.moves = 0

    def _string(
        self, index: int, pair: tuple[Tensor, Tensor, float, float], threshold: float
    ) -> String:
        left, right = self.store.add(pair[0]), self.store.add(pair[1])
        values = {left: pair[2], right: pair[3]}
        direct = Piece(left, right, depth=0)
        return String(index, threshold, [direct], values, [direct])

    @property
    def open(self) -> list[String]:
        """Strings whose search has not ended."""
        return list(self._open.values())

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.monotonic() - self._begin

    def certify(self, strings: Sequence[String] | None = None) -> list[tuple[String, Piece]]:
        """Give every fresh segment its certificate, until the time is up.

        Args:
            strings: whose segments; None: of all that are open.

        Returns:
            Those that were refused.
        """
        chosen = self.open if strings is None else strings
        fresh = [(string, piece) for string in chosen for piece in string.fresh]
        together = self._together()
        for first in range(0, len(fresh), together):
            self._certify(fresh[first : first + together])
            self.report()
            if self.out_of_time:
                break
        for string in chosen:
            string.fresh = [piece for piece in string.fresh if piece.certificate is None]
        return [
            (string, piece) for string, piece in fresh
            if piece.certificate is not None and not piece.certificate.accepted
        ]  # fmt: skip

    def certify_straight(self) -> list[String]:
        """Certify what is fresh, and end the strings that this connects; those still open.

        Every method begins with it: where the straight segments will do, none else is needed.
        """
        self.certify()
        for string in self.open:
            if not string.undecided:
                self.end(string, Outcome.CONNECTED, string.summary())
        return self.open

    def _together(self) -> int:
        """Segments to certify between two reports: as many as memory and patience allow."""
        split = self.objective.splits[self.objective.criterion.split]
        size = self.objective.layout.size
        ends = 2 * size * self.objective.layout.dtype.itemsize
        allowed = min(_WORK // (size * len(split)), self.allotment.stack // ends)
        return max(1, min(_SEGMENTS, allowed))

    def _certify(self, pieces: Sequence[tuple[String, Piece]]) -> None:
        begin = time.perf_counter()
        spans = [
            Span(self.store[piece.left], self.store[piece.right],
                 string.values[piece.left], string.values[piece.right], string.threshold,
                 self._bends(piece))
            for string, piece in pieces
        ]  # fmt: skip
        certificates = self.certifier.certify(self.objective, spans)
        seconds = time.perf_counter() - begin
        work = [c.samples + c.bound_samples for c in certificates]
        for (string, piece), certificate, share in zip(pieces, certificates, work, strict=True):
            piece.certificate = certificate
            string.undecided -= certificate.accepted
            string.certifying += seconds * share / max(1, sum(work))
            # The ends were evaluated when they were trained, and counted then.
            string.counts += Counts(
                criterion_evaluations=certificate.evaluations - 2,
                criterion_samples=certificate.samples,
                bound_evaluations=certificate.bound_evaluations,
                bound_samples=certificate.bound_samples,
            )

    def sampled(self, string: String, stack: Tensor) -> Tensor:
        """The criterion of some models on up to 2,048 examples: enough to compare them by.

        Args:
            string: on whose account.
            stack: `[k, p]`.

        Returns:
            `[k]`, inf where it is not finite.
        """
        split = self.objective.criterion.split
        sample = self.objective.with_examples({split: _SAMPLE})
        result = sample.criterion_of(stack.to(self.objective.device))
        string.counts += Counts(
            criterion_evaluations=result.evaluations, criterion_samples=result.samples
        )
        return result.values[:, 0].nan_to_num(nan=math.inf)

    def highest(self, string: String, piece: Piece) -> float:
        """Where on a segment the criterion seems highest, among seven places.

        A refusal needs one value above the threshold, not the largest.
        """
        t = torch.linspace(0, 1, _PLACES + 2, dtype=torch.float64)[1:-1]
        stack = interpolate(self.store[piece.left], self.store[piece.right], t)
        return float(t[int(self.sampled(string, stack).argmax())])

    def on_curve(self, string: String, piece: Piece, t: float) -> Tensor:
        """The point `[p]` at `t` of a segment on the polynomial through its ends and neighbours.

        Lagrange interpolation in the length of the string, through up to four of its models. A
        segment without neighbours gives its own point.
        """
        at = string.pieces.index(piece)
        around = string.pieces[max(0, at - 1) : at + 2]
        numbers = [around[0].left, *(neighbour.right for neighbour in around)]
        knots = [0.0, *accumulate(self.length(neighbour) for neighbour in around)]
        left = numbers.index(piece.left)
        x = knots[left] + t * (knots[left + 1] - knots[left])
        curve = torch.zeros(self.objective.layout.size, dtype=torch.float64)
        for knot, number in zip(knots, numbers, strict=True):
            others = [other for other in knots if other != knot]
            weight = math.prod((x - other) / (knot - other) for other in others)
            curve.add_(self.store[number], alpha=weight)
        return curve.to(self.objective.layout.dtype)

    def length(self, piece: Piece) -> float:
        """Euclidean length of a segment, computed once."""
        if piece.length is None:
            ends = self.store[piece.left], self.store[piece.right]
            bends = self._bends(piece)
            piece.length = distance(*ends) if bends is None else Bezier(
                torch.cat([ends[0][None], bends, ends[1][None]]), self.objective.layout
            ).length  # fmt: skip
        return piece.length

    def _bends(self, piece: Piece) -> Tensor | None:
        """Control points `[m, p]` of a piece that is curved."""
        return torch.stack([self.store[i] for i in piece.bends]) if piece.bends else None

    def replace(self, string: String, points: Tensor, *, curve: bool = False) -> None:
        """Lead a string through other points than before; none of its pieces is certified.

        Args:
            string: its endpoints stay.
            points: `[k, p]`, beads between them; or the control points of a Bézier curve.
            curve: which of the two.
        """
        numbers = [self.store.add(row) for row in points]
        first, last = string.pieces[0].left, string.pieces[-1].right
        values = {end: string.values[end] for end in (first, last)}
        if curve:
            string.pieces = [Piece(first, last, depth=0, bends=tuple(numbers))]
        else:
            result = self.objective.criterion_of(points.to(self.objective.device))
            values.update(zip(numbers, result.values[:, 0].tolist(), strict=True))
            string.counts += Counts(
                criterion_evaluations=result.evaluations, criterion_samples=result.samples
            )
            string.pieces = [
                Piece(left, right, depth=0) for left, right in pairwise((first, *numbers, last))
            ]
        string.values = values
        string.fresh = list(string.pieces)
        string.undecided = len(string.pieces)

    def train(self) -> list[Bead]:
        """Train until some beads have ended; none if the time is up."""
        share = max(1, self.pool.open // 4)
        ended: list[Bead] = []
        while self.pool.open and len(ended) < share and not self.out_of_time:
            ended += self.pool.run(seconds=_SLICE, until=share - len(ended))
            self.report()
        for bead in ended:
            self._account(bead)
            self._beads_done += bead.ending == "trained"
        return ended

    def end(self, string: String, outcome: Outcome, message: str) -> None:
        """End the search for a string; its beads leave the pool, its points come to rest."""
        if string.settle is not None and not outcome.connected:
            string.settle()
        string.settle = None
        string.outcome = outcome
        string.message = message
        del self._open[string.index]
        for bead in self.pool.drop(string.index):
            self._account(bead)

    @property
    def out_of_time(self) -> bool:
        """Whether the seconds of the budget are spent."""
        return self.budget.seconds is not None and self.seconds >= self.budget.seconds

    def report(self) -> None:
        """Tell the callback how far the search has come, unless it was told just now."""
        if self._callback is None or (self._open and self.seconds < self._reported + _QUIET):
            return
        self._reported = self.seconds
        self._callback(
            Progress(
                pairs_open=len(self._open),
                pairs=len(self.strings),
                beads_done=self._beads_done,
                beads_open=self.pool.open,
                segments_open=sum(string.undecided for string in self._open.values()),
                depth=max(string.depth for string in self.strings),
                steps=self.pool.steps + self.moves,
                seconds=self.seconds,
            )
        )

    def segments(self, string: String) -> tuple[Segment, ...]:
        """The record of a string's segments."""
        return tuple(self._segment(piece) for piece in string.pieces)

    def _segment(self, piece: Piece) -> Segment:
        length = self.length(piece)
        certificate = piece.certificate
        if certificate is None:
            return Segment(length, None, piece.seen, self.certifier.kind, 0)
        return Segment(
            length=length,
            bound=certificate.bound,
            seen=certificate.seen if math.isfinite(certificate.seen) else None,
            kind=certificate.kind,
            evaluations=certificate.evaluations + certificate.bound_evaluations,
            pieces=certificate.pieces,
        )

    def _account(self, bead: Bead) -> None:
        string = self.strings[bead.owner]
        string.training += bead.seconds
        string.counts += Counts(
            gradient_evaluations=bead.steps,
            gradient_samples=bead.gradient_samples,
            criterion_evaluations=bead.criterion_evaluations,
            criterion_samples=bead.criterion_samples,
            training_steps=bead.steps,
        )


def run(method: Method, search: Search) -> None:
    """Run a method until every string has an outcome.

    Args:
        method: what to do next.
        search: on which strings.
    """
    state = method.init(search)
    while search.open:
        if search.out_of_time:
            for string in search.open:
                search.end(
                    string,
                    Outcome.BUDGET_EXHAUSTED,
                    f"the {search.budget.seconds:g} seconds were spent before the path was found",
                )
            return
        state = method.step(search, state)
        search.report()
