"""Deep linear networks: their loss, and paths of them made of pieces that can be certified.

A network is the tuple of its matrices, first layer first (`W_k` is `[n_k, n_{k-1}]`); it computes
`x -> W_K ... W_1 x`, so that its loss depends on the product `P` alone (Freeman & Bruna 2017,
Eq. 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from scipy.linalg import schur

Matrix = NDArray[np.floating]
Layers = tuple[Matrix, ...]


def product(layers: Layers) -> Matrix:
    """The matrix `[n_K, n_0]` that a network computes."""
    return reduce(lambda below, layer: layer @ below, layers)


@dataclass(frozen=True, eq=False)
class Regression:
    """Mean squared error of a matrix, summed over outputs, and a ridge on layers if asked.

    Attributes:
        x: inputs, `[n_0, examples]`.
        y: targets, `[n_K, examples]`.
        ridge: κ of Eq. 1, with the sum of squares of all layers.

    Example:
        >>> problem = Regression(np.eye(2), np.diag([2.0, 1.0]))
        >>> problem.least, problem.least_deficient  # by P = diag(2, 1); and by diag(2, 0)
        (0.0, 0.5)
    """

    x: Matrix
    y: Matrix
    ridge: float = 0.0

    def of_product(self, p: Matrix) -> float:
        """The mean squared error of `P`."""
        return float(((p @ self.x - self.y) ** 2).sum()) / self.x.shape[1]

    def __call__(self, layers: Layers) -> float:
        """The loss of a network."""
        return self.of_product(product(layers)) + self.ridge * sum(
            float((layer**2).sum()) for layer in layers
        )

    @cached_property
    def best(self) -> Matrix:
        """The product of least error and, among these, least norm."""
        return np.linalg.lstsq(self.x.T, self.y.T, rcond=None)[0].T

    @cached_property
    def least(self) -> float:
        """The least error of any product."""
        return self.of_product(self.best)

    @cached_property
    def best_deficient(self) -> Matrix:
        """The product of least error among those of less than full rank.

        The error is `least + |(P - P*) S|²` with `S S' = X X' / examples`; the best `P S` is the
        truncated singular value decomposition of `P* S` (Eckart & Young 1936).
        """
        u, s, _ = np.linalg.svd(self.x / np.sqrt(self.x.shape[1]), full_matrices=False)
        kept = s > s[:1] * max(self.x.shape) * np.finfo(float).eps
        u, s = u[:, kept], s[kept]
        a, sigma, bt = np.linalg.svd(self.best @ u * s, full_matrices=False)
        rank = min(self.x.shape[0], self.y.shape[0])
        sigma[rank - 1 :] = 0
        return (a * sigma @ bt / s) @ u.T

    @cached_property
    def least_deficient(self) -> float:
        """The least error of a product of less than full rank."""
        return self.of_product(self.best_deficient)


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of a path.

    Attributes:
        at: the network at t in [0, 1].
        straight: whether the layers are affine in t.
        constant: whether the product is the same for all t, by construction.
        why: what the piece does.
    """

    at: Callable[[float], Layers]
    straight: bool
    constant: bool
    why: str

    def transposed(self) -> Piece:
        """The piece with all layers transposed, in reverse order."""
        at = self.at
        return Piece(lambda t: transpose(at(t)), self.straight, self.constant, self.why)

    def reversed(self) -> Piece:
        """The piece run backwards."""
        at = self.at
        return Piece(lambda t: at(1 - t), self.straight, self.constant, self.why)


Path = list[Piece]


def transpose(layers: Layers) -> Layers:
    """The network of the transposed product."""
    return tuple(layer.T for layer in reversed(layers))


def segment(start: Layers, end: Layers, why: str, *, constant: bool = False) -> Piece:
    """A straight piece between two networks."""
    return Piece(
        lambda t: tuple((1 - t) * a + t * b for a, b in zip(start, end, strict=True)),
        straight=True,
        constant=constant,
        why=why,
    )


def backwards(path: Path) -> Path:
    """A path run from its end to its start."""
    return [piece.reversed() for piece in reversed(path)]


def replaced(layers: Layers, changes: dict[int, Matrix]) -> Layers:
    """A network with some of its layers replaced."""
    return tuple(changes.get(k, layer) for k, layer in enumerate(layers))


