"""Extreme eigenpairs of a curvature operator, each with the residual that says how good it is.

scipy's implicitly restarted Lanczos (ARPACK, Lehoucq, Sorensen & Yang 1998) needs far fewer
products than deflated power iteration, and finds the least eigenvalues as well as the largest.
LOBPCG (Knyazev 2001) is the alternative, for blocks of vectors.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, lobpcg
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.products import Curvature

End = Literal["top", "bottom"]
SOLVERS = ("lanczos", "lobpcg")

# Below this size the dense matrix costs no more than the iteration.
_DENSE = 32


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Some eigenpairs of a symmetric matrix.

    Attributes:
        values: `[k]`, float64: from the largest on for the top, from the least on for the bottom.
        vectors: `[k, size]`, of unit length.
        residuals: `[k]`: ‖Av − λv‖. Within this distance of each value there is an eigenvalue.
        converged: whether all were found, and every residual is within the tolerance.
        tolerance: that was asked for, relative to the norm of the matrix as far as it was seen.
        products: with a vector, those for the residuals included.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: bool
    tolerance: float
    products: int


def eigenpairs(
    curvature: Curvature,
    count: int = 5,
    *,
    end: End = "top",
    tolerance: float = 1e-6,
    scale: Tensor | None = None,
    start: Tensor | None = None,
    seed: int = 0,
    solver: str = "lanczos",
    max_products: int = 2000,
) -> Eigenpairs:
    """The largest or the least eigenvalues, and their vectors.

    Args:
        curvature: the matrix.
        count: how many; at most the size of the matrix.
        end: ``"top"`` or ``"bottom"``, by value, not by magnitude.
        tolerance: of the residuals, relative to the norm of the matrix as far as it was seen.
        scale: `[size]`: of `diag(scale) · matrix · diag(scale)` instead.
        start: `[size]`: where to begin, such as an eigenvector of a nearby matrix.
        seed: of the start, where none is given.
        solver: ``"lanczos"`` or ``"lobpcg"``.
        max_products: about how many products may be taken.

    Returns:
        The pairs; as many as were found, with `converged` False, where the products ran out.

    Raises:
        InputError: if `count` or `solver` is out of range.

    Example:
        >>> x, y = torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.zeros(3, 1)
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> from thalweg import Objective
        >>> objective = Objective(model, torch.nn.functional.mse_loss, train=(x, y))
        >>> eigenpairs(Curvature(objective, torch.zeros(3)), 2).values
        tensor([6.0000, 2.6667], dtype=torch.float64)
    """
    size = curvature.size
    if not 1 <= count <= size:
        raise InputError(f"expected 1 to {size} eigenvalues, got {count}")
    if solver not in SOLVERS:
        raise InputError(f"expected a solver among {', '.join(SOLVERS)}, got '{solver}'")
    if end not in ("top", "bottom"):
        raise InputError(f"expected the end 'top' or 'bottom', got '{end}'")
    before = curvature.products
    if start is None:
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(size, generator=generator, dtype=torch.float64)
    first = start.detach().cpu().double().numpy()
    watched = _Watched(curvature, scale)
    if size <= max(_DENSE, 4 * count):
        vectors = _dense(watched, count, end)
    elif solver == "lanczos":
        vectors = _lanczos(watched, count, end, tolerance, first, max_products)
    else:
        vectors = _lobpcg(watched, count, end, tolerance, first, seed, max_products)
    values, vectors, residuals = _with_residuals(watched, vectors, end)
    return Eigenpairs(
        values=values,
        vectors=vectors,
        residuals=residuals,
        converged=len(values) == count and bool((residuals <= tolerance * watched.norm).all()),
        tolerance=tolerance,
        products=curvature.products - before,
    )


class _Watched:
    """A matrix for scipy that remembers by how much it stretched a vector at most.

    Args:
        curvature: the matrix.
        scale: `[size]`: of `diag(scale) · matrix · diag(scale)`; None: none.
    """

    def __init__(self, curvature: Curvature, scale: Tensor | None) -> None:
        self._curvature = curvature
        self._scale = torch.ones(()) if scale is None else scale.cpu().double()
        self.size = curvature.size
        self.norm = 0.0

    def rows(self, vectors: Tensor) -> Tensor:
        """Times several vectors, `[k, size]`, in float64."""
        images = self._scale * self._curvature.product(self._scale * vectors).cpu().double()
        lengths = torch.linalg.vector_norm(vectors, dim=1).clamp_min(1e-300)
        stretch = torch.linalg.vector_norm(images, dim=1) / lengths
        self.norm = max(self.norm, float(stretch.max()))
        return images

    def operator(self) -> LinearOperator:
        """For scipy."""

        def matvec(vector: np.ndarray) -> np.ndarray:
            row = torch.from_numpy(np.ascontiguousarray(vector.reshape(1, -1)))
            return self.rows(row)[0].numpy()

        shape = self.size, self.size
        return LinearOperator(shape, matvec=matvec, dtype=np.float64)  # type: ignore[call-arg]


def _dense(matrix: _Watched, count: int, end: End) -> np.ndarray:
    whole = matrix.rows(torch.eye(matrix.size, dtype=torch.float64))
    _, vectors = torch.linalg.eigh((whole + whole.T) / 2)
    return (vectors[:, -count:] if end == "top" else vectors[:, :count]).T.numpy()


def _lanczos(
    matrix: _Watched, count: int, end: End, tolerance: float, start: np.ndarray, max_products: int
) -> np.ndarray:
    basis = min(matrix.size - 1, max(2 * count + 1, 20))
    try:
        _, vectors = eigsh(
            matrix.operator(), count, which="LA" if end == "top" else "SA", v0=start,
            tol=cast(int, tolerance), ncv=basis,  # annotated as an integer there
            maxiter=max(1, math.ceil(max_products / (basis - count))),
        )  # fmt: skip
    except ArpackNoConvergence as error:
        vectors = error.eigenvectors
        if not vectors.size:  # nothing converged: the start is all there is
            vectors = start[:, None]
    return vectors.T


def _lobpcg(
    matrix: _Watched,
    count: int,
    end: End,
    tolerance: float,
    start: np.ndarray,
    seed: int,
    max_products: int,
) -> np.ndarray:
    random = np.random.default_rng(seed)
    # A few vectors more than are wanted: the last of a block converge slowly.
    block = np.column_stack([start, random.standard_normal((matrix.size, count + 1))])
    operator = matrix.operator()
    operator.matvec(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of tolerances missed: residuals say so
        _, vectors = lobpcg(
            operator, block, largest=end == "top", tol=tolerance * matrix.norm,
            maxiter=max(1, max_products // block.shape[1]),
        )[:2]  # fmt: skip
    return vectors[:, :count].T


def _with_residuals(matrix: _Watched, rows: np.ndarray, end: End) -> tuple[Tensor, Tensor, Tensor]:
    """Values in order, vectors of unit length and residuals, by one more product each."""
    vectors = torch.from_numpy(np.ascontiguousarray(rows)).double()
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    images = matrix.rows(vectors)
    values = (vectors * images).sum(1)
    residuals = torch.linalg.vector_norm(images - values[:, None] * vectors, dim=1)
    order = values.argsort(descending=end == "top")
    return values[order], vectors[order], residuals[order]
