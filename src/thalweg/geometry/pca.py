"""Principal components of points of parameter space: of a string, of a trajectory.

Freeman & Bruna 2017, Appendix D: the string's coordinates are its projections onto the most
important principal axes of the fully converged string.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.frame import Frame
from thalweg.parameters import release

# Bytes of points in float64 at a time.
_BLOCK = 1 << 26
# Variance, relative to the largest, below which a component is rounding: the products are squares.
_NOTHING = 1e-13


@dataclass(frozen=True, eq=False)
class PCA:
    """Principal components of a set of points, the most important first.

    Attributes:
        mean: `[p]`, float64.
        directions: `[k, p]`, float64: orthonormal, each of the sign by which the last point
            lies beyond the first.
        variances: `[k]`: mean squared coordinate along each.
        explained: `[k]`: the same as fractions of the whole variance.
    """

    mean: Tensor
    directions: Tensor
    variances: tuple[float, ...]
    explained: tuple[float, ...]

    def coordinates(self, points: Tensor) -> Tensor:
        """Coordinates `[n, k]` of points `[n, p]`, float64."""
        directions = self.directions.T
        found = torch.zeros(len(points), len(self.variances), dtype=torch.float64)
        for part, columns in _blocks(points):
            found += (part - self.mean[columns]) @ directions[columns]
        return found

    def frame(self, origin: Tensor | None = None, axes: tuple[int, ...] = (0, 1)) -> Frame:
        """The plane, or line, along some of the components.

        Args:
            origin: `[p]`, where the coordinates are zero; default: the mean.
            axes: which components.

        Raises:
            InputError: if there are not so many components.
        """
        if max(axes) >= len(self.variances):
            raise InputError(
                f"expected points that spread in {max(axes) + 1} directions, got "
                f"{len(self.variances)}: take fewer components or more points"
            )
        names = tuple(f"PC {i + 1} ({100 * self.explained[i]:.3g} % of variance)" for i in axes)
        return Frame(self.mean if origin is None else origin, self.directions[list(axes)], names)


def pca(points: Tensor, components: int = 3) -> PCA:
    """Find the principal components of points in parameter space.

    It takes the products of all pairs of points, a small matrix, rather than the covariance of
    the parameters; points longer than memory are gone through in blocks.

    Args:
        points: `[n, p]`, at least two; may be memory-mapped.
        components: at most so many; there are fewer where the points spread in fewer directions.

    Returns:
        The components.

    Raises:
        InputError: if there are fewer than two points, or all are equal.

    Example:
        >>> found = pca(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
        >>> len(found.variances), found.explained
        (1, (1.0,))
        >>> found.coordinates(torch.tensor([[6.0, 8.0]]))
        tensor([[5.]], dtype=torch.float64)
    """
    if points.ndim != 2 or len(points) < 2:
        raise InputError(
            f"expected at least two points [n, p] for principal components, got shape "
            f"{list(points.shape)}"
        )
    if components < 1:
        raise InputError(f"expected at least one component, got {components}")
    n, p = points.shape
    mean = torch.empty(p, dtype=torch.float64)
    products = torch.zeros(n, n, dtype=torch.float64)
    for part, columns in _blocks(points):
        mean[columns] = part.mean(0)
        centred = part - mean[columns]
        products += centred @ centred.T
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    if not values[0] > 0:
        raise InputError("expected points that differ, got equal ones: they have no directions")
    kept = min(components, int((values > _NOTHING * values[0]).sum()))
    total = values.sum()
    values, vectors = values[:kept], vectors[:, :kept]
    vectors = torch.where(vectors[-1] >= vectors[0], vectors, -vectors)
    directions = torch.empty(kept, p, dtype=torch.float64)
    weights = (vectors / values.sqrt()).T
    for part, columns in _blocks(points):
        directions[:, columns] = weights @ (part - mean[columns])
    return PCA(mean, directions, tuple((values / n).tolist()), tuple((values / total).tolist()))


def _blocks(points: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """All points in float64, some columns at a time."""
    width = max(1, _BLOCK // (8 * len(points)))
    for start in range(0, points.shape[1], width):
        columns = slice(start, start + width)
        yield points[:, columns].to("cpu", torch.float64), columns
        release(points)
