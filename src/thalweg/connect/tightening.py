"""Tightening: a string made shorter without leaving the level set.

The normalized length of a string is an upper bound of that of the geodesic (Freeman & Bruna 2017,
Section 3.1); how far above depends on how the string was found. First, beads that are not needed
go: where the chord past a bead is certified, it replaces two segments. Then the rest is pulled
straight. With beads θ_1 … θ_n between fixed endpoints, gradient steps are taken on

    μ Σ_i ‖θ_{i+1} − θ_i‖ + .05 λ Σ_i g_i²/2,    g_i = max(0, (F(θ_i) − .9 λ) / (.05 λ)),

the length, and a penalty that rises steeply where the loss comes near a level λ. The tension μ is a
multiple of the size of the gradients, so that both are felt. λ begins at the target of beads, α·L0;
it falls where the path between the beads is found above L0. Whenever the string is certified and
shorter than the shortest so far, it is kept: what is kept is never above the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from thalweg.connect.driver import Search
from thalweg.connect.moving import Moving
from thalweg.connect.outcome import Outcome
from thalweg.connect.string import Piece, String
from thalweg.paths import Polygonal, distance

# Weight of the newest minibatch in the loss of a bead.
_NEWEST = 0.1
# Where the penalty begins and what makes it one, in shares of the level; and its largest weight.
_BEGIN, _WIDTH, _LARGEST = 0.9, 0.05, 20.0
# The level falls by this factor where the path is found above the threshold.
_FALL = 0.97
# Steps between looks. A string is certified if its excess over the straight line is less by this
# share than that of the shortest so far; so many looks in a row that gain less than so much end it.
_PAUSE = 50
_SHORTER = 0.1
_GAIN = 0.01
_IDLE = 4


@dataclass(eq=False)
class Tightening:
    """Shortens the one string of a search; a method of the driver loop.

    Attributes:
        points: `[k, p]`, the beads of a path, endpoints left out.
        beads: that are pulled, at least; spaced evenly.
        tension: μ, as a multiple of the median size of the gradients of the beads.
        alpha: λ is at first `alpha`·L0.
        steps: of all beads, at most.
    """

    points: Tensor
    beads: int = 15
    tension: float = 1.0
    alpha: float = 0.95
    steps: int = 2000
    name: str = "tighten"

    def __post_init__(self) -> None:
        self._best: list[Piece] = []
        self._excess = self._last = math.inf
        self._idle = 0
        self._level = math.nan
        self._mu = math.nan
        self._losses: Tensor | None = None

    def settings(self) -> dict[str, Any]:
        """Its options, for the record."""
        names = "beads", "tension", "alpha", "steps"
        return {name: getattr(self, name) for name in names}

    def init(self, search: Search) -> Moving | None:
        """The string as it was found, to be certified again."""
        for string in search.open:
            search.replace(string, self.points)

    def step(self, search: Search, state: Moving | None) -> Moving | None:
        """Leave out beads at first; then pull the string for a while."""
        (string,) = search.open
        if state is None:
            return self._begin(search, string)
        state.run(lambda: self._move(state), lambda: self._look(state))
        return state

    def restore(self, string: String) -> bool:
        """Put the shortest certified string in place; whether there is one."""
        if self._best:
            string.pieces = list(self._best)
            string.fresh, string.undecided = [], 0
        return bool(self._best)

    def _begin(self, search: Search, string: String) -> Moving | None:
        search.certify([string])
        if not string.undecided:
            leave_out(search, string)
            self._keep(search, string)
        path = torch.stack([search.store[number] for number in string.numbers])
        if len(path) == 2:
            self._end(search, string)
            return None
        beads = max(self.beads, len(path) - 2)
        t = torch.arange(1, beads + 1, dtype=torch.float64) / (beads + 1)
        points = Polygonal(path, search.objective.layout).at(t).to(search.objective.device)
        return Moving(search, string, points, curve=False, pause=_PAUSE)

    def _move(self, moving: Moving) -> None:
        """One step of all beads down the gradient of length and penalty."""
        found = moving.gradients(moving.points)
        losses = found.losses.detach().double()
        if self._losses is None:
            self._losses = losses
            sizes = torch.linalg.vector_norm(found.gradients, dim=1)
            self._mu = self.tension * (float(sizes.median()) or 1.0)
            self._level = self._first_level(moving, losses)
        self._losses = self._losses.lerp(losses, _NEWEST)
        # The gradient of the penalty is that of the loss times g, cut off at a size.
        weight = (self._losses / self._level - _BEGIN) / _WIDTH
        weight = weight.clamp(0, _LARGEST).to(moving.points)[:, None]
        moving.step(weight * found.gradients + self._mu * length_gradient(moving.path))

    def _first_level(self, moving: Moving, losses: Tensor) -> float:
        """λ in units of the training loss: where that is the criterion, it follows from L0."""
        objective = moving.search.objective
        criterion = objective.criterion
        if criterion.measure == "loss" and criterion.split == objective.training.split:
            return self.alpha * moving.string.threshold
        return float(losses.max())

    def _look(self, moving: Moving) -> None:
        """Keep the string if it is shorter and certified; go lower where it is too high."""
        over = excess(moving.path)
        self._idle = self._idle + 1 if over > (1 - _GAIN) * self._last else 0
        self._last = over
        last = self._idle >= _IDLE or moving.steps >= self.steps
        shorter = over < self._excess * (1 if last else 1 - _SHORTER)
        if shorter and not moving.above() and moving.certify():
            self._keep(moving.search, moving.string)
        elif shorter:
            self._level *= _FALL
        if last:
            self._end(moving.search, moving.string)

    def _keep(self, search: Search, string: String) -> None:
        """Keep a certified string if it is the shortest."""
        over = excess(torch.stack([search.store[number] for number in string.numbers]))
        if over < self._excess:
            self._best, self._excess = list(string.pieces), over

    def _end(self, search: Search, string: String) -> None:
        if self.restore(string):
            leave_out(search, string)
            self._keep(search, string)
            search.end(string, Outcome.CONNECTED, string.summary())
        else:
            search.end(string, Outcome.ABOVE_THRESHOLD, "no string was certified")


def length_gradient(path: Tensor) -> Tensor:
    """Gradient of the length of a string with respect to the points between its ends.

    Args:
        path: `[n + 2, p]`.

    Returns:
        `[n, p]`: of each point, the unit vectors from both neighbours.

    Example:
        >>> length_gradient(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]]))
        tensor([[0.0000, 1.6000]])
    """
    steps = path[1:] - path[:-1]
    lengths = torch.linalg.vector_norm(steps, dim=1, keepdim=True)
    units = steps / lengths.clamp(min=torch.finfo(path.dtype).tiny)
    return units[:-1] - units[1:]


def excess(path: Tensor) -> float:
    """Normalized length of a string `[n, p]`, less one."""
    lengths = [distance(a, b) for a, b in pairwise(path)]
    return math.fsum(lengths) / distance(path[0], path[-1]) - 1


def leave_out(search: Search, string: String) -> None:
    """Replace two segments by the chord past the bead between them, wherever it is certified.

    Args:
        search: that certifies.
        string: all certified; it stays so.
    """
    refused: set[tuple[int, int]] = set()
    while True:
        pieces = string.pieces
        chords = [
            Piece(a.left, b.right, 0)
            for a, b in pairwise(pieces)
            if (a.left, b.right) not in refused
        ]
        if not chords:
            break
        string.fresh = chords
        search.certify([string])
        refused |= {(chord.left, chord.right) for chord in chords if not chord.accepted}
        string.pieces = _shortcuts(search, pieces, [chord for chord in chords if chord.accepted])
    string.fresh, string.undecided = [], 0


def _shortcuts(search: Search, pieces: list[Piece], chords: list[Piece]) -> list[Piece]:
    """Take chords that are certified, those that save most first, no two past neighbours."""
    at = {piece.left: i for i, piece in enumerate(pieces)}

    def saving(chord: Piece) -> float:
        i = at[chord.left]
        both = search.length(pieces[i]) + search.length(pieces[i + 1])
        return both - search.length(chord)

    taken: dict[int, Piece] = {}
    used: set[int] = set()
    for chord in sorted(chords, key=saving, reverse=True):
        i = at[chord.left]
        if not {i, i + 1} & used:
            taken[i] = chord
            used |= {i, i + 1}
    return [taken.get(i, piece) for i, piece in enumerate(pieces) if i - 1 not in taken]
