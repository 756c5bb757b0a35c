"""The curvature of a model in one record: extreme eigenvalues and trace; and along a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.geometry.eigen import eigenpairs
from thalweg.geometry.products import Curvature, Matrix
from thalweg.geometry.trace import Trace, trace
from thalweg.objective import Objective
from thalweg.parameters import Source
from thalweg.paths import Path, Polygonal

# Points of a curve that has no beads.
_POINTS = 17


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Curvature of the training loss at a model.

    Attributes:
        top: the largest eigenvalues, `[k]`, the largest first.
        bottom: the least eigenvalues, `[j]`, the least first.
        residuals: ‖Hv − λv‖ of those of `top`.
        bottom_residuals: of those of `bottom`.
        converged: whether all residuals are within the tolerance.
        trace: of the matrix.
        loss: at the model.
        gradient_norm: ‖∇F‖.
        products: with a vector.
        layers: largest eigenvalue of the block of each layer, where asked for.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        examples: over which the loss is a mean.
    """

    top: Tensor
    bottom: Tensor
    residuals: Tensor
    bottom_residuals: Tensor
    converged: bool
    trace: Trace
    loss: float
    gradient_norm: float
    products: int
    layers: Mapping[str, float]
    matrix: str
    examples: int

    def document(self) -> dict[str, Any]:
        """As a JSON-ready dictionary."""
        return {
            "eigenvalues": self.top.tolist(),
            "residuals": self.residuals.tolist(),
            "bottom_eigenvalues": self.bottom.tolist(),
            "bottom_residuals": self.bottom_residuals.tolist(),
            "converged": self.converged,
            "trace": self.trace.value,
            "trace_standard_error": self.trace.standard_error,
            "trace_exact": self.trace.exact,
            "loss": self.loss,
            "gradient_norm": self.gradient_norm,
            "hessian_vector_products": self.products,
            "layers": dict(self.layers),
            "matrix": self.matrix,
            "examples": self.examples,
        }


@dataclass(frozen=True)
class PointCurvature:
    """Curvature at one point of a path.

    Attributes:
        t: its fraction of the path's length.
        top_eigenvalue: of the Hessian.
        least_eigenvalue: of the Hessian.
        trace: of the Hessian.
        trace_standard_error: 0 where the trace is exact.
        loss: training loss.
        converged: whether both eigenvalues are.
    """

    t: float
    top_eigenvalue: float
    least_eigenvalue: float
    trace: float
    trace_standard_error: float
    loss: float
    converged: bool


def spectrum(
    objective: Objective,
    model: Source,
    *,
    top: int = 5,
    bottom: int = 0,
    matrix: Matrix = "hessian",
    split: str | None = None,
    layers: bool = False,
    tolerance: float = 1e-6,
    trace_tolerance: float = 0.01,
    double: bool = True,
    seed: int = 0,
) -> Spectrum:
    """Extreme eigenvalues and the trace of the Hessian of the training loss.

    Args:
        objective: model, loss and data.
        model: where: a module, state dict, flat vector `[p]` or checkpoint file.
        top: how many of the largest eigenvalues.
        bottom: how many of the least.
        matrix: ``"hessian"`` or ``"gauss-newton"``.
        split: the data; default: the training split.
        layers: also take the largest eigenvalue of each layer's own block.
        tolerance: of residuals, relative to the norm of the matrix.
        trace_tolerance: of an estimated trace: standard error relative to it.
        double: compute in float64.
        seed: of everything random.

    Raises:
        InputError: if something does not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, train=(x, y))
        >>> found = spectrum(objective, torch.zeros(3), top=2)
        >>> [round(value, 6) for value in found.top.tolist()], round(found.trace.value, 6)
        ([3.0, 1.0], 4.0)
    """
    curvature = Curvature(objective, model, matrix=matrix, split=split, double=double)
    high = eigenpairs(curvature, top, tolerance=tolerance, seed=seed)
    low = eigenpairs(curvature, bottom, end="bottom", tolerance=tolerance, seed=seed) \
        if bottom else None  # fmt: skip
    whole = trace(
        objective, model, matrix=matrix, split=split, double=double, tolerance=trace_tolerance,
        seed=seed,
    )  # fmt: skip
    blocks, spent = {}, 0
    if layers:
        for layer, names in _layers(curvature).items():
            block = Curvature(
                objective, model, matrix=matrix, split=split, only=names, double=double
            )
            blocks[layer] = float(eigenpairs(block, 1, tolerance=tolerance, seed=seed).values[0])
            spent += block.products
    return Spectrum(
        top=high.values,
        bottom=high.values[:0] if low is None else low.values,
        residuals=high.residuals,
        bottom_residuals=high.residuals[:0] if low is None else low.residuals,
        converged=high.converged and (low is None or low.converged),
        trace=whole,
        loss=curvature.loss,
        gradient_norm=float(curvature.gradient.norm()),
        products=curvature.products + whole.products + spent,
        layers=blocks,
        matrix=matrix,
        examples=curvature.examples,
    )


def curvature_along(
    objective: Objective,
    path: Path,
    *,
    t: Sequence[float] | None = None,
    split: str | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[PointCurvature, ...]:
    """Sharpness, trace and least eigenvalue along a path.

    Args:
        objective: model, loss and data.
        path: such as that of a connection.
        t: where, in [0, 1]; default: at every bead of a string, both endpoints included, or at
            17 points of a curve.
        split: the data; default: the training split.
        tolerance: of residuals, relative to the norm of the Hessian.
        seed: of everything random.
        progress: called with the points done and those in all.
    """
    places = list(t) if t is not None else bead_places(path)
    found = []
    for i, place in enumerate(places, 1):
        theta = path.at(torch.tensor([place], dtype=torch.float64))[0]
        theta = theta.to(objective.layout.dtype)
        curvature = Curvature(objective, theta, split=split)
        high = eigenpairs(curvature, 1, tolerance=tolerance, seed=seed)
        low = eigenpairs(curvature, 1, end="bottom", tolerance=tolerance, seed=seed)
        whole = trace(objective, theta, split=split, seed=seed)
        found.append(
            PointCurvature(
                t=place,
                top_eigenvalue=float(high.values[0]),
                least_eigenvalue=float(low.values[0]),
                trace=whole.value,
                trace_standard_error=whole.standard_error,
                loss=curvature.loss,
                converged=high.converged and low.converged,
            )
        )
        if progress:
            progress(i, len(places))
    return tuple(found)


def bead_places(path: Path) -> list[float]:
    """Where a path is looked at by default: at its beads, or at 17 points of a curve."""
    if not isinstance(path, Polygonal):
        return torch.linspace(0, 1, _POINTS).tolist()
    lengths = torch.tensor(path.segment_lengths, dtype=torch.float64)
    if not lengths.sum() > 0:
        return [0.0]
    return [0.0, *(lengths.cumsum(0) / lengths.sum()).clamp_max(1.0).tolist()]


def _layers(curvature: Curvature) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in curvature.names:
        groups.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return groups
