"""Points of one string that move together: what curve finding and elastic bands have in common.

The pool trains beads, each for itself, to a target of its own. Here all free points of a path move
at once, by forces that a method makes of gradients; what is held against the threshold is the path
between them. It is looked at ever more rarely, where it was highest last, and certified once no
place is found above the threshold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from thalweg.connect.connection import Counts
from thalweg.connect.driver import Search
from thalweg.connect.optimizers import stack_optimizer
from thalweg.connect.outcome import Outcome
from thalweg.connect.randomness import Randomness
from thalweg.connect.string import String
from thalweg.objective import Gradients
from thalweg.paths import bezier, interpolate

# Seconds of steps between two reports of progress.
_SLICE = 0.2
# Places of a whole path that are looked at before it is certified, and of each of its segments.
_PLACES = 33
_INSIDE = 3
# Weight of the newest step in the running mean of the loss, and what counts as an improvement.
_NEWEST = 0.01
_IMPROVEMENT = 0.01
# Steps to the next look at the path, in shares of the steps taken.
_PAUSE = 0.05

Move = Callable[[], None]


class Moving:
    """The free points of a path between two models.

    Args:
        search: that they belong to.
        string: whose path it is.
        points: `[k, p]`, where they start; on the device of the objective.
        curve: whether they are control points of a Bézier curve, not vertices.
        pause: steps between two looks at the path, at least.

    Attributes:
        points: `[k, p]`, changed in place by every step.
        steps: taken so far.
        highest: the largest value found at the last look.
    """

    def __init__(
        self, search: Search, string: String, points: Tensor, *, curve: bool, pause: int = 2
    ) -> None:
        self.search = search
        self.string = string
        self.curve = curve
        self.steps = 0
        self.highest = math.nan
        objective = search.objective
        self._ends = torch.stack(
            [search.store[i] for i in string.numbers[:: len(string.numbers) - 1]]
        )
        self._ends = self._ends.to(objective.device)
        self._batches = objective.minibatches(search.seed)
        blocks = objective.splits[objective.training.split].blocks(objective.samples[0])
        self._blocks = blocks if objective.training.batch_size is None else []
        self._random = Randomness(search.seed, objective.device)
        # Of the loss: running mean, below what it has improved, and since when.
        self._loss = math.nan
        self._floor = math.inf
        self._improved_at = 0
        self._pause = pause
        self._next_look = 1
        self._order: list[int] = []
        string.settle = self.settle
        self.place(points)

    def place(self, points: Tensor, rate: float = 1.0) -> None:
        """Go on from other points, with a fresh optimizer.

        Args:
            points: `[k, p]`.
            rate: its steps, as a multiple of what they are for beads.
        """
        training = self.search.objective.training
        self.points = points.clone()
        self._optimizer = stack_optimizer(
            replace(training, learning_rate=rate * training.bead_factor * training.learning_rate),
            self.points,
        )
        self._optimizer.grow(len(points))
        self._order = []

    @property
    def path(self) -> Tensor:
        """`[k + 2, p]`: the points with both endpoints."""
        return torch.cat([self._ends[:1], self.points, self._ends[1:]])

    def at(self, t: Tensor) -> Tensor:
        """Points `[m, p]` of the path; every segment of a polygon takes an equal share of t."""
        if self.curve:
            return bezier(self.path, t)
        path, segments = self.path, len(self.points) + 1
        segment = (t * segments).long().clamp(max=segments - 1)
        return torch.cat([
            interpolate(path[i], path[i + 1], (s * segments - i)[None])
            for i, s in zip(segment.tolist(), t, strict=True)
        ])  # fmt: skip

    def gradients(self, stack: Tensor) -> Gradients:
        """Gradients of the training loss of some models on the minibatch of this step, counted."""
        objective = self.search.objective
        batch = next(self._batches)
        if self._blocks:
            batch = self._blocks[self.steps % len(self._blocks)]
        found = objective.gradients(stack, batch)
        longest = objective.training.max_gradient_norm
        if longest is not None:
            norms = torch.linalg.vector_norm(found.gradients, dim=1, keepdim=True)
            found = replace(found, gradients=found.gradients * (longest / norms).clamp(max=1))
        self.string.counts += Counts(
            gradient_evaluations=len(stack), gradient_samples=found.samples,
            training_steps=len(self.points),
        )  # fmt: skip
        mean = float(found.losses.mean())
        if not math.isfinite(float(found.gradients.sum())):
            mean = math.nan  # the points stay where this was found
        weight = max(_NEWEST, 1 / (self.steps + 1))
        self._loss = mean if weight == 1 else self._loss + weight * (mean - self._loss)
        return found

    def step(self, gradients: Tensor) -> None:
        """One step of the optimizer.

        Args:
            gradients: `[k, p]`, of each point: what it moves against.
        """
        if not math.isfinite(self._loss):
            return
        self._optimizer.step(self.points, gradients)
        self.steps += 1
        self.search.moves += 1

    def run(self, move: Move, look: Move | None = None) -> None:
        """Move for a while; end the string if its path will not come down.

        Args:
            move: makes one step.
            look: looks at the path, when it is time; None: ends the string if it is certified.
        """
        begin, until = time.perf_counter(), min(self._next_look, self.search.budget.steps)
        with self._random.active():
            while time.perf_counter() < begin + _SLICE and self.steps < until:
                move()
                if not math.isfinite(self._loss):
                    break
                if self._loss < self._floor and self.steps * _NEWEST >= 1:
                    self._floor = self._loss - _IMPROVEMENT * abs(self._loss)
                    self._improved_at = self.steps
        self.string.training += time.perf_counter() - begin
        if self.steps >= until and math.isfinite(self._loss):
            split = len(self.search.objective.splits[self.search.objective.criterion.split])
            a_look = split // (3 * self.search.objective.samples[0] * len(self.points))
            self._next_look = self.steps + max(self._pause, a_look, int(_PAUSE * self.steps))
            (look or self._look)()
        why = self._given_up() if self.string.outcome is None else None
        if why is not None:
            outcome, sentence = why
            if not math.isnan(self.highest):
                sentence += f"; the highest value seen last was {self.highest:.6g}"
            self.search.end(
                self.string, outcome, f"{sentence}, threshold {self.string.threshold:g}"
            )

    def _given_up(self) -> tuple[Outcome, str] | None:
        """Why not to go on, if so."""
        budget, steps = self.search.budget, f"after {self.steps:,} steps"
        if not math.isfinite(self._loss):
            return Outcome.DIVERGED, f"a loss or gradient on the path is not finite {steps}"
        if len(self.points) > self.search.allotment.models:
            room = f"{self.search.allotment.models} models in training"
            return Outcome.BUDGET_EXHAUSTED, f"memory has room for {room}, not {len(self.points)}"
        if self.steps >= budget.steps:
            return Outcome.BUDGET_EXHAUSTED, f"the budget of steps ({budget.steps:,}) was reached"
        if self.steps - self._improved_at >= budget.patience:
            idle = f"without improvement for {budget.patience:,} steps"
            return Outcome.PATH_STALLED, f"the path stalled, {idle}, {steps}"
        return None

    def settle(self) -> None:
        """Put the points into the string as they are, with the largest value seen on it."""
        self.search.replace(self.string, self.points, curve=self.curve)
        if math.isfinite(self.highest):
            self.string.pieces[0].seen = self.highest

    def places(self) -> Tensor:
        """t of the places to look at: more than a few in every segment, no endpoint."""
        segments = 1 if self.curve else len(self.points) + 1
        inside = max(_INSIDE, math.ceil(_PLACES / segments))
        return torch.arange(1, segments * (inside + 1), dtype=torch.float64) / (
            segments * (inside + 1)
        )

    def _look(self) -> None:
        """End the string if its path is certified."""
        if not self.above() and self.certify():
            self.search.end(self.string, Outcome.CONNECTED, self.string.summary())

    def certify(self) -> bool:
        """Put the points into the string; whether all of it is certified."""
        self.search.replace(self.string, self.points, curve=self.curve)
        refused = self.search.certify([self.string])
        seen = [piece.certificate.seen for _, piece in refused if piece.certificate is not None]
        if seen:
            self.highest = max(seen)
        return not self.string.undecided

    def above(self) -> bool:
        """Whether a place is found above the threshold; those that were highest last come first."""
        t = self.places()
        order = self._order if len(self._order) == len(t) else list(range(len(t)))
        if not self._order:  # the middle first
            order.sort(key=lambda i: abs(float(t[i]) - 0.5))
        level = self.string.threshold
        values: dict[int, float] = {}
        layout = self.search.objective.layout
        most = max(1, self.search.allotment.stack // (layout.size * layout.dtype.itemsize))
        count = 1
        while order and not any(not value <= level for value in values.values()):
            some, order = order[:count], order[count:]
            result = self.search.objective.criterion_of(self.at(t[some]), ceiling=level, guess=True)
            self.string.counts += Counts(
                criterion_evaluations=result.evaluations, criterion_samples=result.samples
            )
            found = result.values[:, 0].nan_to_num(nan=math.inf)
            values.update(zip(some, found.tolist(), strict=True))
            count = min(2 * count, most)
        self.highest = max(values.values())
        self._order = sorted(values, key=lambda i: -values[i]) + order
        return not self.highest <= level
