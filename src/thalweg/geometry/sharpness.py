"""Measures of sharpness used in the field, and what leaves them as they are.

Permutations of units (:mod:`thalweg.symmetry`) change none of them. Positive rescaling of relu
units changes all but the adaptive ones, which compare each weight with its own size (Dinh et al.
2017 for the fact; Kwon et al. 2021 for the cure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.eigen import eigenpairs
from thalweg.geometry.products import Curvature
from thalweg.geometry.trace import hutch_pp, trace
from thalweg.objective import Criterion, Objective
from thalweg.parameters import Source


@dataclass(frozen=True)
class Sharpness:
    """How sharp the loss is at a model.

    Attributes:
        top_eigenvalue: of the Hessian H.
        trace: of H.
        trace_standard_error: 0 where the trace is exact.
        adaptive_eigenvalue: largest eigenvalue of `diag|θ| H diag|θ|`: the worst case, to second
            order, among changes of each weight in proportion to it. Invariant under rescaling.
        adaptive_trace: of that matrix: the mean case.
        adaptive_trace_standard_error: of that estimate.
        products: with a vector.
    """

    top_eigenvalue: float
    trace: float
    trace_standard_error: float
    adaptive_eigenvalue: float
    adaptive_trace: float
    adaptive_trace_standard_error: float
    products: int


@dataclass(frozen=True)
class WorstCase:
    """The largest loss found within a distance.

    Attributes:
        radius: ρ.
        loss: at the model.
        one_step: increase of the loss at `θ + ρ ∇F / ‖∇F‖`, the step of SAM (Foret et al. 2021,
            Eq. 2).
        increase: the largest increase found in the ball ‖δ‖ ≤ ρ; a lower bound of the worst case.
        gradients: over all examples that were taken.
    """

    radius: float
    loss: float
    one_step: float
    increase: float
    gradients: int


def sharpness(
    objective: Objective,
    model: Source,
    *,
    split: str | None = None,
    tolerance: float = 0.01,
    seed: int = 0,
) -> Sharpness:
    """Take all measures of second order at a model.

    Args:
        objective: model, loss and data.
        model: where.
        split: the data; default: the training split.
        tolerance: of estimated traces: standard error relative to the value.
        seed: of everything random.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, train=(x, y))
        >>> found = sharpness(objective, torch.tensor([1.0, 2.0, 0.5]))
        >>> round(found.trace, 6), round(found.adaptive_trace, 6)
        (4.0, 5.5)
    """
    curvature = Curvature(objective, model, split=split)
    size = objective.theta(model).cpu().double().abs()
    first = eigenpairs(curvature, 1, seed=seed)
    plain = trace(objective, model, split=split, tolerance=tolerance, seed=seed)
    adaptive = eigenpairs(curvature, 1, scale=size, seed=seed)
    mean, error = hutch_pp(curvature, tolerance=tolerance, scale=size, seed=seed)
    return Sharpness(
        top_eigenvalue=float(first.values[0]),
        trace=plain.value,
        trace_standard_error=plain.standard_error,
        adaptive_eigenvalue=float(adaptive.values[0]),
        adaptive_trace=mean,
        adaptive_trace_standard_error=error,
        products=curvature.products + plain.products,
    )


def worst_case(
    objective: Objective,
    model: Source,
    radius: float = 0.05,
    *,
    split: str | None = None,
    steps: int = 20,
    seed: int = 0,
) -> WorstCase:
    """The largest loss in a Euclidean ball, as SAM has it, by one step and by projected ascent.

    The ascent follows the normalized gradient on the sphere, from SAM's step and from both
    directions of the sharpest eigenvector, where the gradient says nothing.

    Args:
        objective: model, loss and data.
        model: the centre.
        radius: ρ > 0.
        split: the data; default: the training split.
        steps: of each ascent.
        seed: of the eigenvector's start.

    Raises:
        InputError: if the radius is not positive.
    """
    if not (radius > 0 and math.isfinite(radius)):
        raise InputError(f"expected a radius > 0, got {radius}")
    name = split if split is not None else objective.training.split
    theta = objective.theta(model).cpu().double()
    centre = Curvature(objective, model, split=name)
    twin, taken = objective.double(), 0

    def gradient(delta: Tensor) -> Tensor:
        nonlocal taken
        taken += 1
        return Curvature(twin, theta + delta, split=name).gradient.cpu()

    def losses(rows: list[Tensor]) -> list[float]:
        stack = torch.stack([theta + row for row in rows])
        return twin.evaluate(stack, name, (Criterion("loss"),)).values[:, 0].tolist()

    sharpest = eigenpairs(centre, 1, seed=seed).vectors[0]
    starts = [_onto(centre.gradient.cpu(), sharpest, radius), radius * sharpest, -radius * sharpest]
    found = list(starts)
    for delta in starts:
        step = delta
        for _ in range(steps):
            step = _onto(step + radius * _unit(gradient(step)), step, radius)
            found.append(step)
    values = losses(found)
    return WorstCase(
        radius=radius,
        loss=centre.loss,
        one_step=values[0] - centre.loss,
        increase=max(values) - centre.loss,
        gradients=taken + 1,
    )


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector).clamp_min(1e-300)


def _onto(vector: Tensor, otherwise: Tensor, radius: float) -> Tensor:
    """Onto the sphere; where a vector has no direction, another's."""
    chosen = vector if float(torch.linalg.vector_norm(vector)) > 0 else otherwise
    return radius * _unit(chosen)
