"""The trace of a curvature matrix: exactly where the network allows it, else estimated.

Where a network is piecewise linear in each of its weights (relu, max-pooling; no weight used
twice), the second derivative of its output by a weight is zero almost everywhere, so that the
Hessian and the Gauss-Newton matrix have the same diagonal. With the loss's curvature at the
outputs of example n as `H_n = Σ_c λ_nc u_nc u_ncᵀ`,

    tr H = 1/N Σ_n Σ_c λ_nc ‖J_nᵀ u_nc‖²:

squared norms of gradients of single examples, which C sweeps back through the network give for
all examples at once (C outputs an example; Goodfellow 2015 for the norms of linear layers).

Otherwise Hutch++ (Meyer, Musco, Musco & Woodruff 2021, Algorithm 1), with the standard error of its
random part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.exact_trace import exact_trace, why_not_exact
from thalweg.geometry.products import Curvature, Matrix
from thalweg.objective import Objective
from thalweg.parameters import Source

_SKETCH = 10
_LEAST = 10


@dataclass(frozen=True)
class Trace:
    """A trace, and how it was got.

    Attributes:
        value: of the matrix.
        standard_error: of the estimate; 0 where exact.
        exact: whether it is, up to rounding.
        products: with a vector; none where exact.
        blocks: by parameter, where exact.
        why_estimated: why it could not be exact; empty where it is.
    """

    value: float
    standard_error: float
    exact: bool
    products: int
    blocks: Mapping[str, float]
    why_estimated: str = ""


def trace(
    objective: Objective,
    model: Source,
    *,
    matrix: Matrix = "hessian",
    split: str | None = None,
    exact: bool | None = None,
    double: bool = True,
    tolerance: float = 0.01,
    max_products: int = 300,
    seed: int = 0,
) -> Trace:
    """The trace of the Hessian of the training loss.

    Args:
        objective: model, loss and data.
        model: where.
        matrix: ``"hessian"`` or ``"gauss-newton"``; where exact, both traces are the same.
        split: the data; default: the training split.
        exact: True: refuse to estimate; False: estimate in any case.
        double: compute in float64.
        tolerance: of an estimate: its standard error relative to it.
        max_products: of an estimate.
        seed: of an estimate.

    Raises:
        InputError: if an exact trace is asked for where it cannot be had.

    Example:
        >>> from torch import nn
        >>> x, y = torch.eye(2), torch.zeros(2, 1)
        >>> objective = Objective(nn.Linear(2, 1), nn.functional.mse_loss, train=(x, y))
        >>> round(trace(objective, torch.zeros(3)).value, 6)
        4.0
    """
    why = "an estimate was asked for" if exact is False else why_not_exact(objective)
    if not why:
        blocks = exact_trace(objective, model, split=split, double=double)
        return Trace(math.fsum(blocks.values()), 0.0, True, 0, blocks)
    if exact:
        raise InputError(
            f"expected a network that is piecewise linear in each weight for an exact trace, got "
            f"one that is not ({why}): take the estimate, exact=False"
        )
    curvature = Curvature(objective, model, matrix=matrix, split=split, double=double)
    value, error = hutch_pp(curvature, tolerance=tolerance, max_products=max_products, seed=seed)
    return Trace(value, error, False, curvature.products, {}, why)


def hutch_pp(
    curvature: Curvature,
    *,
    tolerance: float = 0.01,
    max_products: int = 300,
    sketch: int = _SKETCH,
    scale: Tensor | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Estimate a trace by Hutch++.

    The trace on the range of a random sketch is exact; the rest is estimated by random signs, one
    after another until the standard error is small enough.

    Args:
        curvature: the matrix.
        tolerance: standard error relative to the estimate.
        max_products: at most so many.
        sketch: vectors of the sketch, each of which costs two products.
        scale: `[size]`: of `diag(scale) · matrix · diag(scale)` instead.
        seed: of everything random.

    Returns:
        The estimate and its standard error, which is zero where the sketch spans the space.

    Raises:
        InputError: if there are too few products for the sketch and two signs.
    """
    sketch = min(sketch, curvature.size)
    if max_products < 2 * sketch + 2:
        raise InputError(
            f"expected at least {2 * sketch + 2} products for a sketch of {sketch}, got "
            f"{max_products}"
        )
    generator = torch.Generator().manual_seed(seed)
    factor = torch.ones(()) if scale is None else scale.cpu().double()

    def times(rows: Tensor) -> Tensor:
        return factor * curvature.product(factor * rows).cpu().double()

    basis = torch.linalg.qr(times(_signs(sketch, curvature.size, generator)).T).Q.T
    known = float((basis * times(basis)).sum())
    if sketch == curvature.size:
        return known, 0.0
    samples: list[float] = []
    error = math.inf
    for _ in range(max_products - 2 * sketch):
        sign = _signs(1, curvature.size, generator)
        rest = sign - (sign @ basis.T) @ basis
        samples.append(float((rest * times(rest)).sum()))
        if len(samples) >= 2:
            spread = torch.tensor(samples, dtype=torch.float64)
            error = float(spread.std()) / math.sqrt(len(samples))
            estimate = known + float(spread.mean())
            if len(samples) >= _LEAST and error <= tolerance * abs(estimate):
                break
    return known + math.fsum(samples) / len(samples), error


def _signs(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Random ±1, `[count, size]`, float64."""
    return torch.randint(0, 2, (count, size), generator=generator).double() * 2 - 1