def rotation(target: Matrix) -> Callable[[float], Matrix]:
    """A path of rotations from the identity to a given one.

    Args:
        target: orthogonal, determinant one, `[n, n]`.

    Returns:
        From t to the rotation by t times the angles of the target.

    Example:
        >>> half = rotation(-np.eye(2))(0.5)
        >>> bool(np.allclose(half @ half, -np.eye(2)))
        True
    """
    decomposition: Any = schur(target, output="real")
    t, z = decomposition
    n, planes, lone, k = len(t), [], [], 0
    while k < n:
        # A block of two is a rotation of a plane; a block of one is 1, or -1 and has a partner.
        if k + 1 < n and abs(t[k + 1, k]) > 1e-9:
            planes.append((k, k + 1, float(np.arctan2(t[k + 1, k], t[k, k]))))
            k += 2
        else:
            if t[k, k] < 0:
                lone.append(k)
            k += 1
    planes += [(i, j, np.pi) for i, j in zip(lone[::2], lone[1::2], strict=True)]

    def at(share: float) -> Matrix:
        turned = np.eye(n)
        for i, j, angle in planes:
            c, s = np.cos(share * angle), np.sin(share * angle)
            turned[[i, j, i, j], [i, j, j, i]] = c, c, -s, s
        return z @ turned @ z.T

    return at


def highest(problem: Regression, piece: Piece, samples: int = 33) -> float:
    """The largest loss on a piece.

    Args:
        problem: whose loss.
        piece: straight, or of constant product.
        samples: of a piece that is not straight.

    Returns:
        The maximum: exact to rounding on a straight piece, where the loss is a polynomial; on
        another one the largest of samples, between which the product does not change.
    """
    if not piece.straight:
        return max(problem(piece.at(float(t))) for t in np.linspace(0, 1, samples))
    coefficients = loss_polynomial(problem, piece.at(0.0), piece.at(1.0))
    candidates = [0.0, 1.0, *stationary(coefficients)]
    return float(max(polynomial.polyval(t, coefficients) for t in candidates))


def stationary(coefficients: Matrix) -> list[float]:
    """Points of (0, 1) where the derivative of a polynomial vanishes, or nearly does."""
    roots = np.asarray(polynomial.polyroots(polynomial.polytrim(
        polynomial.polyder(coefficients), tol=1e-300)))  # fmt: skip
    real = roots.real[np.abs(roots.imag) < 1e-6 * (1 + np.abs(roots.real))]
    return [float(t) for t in real if 0 < t < 1]


def loss_polynomial(problem: Regression, start: Layers, end: Layers) -> Matrix:
    """Coefficients of the loss along a segment, lowest first: degree twice the moving layers.

    Args:
        problem: whose loss.
        start: one end.
        end: the other.

    Returns:
        The coefficients `[d + 1]`.
    """
    powers = [problem.x]
    for a, b in zip(start, end, strict=True):
        constant = [a @ below for below in powers]
        if np.array_equal(a, b):
            powers = constant
            continue
        linear = [(b - a) @ below for below in powers]
        below, above = [*constant, 0 * constant[0]], [0 * linear[0], *linear]
        powers = [c + d for c, d in zip(below, above, strict=True)]
    powers[0] = powers[0] - problem.y
    flat = np.array([power.ravel() for power in powers])
    coefficients = np.zeros(max(2 * len(powers) - 1, 3))
    for i, row in enumerate(flat @ flat.T):
        coefficients[i : i + len(row)] += row / problem.x.shape[1]
    for a, b in zip(start, end, strict=True):
        d = b - a
        squares = (float((a * a).sum()), 2 * float((a * d).sum()), float((d * d).sum()))
        coefficients[:3] += problem.ridge * np.array(squares)
    return coefficients


def gap(path: Path) -> float:
    """The largest jump between the end of a piece and the start of the next one."""
    return max(
        (
            float(np.abs(a - b).max())
            for one, other in pairwise(path)
            for a, b in zip(one.at(1.0), other.at(0.0), strict=True)
        ),
        default=0.0,
    )


def profile(problem: Regression, path: Path, samples: int = 33) -> tuple[list[float], list[float]]:
    """The loss along a path, every piece taking the same share of the abscissa.

    Args:
        problem: whose loss.
        path: its pieces.
        samples: of each.

    Returns:
        Abscissae and losses.
    """
    grid = np.linspace(0, 1, samples)
    x = [(k + float(t)) / len(path) for k in range(len(path)) for t in grid]
    return x, [problem(piece.at(float(t))) for piece in path for t in grid]


def parse_widths(widths: str) -> tuple[int, ...] | None:
    """Numbers between commas, or None where there is anything else, or fewer than two of them."""
    parts = [part.strip() for part in widths.split(",")]
    if len(parts) < 2 or not all(part.isdecimal() and 0 < int(part) <= 64 for part in parts):
        return None
    return tuple(map(int, parts))


def draw_layers(widths: Sequence[int], rng: np.random.Generator, rank: int | None = None) -> Layers:
    """Layers with normal entries, or products of two such of a given rank.

    Args:
        widths: `n_0 ... n_K`.
        rng: source of randomness.
        rank: at most so large; None: as large as they come.

    Returns:
        The layers.
    """
    shapes = [(above, below) for below, above in pairwise(widths)]
    if rank is None:
        return tuple(rng.normal(size=shape) for shape in shapes)
    return tuple(rng.normal(size=(n, rank)) @ rng.normal(size=(rank, m)) for n, m in shapes)
