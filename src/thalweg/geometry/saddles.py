"""Critical points: what kind they are, and the saddle that a path leads over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, minres
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.eigen import Eigenpairs, eigenpairs
from thalweg.geometry.products import Curvature
from thalweg.objective import Criterion, Objective
from thalweg.parameters import Source
from thalweg.paths import Path

# Points of a path among which the highest is looked for.
_POINTS = 101
# Relative size below which an eigenvalue counts as zero.
_FLAT = 1e-6
_REFINEMENTS = 60


class Kind(StrEnum):
    """Kinds of points."""

    NOT_CRITICAL = "not critical"
    """The gradient is not zero."""
    MINIMUM = "minimum"
    """All eigenvalues are positive."""
    SADDLE = "saddle"
    """Some eigenvalues are negative."""
    MAXIMUM = "maximum"
    """All eigenvalues are negative."""
    DEGENERATE = "degenerate"
    """No eigenvalue is negative, and some are zero as far as one can tell: second derivatives do
    not decide. The usual state of a trained network, which has more weights than constraints."""


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A point, and what the gradient and the Hessian say about it.

    Attributes:
        theta: `[p]`, float64.
        loss: training loss.
        gradient_norm: ‖∇F‖.
        kind: of the point.
        index: number of negative eigenvalues that are sure: below zero by more than their
            residuals and than what counts as flat.
        index_at_most: the same with those that may be negative; None where not all of them were
            looked at.
        eigenvalues: the least that were looked at, in order.
        residuals: of these.
    """

    theta: Tensor
    loss: float
    gradient_norm: float
    kind: Kind
    index: int
    index_at_most: int | None
    eigenvalues: Tensor
    residuals: Tensor


def classify(
    objective: Objective,
    model: Source,
    *,
    split: str | None = None,
    gradient_tolerance: float = 1e-4,
    most: int = 16,
    tolerance: float = 1e-8,
    seed: int = 0,
) -> CriticalPoint:
    """Say what kind of point a model is.

    Args:
        objective: model, loss and data.
        model: the point.
        split: the data; default: the training split.
        gradient_tolerance: ‖∇F‖ up to which the point counts as critical.
        most: negative eigenvalues to look for; beyond, the index is a lower bound.
        tolerance: of residuals, relative to the norm of the Hessian.
        seed: of everything random.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, train=(x, y))
        >>> found = classify(objective, torch.zeros(3))
        >>> str(found.kind), found.index
        ('degenerate', 0)
    """
    curvature = Curvature(objective, model, split=split)
    count = 1
    while True:
        found = eigenpairs(curvature, count, end="bottom", tolerance=tolerance, seed=seed)
        if count == min(most, curvature.size) or float(found.values[-1]) > float(
            found.residuals[-1]
        ):
            break
        count = min(2 * count, most, curvature.size)
    return _judged(objective, model, curvature, found, gradient_tolerance, seed)


def _judged(
    objective: Objective,
    model: Source,
    curvature: Curvature,
    found: Eigenpairs,
    gradient_tolerance: float,
    seed: int,
) -> CriticalPoint:
    top = eigenpairs(curvature, 1, tolerance=1e-3, seed=seed)
    norm = max(abs(float(top.values[0])), abs(float(found.values[0])))
    slack = torch.maximum(found.residuals, torch.full_like(found.residuals, _FLAT * norm))
    negative = int((found.values < -slack).sum())
    maybe = int((found.values <= slack).sum())
    whole = len(found.values) == curvature.size
    seen_all = whole or maybe < len(found.values)
    gradient_norm = float(curvature.gradient.norm())
    kind = Kind.SADDLE
    if gradient_norm > gradient_tolerance:
        kind = Kind.NOT_CRITICAL
    elif whole and negative == curvature.size:
        kind = Kind.MAXIMUM
    elif negative == 0:
        kind = Kind.MINIMUM if maybe == 0 else Kind.DEGENERATE
    return CriticalPoint(
        theta=objective.theta(model).detach().cpu().double(),
        loss=curvature.loss,
        gradient_norm=gradient_norm,
        kind=kind,
        index=negative,
        index_at_most=maybe if seen_all else None,
        eigenvalues=found.values,
        residuals=found.residuals,
    )


