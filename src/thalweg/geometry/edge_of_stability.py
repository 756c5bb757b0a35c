"""Progressive sharpening and the edge of stability (Cohen et al. 2021).

Gradient descent with step η on a quadratic diverges where the largest eigenvalue of its Hessian
exceeds 2/η. Full-batch training of networks sharpens until just there, and stays there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.eigen import eigenpairs
from thalweg.geometry.products import Curvature
from thalweg.objective import Objective
from thalweg.parameters import Source


class SharpnessTracker:
    """Follows the largest eigenvalue of the Hessian while a model is trained.

    Call it with θ after every step, whatever the optimizer. Every so many calls it takes a few
    Lanczos steps from the last eigenvector, which moves little in between.

    Args:
        objective: whose training loss.
        every: calls from one look to the next.
        tolerance: of the residual, relative.
        examples: of the training split to look at; default: all.
        seed: of the first start.

    Attributes:
        steps: at which it looked.
        values: largest eigenvalues there.
        products: with a vector so far.

    Raises:
        InputError: if `every` is not positive.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, train=(x, y))
        >>> tracker = SharpnessTracker(objective, every=2)
        >>> for step in range(3):
        ...     tracker(torch.zeros(3))
        >>> tracker.steps, [round(value, 6) for value in tracker.values]
        ([0, 2], [3.0, 3.0])
    """

    def __init__(
        self,
        objective: Objective,
        every: int = 10,
        *,
        tolerance: float = 1e-3,
        examples: int | None = None,
        seed: int = 0,
    ) -> None:
        if every < 1:
            raise InputError(f"expected to look every 1 step or more, got {every}")
        split = objective.training.split
        self._objective = (
            objective if examples is None else objective.with_examples({split: examples})
        )
        self._every = every
        self._tolerance = tolerance
        self._seed = seed
        self._vector: Tensor | None = None
        self._calls = 0
        self.steps: list[int] = []
        self.values: list[float] = []
        self.products = 0

    def __call__(self, theta: Tensor) -> None:
        """Take note of one step.

        Args:
            theta: `[p]`, after it.
        """
        if self._calls % self._every == 0 and bool(torch.isfinite(theta).all()):
            curvature = Curvature(self._objective, theta.detach(), double=False)
            found = eigenpairs(
                curvature, 1, tolerance=self._tolerance, start=self._vector, seed=self._seed
            )
            self._vector = found.vectors[0]
            self.steps.append(self._calls)
            self.values.append(float(found.values[0]))
            self.products += found.products
        self._calls += 1


@dataclass(frozen=True)
class Descent:
    """Full-batch gradient descent at one learning rate.

    Attributes:
        learning_rate: η.
        steps: at which sharpness was looked at.
        sharpness: largest eigenvalues there.
        losses: training loss before every step.
        diverged: whether the loss became infinite or NaN.
    """

    learning_rate: float
    steps: tuple[int, ...]
    sharpness: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: bool

    @property
    def threshold(self) -> float:
        """2/η."""
        return 2 / self.learning_rate

    @property
    def reached(self) -> int | None:
        """First step looked at where the sharpness is at least 2/η; None if it never is."""
        pairs = zip(self.steps, self.sharpness, strict=True)
        return next((step for step, value in pairs if value >= self.threshold), None)

    @property
    def hovering(self) -> float | None:
        """Mean of sharpness · η/2 from there on: near one at the edge of stability."""
        if self.reached is None:
            return None
        pairs = zip(self.steps, self.sharpness, strict=True)
        after = [value for step, value in pairs if step >= self.reached]
        return math.fsum(after) / len(after) / self.threshold


def edge_of_stability(
    objective: Objective,
    model: Source,
    learning_rates: Sequence[float],
    steps: int,
    *,
    every: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Descent, ...]:
    """Train a model by full-batch gradient descent at several learning rates.

    Args:
        objective: model, loss and data; its recipe for training is not used.
        model: from where all descents start.
        learning_rates: η of each.
        steps: of each.
        every: steps from one look at the sharpness to the next.
        progress: called with the steps done and those in all.

    Raises:
        InputError: if a learning rate or `steps` is not positive.
    """
    if steps < 1 or not all(rate > 0 and math.isfinite(rate) for rate in learning_rates):
        raise InputError(
            f"expected steps and learning rates > 0, got {steps} and {list(learning_rates)}"
        )
    start = objective.theta(model)
    batch = objective.splits[objective.training.split].select(slice(None))
    found = []
    for number, rate in enumerate(learning_rates):
        tracker = SharpnessTracker(objective, every)
        theta, losses = start.clone(), []
        for step in range(steps):
            tracker(theta)
            gradient = objective.gradients(theta[None], batch)
            losses.append(float(gradient.losses[0]))
            if not math.isfinite(losses[-1]):
                break
            theta = theta - rate * gradient.gradients[0]
            if progress and step % every == 0:
                progress(number * steps + step, len(learning_rates) * steps)
        found.append(
            Descent(
                learning_rate=rate,
                steps=tuple(tracker.steps),
                sharpness=tuple(tracker.values),
                losses=tuple(losses),
                diverged=not math.isfinite(losses[-1]),
            )
        )
    return tuple(found)
