"""Dynamic String Sampling (Freeman & Bruna 2017, Algorithm 1): the work list of its variants."""

from __future__ import annotations

import abc
from collections.abc import Callable

from torch import Tensor

from thalweg.connect.bead import Bead, Constraint
from thalweg.connect.driver import Search
from thalweg.connect.outcome import Outcome
from thalweg.connect.string import Piece, String

State = dict[Bead, tuple[String, Piece]]
"""The beads in training, each with the segment it is to split."""


class StringSampling(abc.ABC):
    """Split every segment that rises above the threshold by a bead trained below it.

    A variant says where on a refused segment a bead starts (:meth:`place`, :meth:`first_point`)
    and what is asked of it beside a low loss (:meth:`constraint`).

    Attributes:
        alpha: beads are trained to `alpha`·L0; Section 3.2 finds that α < 1 aids convergence.
    """

    alpha: float

    @abc.abstractmethod
    def place(self, search: Search, string: String, piece: Piece) -> float:
        """t* of line 7, as a fraction of the segment from left to right."""

    @abc.abstractmethod
    def first_point(self, search: Search, string: String, piece: Piece, t: float) -> Tensor:
        """The first parameters `[p]` of the bead of a segment, from its t*."""

    def constraint(self, search: Search, piece: Piece) -> Callable[[], Constraint] | None:
        """What is asked of the bead of a segment beside its target: nothing."""
        del search, piece

    def init(self, search: Search) -> State:
        """No bead yet: the direct segments are open."""
        del search
        return {}

    def step(self, search: Search, state: State) -> State:
        """Certify new segments, put beads on those refused, train until some bead is done."""
        for string, piece in search.certify():
            if string.outcome is None:
                self.split(search, state, string, piece)
        for string in search.open:
            if not string.undecided:
                search.end(string, Outcome.CONNECTED, string.summary())
        for bead in search.train():
            string, piece = state.pop(bead)
            if string.outcome is None:
                self._finish(search, string, piece, bead)
        return state

    def _affordable(self, search: Search, string: String, piece: Piece) -> bool:
        """Whether the budget allows one more bead; if not, the string has ended."""
        budget = search.budget
        if piece.depth < budget.depth and string.created < budget.beads:
            return True
        what = f"beads ({budget.beads})"
        if piece.depth >= budget.depth:
            what = f"depth ({budget.depth})"
        search.end(
            string,
            Outcome.BUDGET_EXHAUSTED,
            f"the budget of {what} was reached with a segment that rises to {_seen(piece)}, above "
            f"{string.threshold:g}",
        )
        return False

    def split(self, search: Search, state: State, string: String, piece: Piece) -> None:
        """Start a bead on a segment that is not accepted, if the budget allows it."""
        if not self._affordable(search, string, piece):
            return
        t = self.place(search, string, piece)
        string.created += 1
        string.depth = max(string.depth, piece.depth + 1)
        bead = Bead(
            start=lambda: self.first_point(search, string, piece, t),
            target=self.alpha * string.threshold,
            owner=string.index,
            constraint=self.constraint(search, piece),
            label=f"bead {string.created} (depth {piece.depth + 1}, started at t* = {t:.4g} of "
            + (
                "an untested segment)"
                if piece.certificate is None
                else f"a segment that rises to {_seen(piece)})"
            ),
        )
        state[bead] = (string, piece)
        search.pool.submit(bead)

    def _finish(self, search: Search, string: String, piece: Piece, bead: Bead) -> None:
        """Insert a trained bead; or end the string and say which bead failed, and how."""
        if bead.ending == "trained" and bead.theta is not None:
            string.insert(piece, search.store.add(bead.theta), bead.value)
            return
        outcome, what = {
            "stalled": (
                Outcome.BEAD_STALLED,
                f"stalled, without improvement for {search.budget.patience} steps",
            ),
            "diverged": (Outcome.DIVERGED, "diverged: loss, gradient or criterion not finite"),
        }.get(bead.ending or "", (Outcome.BUDGET_EXHAUSTED, "was not trained within its steps"))
        search.end(
            string, outcome,
            f"{bead.label} {what}; its criterion was {bead.value:.6g}, target {bead.target:.6g}, "
            f"after {bead.steps} steps",
        )  # fmt: skip


def _seen(piece: Piece) -> str:
    return "?" if piece.certificate is None else f"{piece.certificate.seen:.4g}"