def climb(
    objective: Objective,
    path: Path,
    *,
    split: str | None = None,
    gradient_tolerance: float = 1e-6,
    max_steps: int = 2000,
    seed: int = 0,
) -> CriticalPoint:
    """From the highest point of a path to the saddle that it leads over.

    The climbing image of Henkelman, Uberuaga & Jónsson 2000 (Eq. 5): the force with its part
    along the path turned round. Here the direction is the path's tangent at first, and from there
    on the eigenvector of the least eigenvalue, which it becomes at the saddle (Henkelman & Jónsson
    1999). Near the saddle Newton steps (MINRES) finish, where they lessen the gradient.

    Args:
        objective: model, loss and data.
        path: through a barrier.
        split: the data; default: the training split.
        gradient_tolerance: ‖∇F‖ at which the climb ends.
        max_steps: after which it ends in any case; the point then is not critical.
        seed: of everything random.

    Returns:
        The point, with its index.

    Raises:
        InputError: if the path's highest point is an end: there is no barrier to climb.
    """
    name = split if split is not None else objective.training.split
    theta, direction = _highest(objective, path, name)
    point = Curvature(objective, theta, split=name)
    gradient = point.gradient.cpu().double()
    reach, stiff = path.endpoint_distance / 20, 1.0
    for step in range(max_steps):
        norm = float(gradient.norm())
        if norm <= gradient_tolerance:
            break
        if step % 5 == 0:
            least = eigenpairs(point, 1, end="bottom", tolerance=1e-3, start=direction, seed=seed)
            top = eigenpairs(point, 1, tolerance=1e-2, seed=seed)
            direction = least.vectors[0]
            stiff = max(abs(float(top.values[0])), abs(float(least.values[0])), 1e-12)
            if float(least.values[0]) < 0:
                tried = _newton(objective, point, theta, gradient, reach, name)
                if tried is not None:
                    theta, point, gradient = tried
                    continue
        force = -gradient + 2 * (gradient @ direction) * direction  # Eq. 5
        move = force / stiff
        move = move * min(1.0, reach / max(float(move.norm()), 1e-300))
        theta = theta + move
        point = Curvature(objective, theta, split=name)
        gradient = point.gradient.cpu().double()
    return classify(
        objective, theta, split=name, gradient_tolerance=10 * gradient_tolerance, seed=seed
    )


def _highest(objective: Objective, path: Path, split: str) -> tuple[Tensor, Tensor]:
    """The highest point of a path, refined, and the unit tangent there.

    Raises:
        InputError: if it is an end.
    """
    measure = (Criterion("loss"),)
    twin = objective.double()

    def losses(t: Tensor) -> Tensor:
        return twin.evaluate(path.at(t).double(), split, measure).values[:, 0]

    t = torch.linspace(0, 1, _POINTS, dtype=torch.float64)
    at = int(losses(t).argmax())
    if at in (0, _POINTS - 1):
        end = "end" if at else "start"
        raise InputError(
            f"expected a path with a barrier, got one that is highest at its {end}: there is no "
            "saddle to climb to"
        )
    low, high = float(t[at - 1]), float(t[at + 1])
    for _ in range(6):
        inner = torch.linspace(low, high, 9, dtype=torch.float64)
        best = int(losses(inner).argmax())
        low, high = float(inner[max(best - 1, 0)]), float(inner[min(best + 1, 8)])
    around = path.at(torch.tensor([low, (low + high) / 2, high], dtype=torch.float64)).double()
    tangent = around[2] - around[0]
    return around[1].cpu(), (tangent / tangent.norm().clamp_min(1e-300)).cpu()


def _newton(
    objective: Objective,
    point: Curvature,
    theta: Tensor,
    gradient: Tensor,
    reach: float,
    split: str,
) -> tuple[Tensor, Curvature, Tensor] | None:
    """A Newton step that stays near and more than halves the gradient; None if there is none."""

    def matvec(vector: np.ndarray) -> np.ndarray:
        row = torch.from_numpy(np.ascontiguousarray(vector.reshape(-1)))
        return point.product(row).cpu().double().numpy()

    shape = point.size, point.size
    operator = LinearOperator(shape, matvec=matvec, dtype=np.float64)  # type: ignore[call-arg]
    found, _ = minres(operator, -gradient.numpy(), rtol=1e-8, maxiter=_REFINEMENTS)
    move = torch.from_numpy(np.asarray(found))
    if not (torch.isfinite(move).all() and 0 < float(move.norm()) <= reach):
        return None
    there = theta + move
    new = Curvature(objective, there, split=split)
    slope = new.gradient.cpu().double()
    return (there, new, slope) if float(slope.norm()) < float(gradient.norm()) / 2 else None
