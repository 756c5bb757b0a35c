"""When to look at the criterion of each bead in training, and when to give up.

A look at the criterion costs as much as several steps; one too late costs the steps in between.
Looks are spaced by the observed descent: a bead is due when its training loss has fallen by as
much as its criterion must, and at the latest after half the steps that its criterion needs at its
present rate. Everything is kept in columns, one entry a bead, since it is gone through after every
step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# Weight of the newest minibatch in the running mean of a bead's training loss.
_NEWEST = 0.1
# A bead that has improved by less than this over `patience` steps has stalled.
_IMPROVEMENT = 0.01
# Bounds of the time to the next look, in shares of the steps taken.
_SOONEST, _LATEST = 0.05, 0.25
# The latter is longer for a criterion far above its target: by their ratio, up to this.
_FAR = 4.0
# Share of the patience after which a bead that does not improve takes larger samples.
_SAMPLE_PATIENCE = 0.25

_NONE: Rows = np.zeros(0, dtype=np.intp)


class Schedule:
    """Columns over the beads in flight.

    Args:
        samples: examples of a step, by level; a bead starts at the first level, and moves on when
            it no longer improves.
        whole: examples of the split trained on: losses on fewer are noisy, and only their mean
            tells.
        max_steps: optimizer steps after which a bead is given up.
        patience: steps without improvement by one percent after which a bead has stalled.

    Attributes:
        level: `[k]`, which of the samples each bead trains on.
        steps: `[k]`, optimizer steps taken.
        gradient_samples: `[k]`, examples gone through in them.
        target: `[k]`, for the criterion.
        value: `[k]`, the criterion last measured, or NaN.
    """

    def __init__(
        self, samples: Sequence[int], *, whole: int, max_steps: int, patience: int
    ) -> None:
        self._samples = np.asarray(samples, dtype=np.float64)
        noisy = self._samples < whole
        self._newest = np.where(noisy, _NEWEST, 1.0)
        self._least = np.where(noisy, 5.0, 2.0)
        self._max_steps = max_steps
        self._patience = np.full(len(samples), max(1, int(patience * _SAMPLE_PATIENCE)))
        self._patience[-1] = patience
        none = np.zeros(0)
        self.level: Rows = _NONE
        self.steps: Floats = none
        self.gradient_samples: Floats = none
        self.target: Floats = none
        self.value: Floats = none
        # The training loss, below what it counts as improved, and when it or the criterion did.
        self._loss: Floats = none
        self._floor: Floats = none
        self._improved_at: Floats = none
        # What makes the next look due.
        self._due_loss: Floats = none
        self._due_step: Floats = none
        self._not_before: Floats = none
        self._give_up_at: Floats = none
        # Of looks, `[2, k]`, partial ones and complete ones: step and criterion of the last, and
        # below which criterion the next has improved.
        self._look_step: Floats = np.zeros((2, 0))
        self._look_value: Floats = np.zeros((2, 0))
        self._look_floor: Floats = np.zeros((2, 0))

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, targets: Sequence[float], values: Sequence[float]) -> None:
        """Append beads, with their targets and the criterion where known, else NaN."""
        start = len(self)
        for name, column in self._columns():
            more = np.zeros((*column.shape[:-1], len(targets)), dtype=column.dtype)
            setattr(self, name, np.concatenate([column, more], axis=-1))
        rows = np.arange(start, start + len(targets))
        self.target[rows] = targets
        self.value[rows] = values
        self._due_step[rows] = self._not_before[rows] = 1
        self._begin_level(rows)

    def keep(self, rows: Rows) -> None:
        """Keep these beads only, in this order."""
        for name, column in self._columns():
            setattr(self, name, column[..., rows])

    def after_step(self, losses: Floats) -> bool:
        """Take in the losses `[k]` of a step.

        Returns:
            Whether any bead is due to be looked at, or to be given up.
        """
        self.steps += 1
        self.gradient_samples += self._samples[self.level]
        fresh = np.isnan(self._loss)
        newest = self._newest[self.level]
        self._loss = np.where(fresh, losses, self._loss + newest * (losses - self._loss))
        better = self._loss < self._floor
        if better.any():
            rows = better.nonzero()[0]
            self._floor[rows] = _below(self._loss[rows])
            self._improve(rows)
        if fresh.any():
            self._plan(fresh.nonzero()[0], complete=False, examples=0)
        return bool((self._to_look() | (self.steps >= self._give_up_at)).any())

    def to_look(self) -> Rows:
        """Beads whose criterion is to be measured now."""
        return self._to_look().nonzero()[0]

    def after_look(self, rows: Rows, values: Floats, *, complete: bool, examples: float) -> None:
        """Take in criteria above the target, and plan the next look.

        Args:
            rows: the beads.
            values: their criterion.
            complete: whether it was taken on the whole split.
            examples: gone through for each of them.
        """
        if not len(rows):
            return
        kind = int(complete)
        self.value[rows] = values
        floor = self._look_floor[kind, rows]
        better = values < floor
        self._look_floor[kind, rows[better]] = _below(values[better])
        self._improve(rows[better & np.isfinite(floor)])  # a first look improves on nothing
        self._plan(rows, complete=complete, examples=examples)
        self._look_step[kind, rows] = self.steps[rows]
        self._look_value[kind, rows] = values

    def endings(self) -> tuple[Rows, Rows]:
        """Beads that have stalled and beads out of steps; a larger sample comes before a stall."""
        out = self.steps >= self._max_steps
        idle = (self.steps >= self._give_up_at) & ~out
        top = self.level == len(self._samples) - 1
        self._grow((idle & ~top).nonzero()[0])
        return (idle & top).nonzero()[0], out.nonzero()[0]

    def _to_look(self) -> NDArray[np.bool_]:
        due = (self._loss <= self._due_loss) | (self.steps >= self._due_step)
        return due & (self.steps >= self._not_before)

    def _plan(self, rows: Rows, *, complete: bool, examples: float) -> None:
        """The next look of some beads.

        Not before the steps since the last one cost as much as that did, or are a tenth of all.
        """
        steps, value, loss, target = (
            column[rows] for column in (self.steps, self.value, self._loss, self.target)
        )
        kind = int(complete)
        with np.errstate(all="ignore"):
            ratio = np.where((value > 0) & (target > 0), target / value, 0.0)
            self._due_loss[rows] = np.where(loss > 0, loss * np.minimum(ratio, 1.0), -np.inf)
            passed = steps - self._look_step[kind, rows]
            rate = np.log(self._look_value[kind, rows] / value) / passed
            needed = np.log(value / target) / rate
        ahead = np.where(needed >= 0, needed / 2, np.inf)
        far = 1 / np.clip(ratio, 1 / _FAR, 1)
        ahead = np.clip(ahead, _SOONEST * steps, _LATEST * far * steps)
        least = self._least[self.level[rows]]
        self._due_step[rows] = steps + np.maximum(least, ahead)
        # A gradient costs about three evaluations.
        pause = np.minimum(steps / 10, examples // (3 * self._samples[self.level[rows]]))
        self._not_before[rows] = steps + np.maximum(least, pause)

    def _improve(self, rows: Rows) -> None:
        self._improved_at[rows] = self.steps[rows]
        idle = self._patience[self.level[rows]]
        self._give_up_at[rows] = np.minimum(self._improved_at[rows] + idle, self._max_steps)

    def _grow(self, rows: Rows) -> None:
        """Move beads to a larger sample; their loss on it is known after the next step."""
        rows = rows[self.level[rows] < len(self._samples) - 1]
        if len(rows):
            self.level[rows] += 1
            self._begin_level(rows)

    def _begin_level(self, rows: Rows) -> None:
        self._loss[rows] = np.nan
        self._floor[rows] = np.inf
        self._due_loss[rows] = -np.inf
        self._look_step[:, rows] = self._look_value[:, rows] = np.nan
        self._look_floor[:, rows] = np.inf
        self._improve(rows)

    def _columns(self) -> list[tuple[str, NDArray[np.generic]]]:
        constants = ("_samples", "_newest", "_least", "_patience")
        return [
            (name, value)
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray) and name not in constants
        ]


def _below(values: Floats) -> Floats:
    """What counts as an improvement on some values."""
    return values - _IMPROVEMENT * np.abs(values)
