"""The pool: all beads in training, of all strings, as one stack that models enter and leave."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from thalweg.connect.bead import Bead, Constraint, Ending
from thalweg.connect.optimizers import stack_optimizer
from thalweg.connect.randomness import Randomness
from thalweg.connect.schedule import Rows, Schedule
from thalweg.objective import Objective
from thalweg.objective.splits import Inputs

# At most so many models in flight: the rest waits its turn.
_MODELS = 256


class Pool:
    """Trains beads together; each leaves as soon as it reaches its target.

    Minibatches are drawn once a step and shared by all beads in flight. Where a recipe names a
    sample, each bead takes steps on so many examples in turn, on more of them when it no longer
    improves, and in the end on the whole split. The criterion of a bead is measured when it is due
    (:mod:`thalweg.connect.schedule`); a first part of the data settles most negative answers.

    Args:
        objective: whose training recipe and criterion.
        seed: of minibatches and dropout.
        max_steps: optimizer steps after which a bead is given up.
        patience: steps without improvement by one percent after which a bead has stalled.
        capacity: models in flight at a time, at most, as memory allows.
        factor: by which steps are longer than the recipe says.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        seed: int,
        max_steps: int,
        patience: int,
        capacity: int,
        factor: float = 1.0,
    ) -> None:
        self._objective = objective
        self._batches = objective.minibatches(seed)
        whole = objective.splits[objective.training.split]
        self._blocks = [whole.blocks(size) for size in objective.samples]
        self._random = Randomness(seed, objective.device)
        size, dtype = objective.layout.size, objective.layout.dtype
        self._stack = torch.empty(0, size, dtype=dtype, device=objective.device)
        rate = factor * objective.training.learning_rate
        self._optimizer = stack_optimizer(
            replace(objective.training, learning_rate=rate), self._stack
        )
        self._flying: list[Bead] = []
        # What is asked of some of them beside a low loss, by row.
        self._constraints: dict[int, Constraint] = {}
        self._waiting: deque[Bead] = deque()
        self._capacity = min(_MODELS, capacity)
        self._schedule = Schedule(
            objective.samples,
            whole=len(whole),
            max_steps=max_steps,
            patience=patience,
        )
        # Seconds of the pool, each shared by the beads then in flight; and, by bead, the clock
        # when it came.
        self._clock = 0.0
        self.steps = 0

    def submit(self, bead: Bead) -> None:
        """Queue a bead; it enters when there is room, first come first served."""
        self._waiting.append(bead)

    def drop(self, owner: int) -> list[Bead]:
        """Take out all beads of a string, in flight or waiting; those that were in flight."""
        self._waiting = deque(bead for bead in self._waiting if bead.owner != owner)
        return self._remove([i for i, bead in enumerate(self._flying) if bead.owner == owner])

    @property
    def open(self) -> int:
        """Beads in flight or waiting."""
        return len(self._flying) + len(self._waiting)

    def run(self, *, seconds: float | None = None, until: int = 1) -> list[Bead]:
        """Train until at least `until` beads have ended, or the time is up.

        Args:
            seconds: to spend at most; None: as long as it takes.
            until: how many beads to wait for.

        Returns:
            The beads that ended, with parameters, ending and costs.
        """
        ended: list[Bead] = []
        end = None if seconds is None else time.monotonic() + seconds
        with self._random.active():
            while self.open and len(ended) < until and (end is None or time.monotonic() < end):
                ended += self._admit()
                if self._flying:
                    ended += self._step()
        return ended

    def _admit(self) -> list[Bead]:
        """Fill free slots; beads that are at their target from the start leave at once."""
        room = self._capacity - len(self._flying)
        coming = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        if not coming:
            return []
        start = len(self._flying)
        rows = torch.stack([bead.start() for bead in coming])
        self._stack = torch.cat([self._stack, rows.to(self._stack)])
        self._optimizer.grow(len(coming))
        self._constraints |= {
            i: bead.constraint() for i, bead in enumerate(coming, start) if bead.constraint
        }
        self._flying += coming
        for bead in coming:
            bead.seconds = -self._clock
            if bead.first_value is not None:
                bead.value = bead.first_value
        self._schedule.add([bead.target for bead in coming], [bead.value for bead in coming])
        unknown = [
            i for i, bead in enumerate(coming, start)
            if bead.first_value is None or bead.first_value <= bead.target
        ]  # fmt: skip
        return self._leave(self._measure(np.array(unknown, dtype=np.intp)))

    def _step(self) -> list[Bead]:
        """One optimizer step of all beads in flight."""
        begin = time.perf_counter()
        gradients, losses = self._gradients()
        for row, constraint in self._constraints.items():
            gradients[row] += constraint.gradient(self._stack[row])
        broken = self._broken(gradients, losses)
        longest = self._objective.training.max_gradient_norm
        if longest is not None:
            norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64)
            scale = (longest / norms).clamp(max=1).nan_to_num(nan=1.0)
            gradients = gradients * scale[:, None].to(gradients.dtype)
        self._optimizer.step(self._stack, gradients)
        for row, constraint in self._constraints.items():
            self._stack[row] = constraint.project(self._stack[row])
        self.steps += 1
        due = self._schedule.after_step(losses)
        ended: dict[int, Ending] = {}
        if len(broken):
            self._schedule.steps[broken] -= 1
            ended.update(dict.fromkeys(broken.tolist(), "diverged"))
        if due:
            looks = self._schedule.to_look()
            ended.update(self._measure(looks[~np.isin(looks, broken)]))
            stalled, out = self._schedule.endings()
            given_up: dict[int, Ending] = {
                **dict.fromkeys(stalled.tolist(), "stalled"),
                **dict.fromkeys(out.tolist(), "out of steps"),
            }
            ended = {**given_up, **ended}
        self._clock += (time.perf_counter() - begin) / len(self._flying)
        return self._leave(ended)

    def _gradients(self) -> tuple[Tensor, np.ndarray]:
        """Gradients `[k, p]` and losses `[k]` of all beads, each on its own sample."""
        levels = self._schedule.level
        lowest, highest = int(levels.min()), int(levels.max())
        if lowest == highest:
            result = self._objective.gradients(self._stack, self._batch(lowest))
            return result.gradients, result.losses.cpu().numpy()
        gradients, losses = torch.empty_like(self._stack), np.empty(len(levels))
        for level in range(lowest, highest + 1):
            rows = (levels == level).nonzero()[0]
            if len(rows):
                index = torch.from_numpy(rows).to(self._stack.device)
                result = self._objective.gradients(self._stack[index], self._batch(level))
                gradients[index] = result.gradients
                losses[rows] = result.losses.cpu().numpy()
        return gradients, losses

    def _batch(self, level: int) -> tuple[Inputs, Tensor]:
        """The examples of this step."""
        if self._objective.training.batch_size is not None:
            return next(self._batches)
        blocks = self._blocks[level]
        return blocks[self.steps % len(blocks)]

    def _broken(self, gradients: Tensor, losses: np.ndarray) -> Rows:
        """Beads whose loss or gradient is not finite."""
        # One sum tells that nothing is amiss; it may itself overflow, which is looked into.
        if np.isfinite(losses).all() and np.isfinite(float(gradients.sum())):
            return np.zeros(0, dtype=np.intp)
        finite = torch.isfinite(gradients).all(1).cpu().numpy()
        return (~(finite & np.isfinite(losses))).nonzero()[0]

    def _measure(self, rows: Rows) -> dict[int, Ending]:
        """Measure the criterion of some beads, and plan the next look at each of the others."""
        if not len(rows):
            return {}
        schedule = self._schedule
        index = torch.from_numpy(rows).to(self._stack.device)
        result = self._objective.criterion_of(
            self._stack[index], ceiling=torch.from_numpy(schedule.target[rows]), guess=True
        )
        values, complete = result.values[:, 0].numpy(), result.complete.numpy()
        cost = round(result.samples / len(rows))
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            bead = self._flying[row]
            bead.value = value
            bead.criterion_evaluations += 1
            bead.criterion_samples += cost
        lost = np.isnan(values)
        there = complete & (values <= schedule.target[rows])
        above = ~(lost | there)
        for whole in (False, True):
            kind = above & (complete == whole)
            schedule.after_look(rows[kind], values[kind], complete=whole, examples=cost)
        return {
            **dict.fromkeys(rows[lost].tolist(), "diverged"),
            **dict.fromkeys(rows[there].tolist(), "trained"),
        }

    def _leave(self, ended: dict[int, Ending]) -> list[Bead]:
        if not ended:
            return []
        for row, ending in ended.items():
            self._flying[row].ending = ending
        return self._remove(sorted(ended))

    def _remove(self, rows: list[int]) -> list[Bead]:
        """Take beads out of flight, with their parameters and costs."""
        if not rows:
            return []
        removed = [self._flying[row] for row in rows]
        for row, bead in zip(rows, removed, strict=True):
            bead.theta = self._stack[row].detach().cpu().clone()
            bead.steps = int(self._schedule.steps[row])
            bead.gradient_samples = int(self._schedule.gradient_samples[row])
            bead.seconds += self._clock
        stay = np.delete(np.arange(len(self._flying)), rows)
        index = torch.from_numpy(stay).to(self._stack.device)
        self._stack = self._stack[index]
        self._optimizer.keep(index)
        self._schedule.keep(stay)
        self._flying = [self._flying[i] for i in stay]
        self._constraints = {
            i: self._constraints[j] for i, j in enumerate(stay.tolist()) if j in self._constraints
        }
        return removed
