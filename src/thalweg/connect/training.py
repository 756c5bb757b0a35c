"""Train models of an objective to a level: endpoints, in the same pool that trains beads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from thalweg.connect.bead import Bead
from thalweg.connect.budget import Budget
from thalweg.connect.memory import allot
from thalweg.connect.pool import Pool
from thalweg.errors import InputError, ThalwegError
from thalweg.objective import Objective


class TrainingError(ThalwegError):
    """A model did not reach its target within the budget."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model, and what it cost.

    Attributes:
        theta: `[p]`.
        criterion: on the criterion's split.
        steps: optimizer steps.
        gradient_samples: examples gone through in training.
        criterion_samples: examples looked at to measure the criterion.
    """

    theta: Tensor
    criterion: float
    steps: int
    gradient_samples: int
    criterion_samples: int


def train(
    objective: Objective,
    initial: Sequence[Tensor],
    target: float,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Trained]:
    """Train models together until each one's criterion is at or below a target.

    Args:
        objective: whose training recipe and criterion.
        initial: `[p]` of each model.
        target: for the criterion.
        seed: of minibatches and dropout.
        budget: its steps, patience, seconds and memory limit.
        progress: called with the number of steps so far, now and then.

    Returns:
        One trained model for each initial one, in order.

    Raises:
        InputError: if the target is not positive, or the memory limit too small for one model.
        TrainingError: if a model stalls, diverges or runs out of steps or time.
    """
    models = train_all(objective, initial, target, seed=seed, budget=budget, progress=progress)
    for model in models:
        if isinstance(model, TrainingError):
            raise model
    return [model for model in models if isinstance(model, Trained)]


def train_all(
    objective: Objective,
    initial: Sequence[Tensor],
    target: float,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Trained | TrainingError]:
    """Train models together; one that fails does not keep the others from being trained.

    Args:
        objective: see :func:`train`.
        initial: see :func:`train`.
        target: see :func:`train`.
        seed: see :func:`train`.
        budget: see :func:`train`.
        progress: see :func:`train`.

    Returns:
        For each initial model, in order, a trained one or the reason why there is none.

    Raises:
        InputError: see :func:`train`.
    """
    if not target > 0:
        raise InputError(f"expected a target > 0 for training, got {target}")
    budget = budget or Budget()
    pool = Pool(
        objective, seed=seed, max_steps=budget.steps, patience=budget.patience,
        capacity=allot(budget.memory_limit, objective.layout).models,
    )  # fmt: skip
    beads = [
        Bead(start=lambda theta=theta: theta, target=target, owner=i)
        for i, theta in enumerate(initial)
    ]
    for bead in beads:
        pool.submit(bead)
    end = None if budget.seconds is None else time.monotonic() + budget.seconds
    while pool.open and (end is None or time.monotonic() < end):
        pool.run(seconds=0.2, until=len(beads))
        if progress:
            progress(pool.steps)
    return [_trained(bead, budget) for bead in beads]


def _trained(bead: Bead, budget: Budget) -> Trained | TrainingError:
    if bead.ending == "trained" and bead.theta is not None:
        return Trained(
            bead.theta, bead.value, bead.steps, bead.gradient_samples, bead.criterion_samples
        )
    how = {
        "stalled": f"did not improve for {budget.patience} steps",
        "diverged": "diverged: its loss, gradient or criterion is not finite",
        "out of steps": "ran out of steps",
    }.get(bead.ending or "", f"ran out of the {budget.seconds} seconds")
    return TrainingError(
        f"model {bead.owner} {how}; its criterion was {bead.value:.6g}, target {bead.target:.6g}, "
        f"after {bead.steps} steps"
    )
