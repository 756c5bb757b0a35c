"""The pool: all beads in training, of all strings, as one stack that models enter and leave."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from thalweg.connect.optimizers import stack_optimizer
from thalweg.objective import Objective

Ending = Literal["trained", "stalled", "diverged", "out of steps"]

# Weight of the newest minibatch in the running mean of a bead's training loss.
_NEWEST = 0.1
# A bead that has improved by less than this over `patience` steps has stalled.
_IMPROVEMENT = 0.01
# At most so many models in flight: the rest waits its turn.
_MODELS = 256


@dataclass(eq=False)
class Bead:
    """A model in training.

    Attributes:
        start: makes its initial parameters `[p]`, when its turn comes.
        target: train until the criterion is at or below this (α·L0).
        owner: index of the string it belongs to.
        label: how to call it in a message.
        first_value: criterion at the start, if known.
        theta: `[p]`, once it has left the pool.
        value: the criterion last measured.
        ending: how its training ended, once it has.
        steps: optimizer steps taken.
        gradient_samples: examples gone through in training.
        criterion_evaluations: times its criterion was measured.
        criterion_samples: examples looked at for that.
        seconds: its share of the pool's time.
    """

    start: Callable[[], Tensor]
    target: float
    owner: int = 0
    label: str = "the model"
    first_value: float | None = None
    theta: Tensor | None = None
    value: float = float("nan")
    ending: Ending | None = None
    steps: int = 0
    gradient_samples: int = 0
    criterion_evaluations: int = 0
    criterion_samples: int = 0
    seconds: float = 0.0
    # When to measure the criterion next, and what the training loss has come to.
    _loss: float = field(default=float("nan"), repr=False)
    _best: float = field(default=float("inf"), repr=False)
    _improved_at: int = field(default=0, repr=False)
    _due_loss: float = field(default=float("-inf"), repr=False)
    _due_step: int = field(default=1, repr=False)
    _not_before: int = field(default=1, repr=False)


class Pool:
    """Trains beads together; each leaves as soon as it reaches its target.

    Minibatches are drawn once a step and shared by all beads in flight. The criterion of a bead
    is measured when its training loss suggests that it may be there, at the latest after a
    quarter more steps; a first part of the data settles most negative answers.

    Args:
        objective: whose training recipe and criterion.
        seed: of minibatches and dropout.
        max_steps: optimizer steps after which a bead is given up.
        patience: steps without improvement by one percent after which a bead has stalled.
        capacity: models in flight at a time, at most, as memory allows.
    """

    def __init__(
        self, objective: Objective, *, seed: int, max_steps: int, patience: int, capacity: int
    ) -> None:
        self._objective = objective
        self._batches = objective.minibatches(seed)
        self._random = torch.Generator().manual_seed(seed).get_state()
        self._cuda_seed = seed
        self._max_steps = max_steps
        self._patience = patience
        size, dtype = objective.layout.size, objective.layout.dtype
        self._stack = torch.empty(0, size, dtype=dtype, device=objective.device)
        self._optimizer = stack_optimizer(objective.training, self._stack)
        self._flying: list[Bead] = []
        self._waiting: deque[Bead] = deque()
        self._capacity = min(_MODELS, capacity)
        # Steps that cost as much as one look at the whole split of the criterion: a gradient
        # costs about three evaluations.
        split = objective.splits[objective.criterion.split]
        batch = objective.training.batch_size or len(objective.splits[objective.training.split])
        self._steps_a_look = len(split) // (3 * batch)
        self.steps = 0

    def submit(self, bead: Bead) -> None:
        """Queue a bead; it enters when there is room, first come first served."""
        self._waiting.append(bead)

    def drop(self, owner: int) -> list[Bead]:
        """Take out all beads of a string, in flight or waiting; those that were in flight."""
        dropped = [bead for bead in self._flying if bead.owner == owner]
        self._waiting = deque(bead for bead in self._waiting if bead.owner != owner)
        self._remove([i for i, bead in enumerate(self._flying) if bead.owner == owner])
        return dropped

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
        devices = [self._objective.device] if self._objective.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self._random)
            if devices:
                torch.cuda.manual_seed(self._cuda_seed + self.steps)
            while self.open and len(ended) < until and (end is None or time.monotonic() < end):
                ended += self._admit()
                if self._flying:
                    ended += self._step()
            self._random = torch.get_rng_state()
        return ended

    def _admit(self) -> list[Bead]:
        """Fill free slots; beads that are at their target from the start leave at once."""
        room = self._capacity - len(self._flying)
        coming = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        if not coming:
            return []
        rows = torch.stack([bead.start() for bead in coming])
        self._stack = torch.cat([self._stack, rows.to(self._stack)])
        self._optimizer.grow(len(coming))
        self._flying += coming
        start = len(self._flying) - len(coming)
        for bead in coming:
            if bead.first_value is not None:
                bead.value = bead.first_value
        unknown = [
            i for i, bead in enumerate(coming, start)
            if bead.first_value is None or bead.first_value <= bead.target
        ]  # fmt: skip
        self._measure(unknown)
        return self._leave()

    def _step(self) -> list[Bead]:
        """One optimizer step of all beads in flight."""
        begin = time.perf_counter()
        batch = next(self._batches)
        result = self._objective.gradients(self._stack, batch)
        gradients = result.gradients
        norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64)
        longest = self._objective.training.max_gradient_norm
        if longest is not None:
            scale = (longest / norms).clamp(max=1).nan_to_num(nan=1.0)
            gradients = gradients * scale[:, None].to(gradients.dtype)
        finite = (torch.isfinite(norms) & torch.isfinite(result.losses)).tolist()
        self._optimizer.step(self._stack, gradients)
        self.steps += 1
        for i, (bead, loss) in enumerate(zip(self._flying, result.losses.tolist(), strict=True)):
            bead.gradient_samples += len(batch[1])
            if not finite[i]:
                bead.ending = "diverged"
                continue
            bead.steps += 1
            self._follow(bead, loss)
            if bead.steps == 1:
                self._plan_next(bead, certain=False)
        self._measure([i for i, bead in enumerate(self._flying) if _is_due(bead)])
        share = (time.perf_counter() - begin) / len(self._flying)
        for bead in self._flying:
            bead.seconds += share
            if bead.ending is None and bead.steps >= self._max_steps:
                bead.ending = "out of steps"
            if bead.ending is None and bead.steps - bead._improved_at >= self._patience:
                bead.ending = "stalled"
        return self._leave()

    def _follow(self, bead: Bead, loss: float) -> None:
        """Keep the running mean of the training loss and note improvement."""
        whole = self._objective.training.batch_size is None
        newest = 1.0 if whole or bead.steps == 1 else _NEWEST
        bead._loss = loss if newest == 1.0 else bead._loss + newest * (loss - bead._loss)
        if bead._loss < bead._best - _IMPROVEMENT * abs(bead._best) or bead.steps == 1:
            bead._best = bead._loss
            bead._improved_at = bead.steps

    def _measure(self, rows: Sequence[int]) -> None:
        """Measure the criterion of some beads and plan the next measurement of each."""
        if not rows:
            return
        by_target: dict[float, list[int]] = {}
        for i in rows:
            by_target.setdefault(self._flying[i].target, []).append(i)
        for target, same in by_target.items():
            result = self._objective.criterion_of(self._stack[same], ceiling=target, guess=True)
            cost = result.samples / len(same)
            for i, value, complete in zip(
                same, result.values[:, 0].tolist(), result.complete.tolist(), strict=True
            ):
                bead = self._flying[i]
                bead.criterion_evaluations += 1
                bead.criterion_samples += round(cost)
                improved = not value >= bead.value * (1 - _IMPROVEMENT)
                bead.value = value
                if value != value:
                    bead.ending = "diverged"
                elif complete and value <= target:
                    bead.ending = "trained"
                elif bead.steps:
                    bead._improved_at = bead.steps if improved else bead._improved_at
                    self._plan_next(bead, certain=complete)

    def _plan_next(self, bead: Bead, *, certain: bool) -> None:
        """Measure again when the training loss has fallen by as much as the criterion must.

        At the latest after a quarter more steps; and not at once where the whole split was gone
        through and the bead is still above its target, since such a look costs most.
        """
        least = 2 if self._objective.training.batch_size is None else 5
        bead._due_step = bead.steps + max(least, bead.steps // 4)
        pause = min(bead.steps // 10, self._steps_a_look) if certain else 0
        bead._not_before = bead.steps + max(least, pause)
        ratio = bead.target / bead.value if bead.value > 0 and bead.target > 0 else 0.0
        bead._due_loss = bead._loss * min(ratio, 1.0) if bead._loss > 0 else float("-inf")

    def _leave(self) -> list[Bead]:
        leaving = [i for i, bead in enumerate(self._flying) if bead.ending is not None]
        ended = [self._flying[i] for i in leaving]
        for i, bead in zip(leaving, ended, strict=True):
            bead.theta = self._stack[i].detach().cpu().clone()
        self._remove(leaving)
        return ended

    def _remove(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        stay = [i for i in range(len(self._flying)) if i not in set(rows)]
        index = torch.tensor(stay, dtype=torch.long, device=self._stack.device)
        self._stack = self._stack[index]
        self._optimizer.keep(index)
        self._flying = [self._flying[i] for i in stay]


def _is_due(bead: Bead) -> bool:
    if bead.ending is not None or bead.steps < bead._not_before:
        return False
    return bead._loss <= bead._due_loss or bead.steps >= bead._due_step
