"""Breadth-first Dynamic String Sampling (Freeman & Bruna 2017, Appendix A, steps 0 to 3)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.connect.bead import Bead
from thalweg.connect.driver import Search
from thalweg.connect.outcome import Outcome
from thalweg.connect.string import String
from thalweg.errors import InputError
from thalweg.paths import interpolate

# Places inside a segment at which the interpolated loss is looked at.
_INSIDE = 7
# A maximum that has fallen by less than this share of its height above the level has stayed.
_FALLEN = 0.05


@dataclass
class _Gap:
    """Between two neighbouring models.

    Attributes:
        highest: the largest interpolated criterion on a sample, and its t; None: not looked at
            since one of the models has moved.
        before: the same of the gap that was split into this one, at the same level.
        stuck: how often in a row it was split without its maximum coming down.
    """

    highest: tuple[float, float] | None = None
    before: float = math.inf
    stuck: int = 0


@dataclass(eq=False)
class _Evolving:
    """A string on its way down.

    Attributes:
        string: it belongs to.
        points: `[n, p]` each, its models, both endpoints included.
        values: criterion of each.
        level: L0(t), to which its models have come or are coming.
        gaps: between neighbouring models.
        training: beads in flight, with the place of their model.
    """

    string: String
    points: list[Tensor]
    values: list[float]
    level: float
    gaps: list[_Gap]
    training: dict[Bead, int] = field(default_factory=dict)


State = dict[String, _Evolving]


@dataclass(frozen=True)
class BreadthFirst:
    """Let the whole string sink from the straight line, all of its models in parallel.

    The string begins as its two endpoints (step 0), at the level of the highest point of the
    straight line between them. Then, again and again: the level L0(t) falls, and every model above
    α·L0(t) trains until it is there, so that the losses of all models being trained stay about the
    same (step 1); where the interpolated loss between two neighbours exceeds L0(t), a new model is
    inserted at its maximum (step 2); until the level is the threshold and the whole path certified
    (step 3).

    A maximum that stays while everything else falls is an early sign of a disconnection: a gap
    that was split `persistence` times in a row without its maximum coming down towards the level
    ends the search, long before the threshold is reached. It is a sign, not a proof.

    Attributes:
        alpha: models are trained to `alpha` times the level.
        decay: factor by which the level falls towards the threshold at a time.
        persistence: see above.

    Raises:
        InputError: if an option is out of range.
    """

    alpha: float = 0.95
    decay: float = 0.5
    persistence: int = 6
    name: str = "breadth-first"

    def __post_init__(self) -> None:
        if not (0 < self.alpha <= 1 and 0 < self.decay < 1 and self.persistence >= 1):
            raise InputError(
                "expected alpha in (0, 1], decay in (0, 1) and persistence >= 1, got "
                f"{self.alpha}, {self.decay} and {self.persistence}"
            )

    def settings(self) -> dict[str, Any]:
        """Its options, for the record."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    def init(self, search: Search) -> State:
        """Strings of two models, where the straight line will not do by itself (step 0)."""
        state: State = {}
        for string in search.certify_straight():
            ends = [search.store[number] for number in string.numbers]
            values = [string.values[number] for number in string.numbers]
            evolving = _Evolving(string, ends, values, string.threshold, [_Gap()])
            evolving.level = max(string.threshold, self._highest(search, evolving, 0)[0])
            if not math.isfinite(evolving.level):
                search.end(
                    string, Outcome.DIVERGED, "the criterion on the straight line is not finite"
                )
                continue
            state[string] = evolving
            string.settle = lambda evolving=evolving: self._settle(search, evolving)
        return state

    def step(self, search: Search, state: State) -> State:
        """Lower the level, insert models, or train until some model is there."""
        for string in search.open:
            if not state[string].training:
                self._next(search, state[string])
        if search.open:
            for bead in search.train():
                string = search.strings[bead.owner]
                if string.outcome is None:
                    self._arrive(search, state[string], bead)
        return state

    def _next(self, search: Search, evolving: _Evolving) -> None:
        """All models are at the level: look between them, insert, certify, or go lower."""
        string = evolving.string
        looks = [self._highest(search, evolving, i) for i in range(len(evolving.gaps))]
        above = {i: look for i, look in enumerate(looks) if not look[0] <= evolving.level}
        if above:
            self._insert(search, evolving, above)
        elif evolving.level > string.threshold:
            self._lower(search, evolving)
        else:
            self._certify(search, evolving)

    def _lower(self, search: Search, evolving: _Evolving) -> None:
        """Let the level fall; models above it train (step 1)."""
        threshold = evolving.string.threshold
        evolving.level = max(threshold, threshold + self.decay * (evolving.level - threshold))
        if evolving.level < threshold * (1 + 0.1 * self.decay):
            evolving.level = threshold
        for gap in evolving.gaps:
            gap.before, gap.stuck = math.inf, 0
        for i, value in enumerate(evolving.values):
            if 0 < i < len(evolving.values) - 1 and value > self.alpha * evolving.level:
                self._train(search, evolving, i)

    def _insert(
        self, search: Search, evolving: _Evolving, above: dict[int, tuple[float, float]]
    ) -> None:
        """A new model at the maximum of every gap that rises above the level (step 2)."""
        string, level = evolving.string, evolving.level
        if string.created + len(above) > search.budget.beads:
            search.end(
                string, Outcome.BUDGET_EXHAUSTED,
                f"the budget of beads ({search.budget.beads}) was reached at the level {level:.4g}",
            )  # fmt: skip
            return
        for i in sorted(above, reverse=True):
            (peak, t), gap = above[i], evolving.gaps[i]
            stays = peak - level > (1 - _FALLEN) * (gap.before - level)
            stuck = gap.stuck + 1 if stays else 0
            if stuck >= self.persistence:
                search.end(
                    string, Outcome.BARRIER_PERSISTS,
                    f"between two models at or below {level:.4g} the criterion still rises to "
                    f"{peak:.6g}, after {stuck} models were put there in a row: a sign that the "
                    f"endpoints are not connected at {level:.4g}, not a proof",
                )  # fmt: skip
                return
            new = self._between(evolving, i, t)
            evolving.points.insert(i + 1, new)
            evolving.values.insert(i + 1, peak)
            evolving.gaps[i : i + 1] = [_Gap(None, peak, stuck), _Gap(None, peak, stuck)]
            string.created += 1
        for i, value in enumerate(evolving.values):
            if 0 < i < len(evolving.values) - 1 and value > self.alpha * level:
                self._train(search, evolving, i)

    def _train(self, search: Search, evolving: _Evolving, i: int) -> None:
        """Train a model to the level, together with all others."""
        string, theta = evolving.string, evolving.points[i]
        bead = Bead(
            start=lambda: theta, target=self.alpha * evolving.level, owner=string.index,
            label=f"model {i} of {len(evolving.points) - 2}",
        )  # fmt: skip
        evolving.training[bead] = i
        search.pool.submit(bead)

    def _arrive(self, search: Search, evolving: _Evolving, bead: Bead) -> None:
        """Take back a model that has come to the level, or end the string."""
        i = evolving.training.pop(bead)
        string = evolving.string
        if bead.theta is not None:
            evolving.points[i], evolving.values[i] = bead.theta, bead.value
            evolving.gaps[i - 1].highest = evolving.gaps[i].highest = None
        if bead.ending == "trained":
            return
        outcome = {"stalled": Outcome.BEAD_STALLED, "diverged": Outcome.DIVERGED}.get(
            bead.ending or "", Outcome.BUDGET_EXHAUSTED
        )
        search.end(
            string, outcome,
            f"{bead.label}: {bead.ending} at {bead.value:.6g} on its way to {bead.target:.6g}, "
            f"after {bead.steps} steps; the string had come down to the level "
            f"{evolving.level:.4g} elsewhere",
        )  # fmt: skip

    def _certify(self, search: Search, evolving: _Evolving) -> None:
        """The level is the threshold and no place is seen above it: certify the path (step 3)."""
        string = evolving.string
        self._settle(search, evolving)
        search.certify([string])
        if not string.undecided:
            search.end(string, Outcome.CONNECTED, string.summary())
            return
        refused = {
            i: (piece.certificate.seen, piece.certificate.argmax)
            for i, piece in enumerate(string.pieces)
            if piece.certificate is not None and not piece.certificate.accepted
        }
        if refused:
            self._insert(search, evolving, refused)

    def _settle(self, search: Search, evolving: _Evolving) -> None:
        """Put the models into the string as they are."""
        inner = evolving.points[1:-1]
        if inner:
            search.replace(evolving.string, torch.stack(inner))

    def _highest(self, search: Search, evolving: _Evolving, i: int) -> tuple[float, float]:
        """The largest interpolated criterion of a gap, estimated on a sample, and its t.

        By how much the sample is too high or too low is known at the two ends, whose values on
        all examples are known, and is taken off in between: without that, a level that the sample
        as such does not reach would never be come down to.
        """
        gap = evolving.gaps[i]
        if gap.highest is None:
            t = torch.arange(_INSIDE + 2, dtype=torch.float64) / (_INSIDE + 1)
            stack = interpolate(evolving.points[i], evolving.points[i + 1], t)
            values = search.sampled(evolving.string, stack)
            left, right = evolving.values[i] - values[0], evolving.values[i + 1] - values[-1]
            off = ((1 - t) * left + t * right).nan_to_num(nan=0.0)  # inf - inf at either end
            values = (values + off)[1:-1]
            at = int(values.argmax())
            gap.highest = float(values[at]), float(t[at + 1])
        return gap.highest

    def _between(self, evolving: _Evolving, i: int, t: float) -> Tensor:
        at = torch.tensor([min(max(t, 2.0**-10), 1 - 2.0**-10)], dtype=torch.float64)
        return interpolate(evolving.points[i], evolving.points[i + 1], at)[0]
