"""The density of eigenvalues, by stochastic Lanczos quadrature.

Lin, Saad & Yang 2016, Section 3.2.2; for networks Ghorbani, Krishnan & Xiao 2019. From a random
vector, m steps of Lanczos give m nodes and weights that integrate polynomials of degree 2m − 1
exactly against the vector's part of the spectrum; several vectors average to the density.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import InputError
from thalweg.geometry.products import Curvature


@dataclass(frozen=True, eq=False)
class Density:
    """Nodes and weights of a density of eigenvalues.

    Attributes:
        nodes: `[runs, m]`, float64; a run that spans all its vector can reach has fewer, and
            weight zero on the rest.
        weights: `[runs, m]`: of each run one in all.
        products: with a vector.
    """

    nodes: Tensor
    weights: Tensor
    products: int

    def at(self, points: Tensor, width: float) -> Tensor:
        """The density at some values, each node blurred by a normal distribution.

        Args:
            points: `[q]`.
            width: standard deviation of the blur.

        Returns:
            `[q]`, whose integral is one.
        """
        distance = (points.double()[:, None, None] - self.nodes) / width
        bell = torch.exp(-distance.square() / 2) / (width * math.sqrt(2 * math.pi))
        return (bell * self.weights).sum(-1).mean(-1)

    def moment(self, power: int) -> tuple[float, float]:
        """Mean of a power of the eigenvalues, and the standard error of that estimate.

        Args:
            power: at most 2m − 1, beyond which the quadrature is not exact.
        """
        return _mean((self.weights * self.nodes**power).sum(1))

    def flat_share(self, width: float) -> tuple[float, float]:
        """Share of the eigenvalues within `width` of zero, and its standard error.

        How much of parameter space is a plateau to second order.
        """
        return _mean((self.weights * (self.nodes.abs() <= width)).sum(1))

    def effective_dimension(self, scale: float) -> tuple[float, float]:
        """Mean of `λ₊ / (λ₊ + scale)` over the eigenvalues, and its standard error.

        Times the number of parameters it is the effective dimension (MacKay 1992; Maddox, Benton &
        Wilson 2020): how many directions the data hold fast against a penalty `scale`.
        """
        positive = self.nodes.clamp_min(0)
        return _mean((self.weights * positive / (positive + scale)).sum(1))


def _mean(each: Tensor) -> tuple[float, float]:
    """Mean over the runs, and its standard error."""
    error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.inf
    return float(each.mean()), error


def density(curvature: Curvature, *, steps: int = 60, runs: int = 5, seed: int = 0) -> Density:
    """Estimate how the eigenvalues of a matrix are spread.

    Args:
        curvature: the matrix.
        steps: of Lanczos, m.
        runs: random vectors.
        seed: of these.

    Raises:
        InputError: if `steps` or `runs` is not positive.
    """
    if steps < 1 or runs < 1:
        raise InputError(f"expected at least one step and one run, got {steps} and {runs}")
    before = curvature.products
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.zeros(runs, steps, dtype=torch.float64)
    weights = torch.zeros_like(nodes)
    for run in range(runs):
        start = torch.randn(curvature.size, generator=generator, dtype=torch.float64)
        diagonal, beside = lanczos(curvature, start, steps)
        ritz = torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)
        values, vectors = torch.linalg.eigh(ritz)
        nodes[run, : len(values)] = values
        weights[run, : len(values)] = vectors[0].square()
    return Density(nodes, weights, curvature.products - before)


def lanczos(curvature: Curvature, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The tridiagonal matrix of Lanczos, orthogonalized in full.

    Args:
        curvature: the matrix.
        start: `[size]`.
        steps: at most so many; fewer where the vector spans no more.

    Returns:
        Its diagonal `[m]` and the one beside it `[m − 1]`.
    """
    steps = min(steps, curvature.size)
    basis = torch.zeros(steps, curvature.size, dtype=torch.float64)
    basis[0] = start / torch.linalg.vector_norm(start)
    diagonal, beside, norm = [], [], 0.0
    for i in range(steps):
        image = curvature.product(basis[i]).cpu().double()
        diagonal.append(float(image @ basis[i]))
        norm = max(norm, float(torch.linalg.vector_norm(image)))
        for _ in range(2):  # twice is enough (Parlett 1998)
            image = image - (basis[: i + 1] @ image) @ basis[: i + 1]
        length = float(torch.linalg.vector_norm(image))
        if i + 1 == steps or length <= 1e-10 * norm:
            break
        beside.append(length)
        basis[i + 1] = image / length
    return (torch.tensor(part, dtype=torch.float64) for part in (diagonal, beside))  # type: ignore[return-value]
