"""Value, gradient, Hessian and critical points of the squared error of deep linear networks.

A stack of networks is a tuple with one array `[r, out, in]` for each layer, the first layer first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = tuple[Array, ...]

# Of products of weights that a search left with a gradient of 1e-10: a factor below this is zero.
_RANK_TOLERANCE = 1e-3
_SCALES = (0.3, 0.6, 1.0)
_DIRECTIONS = 200
_TURNS = 40


@dataclass(frozen=True)
class LinearProblem:
    """F(W) = ½‖W_{H+1} ⋯ W_1 X − Y‖².

    Attributes:
        x: `[d_x, m]`.
        y: `[d_y, m]`.
        widths: d_x, the hidden layers', d_y.
    """

    x: Array
    y: Array
    widths: tuple[int, ...]

    @property
    def bottleneck(self) -> int:
        """p, the width of the narrowest hidden layer."""
        return min(self.widths[1:-1])

    @property
    def rank(self) -> int:
        """The greatest rank of the product, for no more outputs than inputs."""
        return min(self.widths[1:])

    @property
    def scale(self) -> float:
        """F where all weights are zero."""
        return float((self.y**2).sum()) / 2

    @cached_property
    def regression(self) -> Array:
        """B = Y Xᵀ (X Xᵀ)⁻¹, `[d_y, d_x]`."""
        return _float64(np.linalg.solve(self.x @ self.x.T, self.x @ self.y.T).T)

    @cached_property
    def spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues of Σ = B X Yᵀ, the greatest first, and its eigenvectors in columns."""
        values, vectors = np.linalg.eigh(self.regression @ self.x @ self.y.T)
        return values[::-1], vectors[:, ::-1]

    @property
    def leading(self) -> Array:
        """Eigenvectors of Σ in columns, that of the greatest eigenvalue first."""
        return self.spectrum[1]

    @cached_property
    def least(self) -> float:
        """The global minimum: the best regression of that rank (Baldi & Hornik 1989)."""
        return self.scale - float(self.spectrum[0][: self.rank].sum()) / 2

    @property
    def assumptions_hold(self) -> bool:
        """X Xᵀ and X Yᵀ of full rank, d_y <= d_x, distinct eigenvalues of Σ (Theorem 2.3)."""
        eigenvalues = self.spectrum[0]
        gaps = -np.diff(eigenvalues)
        return bool(
            self.widths[-1] <= self.widths[0]
            and np.linalg.matrix_rank(self.x @ self.x.T) == self.widths[0]
            and np.linalg.matrix_rank(self.x @ self.y.T) == self.widths[-1]
            and (gaps > 1e-6 * eigenvalues[0]).all()
        )

    def value(self, weights: Weights) -> Array:
        """F, `[r]`."""
        return 0.5 * ((product(weights) @ self.x - self.y) ** 2).sum((1, 2))

    def gradient(self, weights: Weights) -> Weights:
        """Gradient of F, of the layers' own shapes."""
        slope = self._slope(weights)
        return tuple(
            _transpose(_after(weights, layer)) @ slope @ _transpose(_before(weights, layer))
            for layer in range(len(weights))
        )

    def hessian(self, weights: Weights) -> Array:
        """Hessian of F, `[r, q, q]`, in the order of :func:`flatten`.

        With R the product, A_l and B_l the products after and before layer l, C_{ml} that between
        layers l < m, and G = ∂F/∂R: the part of first derivatives of R is
        ⟨A_l dW_l B_l X, A_m dW_m B_m X⟩, the part of second ones tr(Gᵀ A_m dW_m C_{ml} dW_l B_l).
        """
        slope = self._slope(weights)
        moment = self.x @ self.x.T
        layers = range(len(weights))
        after = [_after(weights, layer) for layer in layers]
        before = [_before(weights, layer) for layer in layers]
        sizes = [layer.shape[1] * layer.shape[2] for layer in weights]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        result = np.empty((len(weights[0]), offsets[-1], offsets[-1]))
        for low in layers:
            for high in range(low, len(weights)):
                outer = _transpose(after[low]) @ after[high]
                inner = before[low] @ moment @ _transpose(before[high])
                block = np.einsum("rac,rbd->rabcd", outer, inner)
                if low < high:
                    ends = before[low] @ _transpose(slope) @ after[high]
                    between = product(weights[low + 1 : high], like=weights[low])
                    block = block + np.einsum("rbc,rda->rabcd", ends, between)
                block = block.reshape(len(block), sizes[low], sizes[high])
                rows = slice(offsets[low], offsets[low + 1])
                columns = slice(offsets[high], offsets[high + 1])
                result[:, rows, columns] = block
                result[:, columns, rows] = _transpose(block)
        return result

    def _slope(self, weights: Weights) -> Array:
        return (product(weights) @ self.x - self.y) @ self.x.T


def product(weights: Weights, like: Array | None = None) -> Array:
    """Products of the layers of each network.

    Args:
        weights: the layers.
        like: without layers, the identity on this array's rows is returned.

    Returns:
        `[r, out, in]`.
    """
    if not weights:
        assert like is not None
        return np.broadcast_to(np.eye(like.shape[1]), (len(like), like.shape[1], like.shape[1]))
    result = weights[0]
    for layer in weights[1:]:
        result = layer @ result
    return result


def middle_rank(weights: Weights) -> NDArray[np.int64]:
    """Ranks of W_H ⋯ W_2; without such layers, the width of the one hidden layer.

    Args:
        weights: the layers.

    Returns:
        `[r]`.
    """
    middle = product(weights[1:-1], like=weights[0])
    values = np.linalg.svd(middle, compute_uv=False)
    floor = _RANK_TOLERANCE * np.maximum(values.max(axis=1, keepdims=True), 1.0)
    return (values > floor).sum(1)


def flatten(weights: Weights) -> Array:
    """Layers as one vector for each network.

    Args:
        weights: the layers.

    Returns:
        `[r, q]`.
    """
    return np.concatenate([layer.reshape(len(layer), -1) for layer in weights], axis=1)


def unflatten(flat: Array, widths: tuple[int, ...]) -> Weights:
    """The inverse of :func:`flatten`.

    Args:
        flat: `[r, q]`.
        widths: of inputs, hidden layers and outputs.

    Returns:
        The layers.
    """
    layers, offset = [], 0
    for columns, rows in pairwise(widths):
        layers.append(flat[:, offset : offset + rows * columns].reshape(-1, rows, columns))
        offset += rows * columns
    return tuple(layers)


def find_critical_points(
    problem: LinearProblem, starts: int, rng: np.random.Generator, *, steps: int = 300
) -> Weights:
    """Search for zeros of the gradient by Levenberg-Marquardt steps from random points.

    It lowers the gradient's norm, not F, and so ends at saddles as well as at minima. A third of
    the starts are normal; a third have layers of random lower rank, from where saddles of lower
    rank are near; a third map roughly to random eigenvectors of Σ, for the saddles of full rank.

    Args:
        problem: the problem.
        starts: how many searches.
        rng: of the starts.
        steps: of each search.

    Returns:
        Where the searches ended, in the order of the starts; not all at critical points.
    """
    layers = _starts(problem, starts, rng)
    at, slope = flatten(layers), flatten(problem.gradient(layers))
    damping = np.full(starts, 1e-2 * problem.scale)
    for _ in range(steps):
        # −(H² + μ²)⁻¹ H g in the eigenbasis of H, where H² loses no digits.
        values, vectors = np.linalg.eigh(problem.hessian(unflatten(_float64(at), problem.widths)))
        factors = -values / (values**2 + damping[:, None] ** 2)
        along = factors[..., None] * (_transpose(vectors) @ slope[..., None])
        move = (vectors @ along)[..., 0]
        there = _float64(at + move)
        slope_there = flatten(problem.gradient(unflatten(there, problem.widths)))
        size, size_there = (np.linalg.norm(each, axis=1) for each in (slope, slope_there))
        better = size_there < size
        at = np.where(better[:, None], there, at)
        slope = np.where(better[:, None], slope_there, slope)
        damping = np.where(better, damping / 3, damping * 4)
        damping = np.clip(damping, 1e-9 * problem.scale, 1e9 * problem.scale)
        if (np.linalg.norm(slope, axis=1) < 1e-13 * problem.scale).all():
            break
    return unflatten(_float64(at), problem.widths)


def _starts(problem: LinearProblem, starts: int, rng: np.random.Generator) -> Weights:
    """Layers of the three kinds of starts in turn."""
    shapes = [(rows, columns) for columns, rows in pairwise(problem.widths)]
    kind = np.arange(starts)[:, None, None] % 3
    p, outputs = problem.rank, problem.widths[-1]
    chosen = np.argsort(rng.random((starts, outputs)), axis=1)[:, :p]
    eigenvectors = _transpose(problem.leading.T[chosen])  # [starts, d_y, p]
    mix = np.broadcast_to(np.eye(p), (starts, p, p))
    layers = []
    for layer, shape in enumerate(shapes):
        scale = rng.choice(_SCALES, size=(starts, 1, 1))
        normal = scale * rng.standard_normal((starts, *shape))
        u, s, v = np.linalg.svd(normal, full_matrices=False)
        kept = np.arange(s.shape[1]) < rng.integers(0, s.shape[1] + 1, size=(starts, 1))
        lower = (u * np.where(kept, s, 1e-3 * s)[:, None]) @ v
        # Factors of the projection, with another basis of every layer's units.
        turn = mix
        mix = np.linalg.qr(rng.standard_normal((starts, p, p)))[0]
        core = mix @ _transpose(turn)
        if layer == 0:
            core = mix @ _transpose(eigenvectors) @ problem.regression
        elif layer == len(shapes) - 1:
            core = eigenvectors @ _transpose(turn)
        near = 0.03 * rng.standard_normal((starts, *shape))
        near[:, : core.shape[1], : core.shape[2]] += core
        layers.append(np.select([kind == 0, kind == 1], [normal, lower], near))
    return tuple(layers)


def lowest_nearby(
    problem: LinearProblem, point: Weights, radius: float, rng: np.random.Generator
) -> float:
    """The lowest value among many points at a distance from a flat critical point.

    Where the Hessian has no negative eigenvalue, only directions in which it vanishes can lead down
    at short distances. Random ones of these are turned towards the steepest descent, step by step.

    Args:
        problem: the problem.
        point: one network.
        radius: the distance.
        rng: of the directions.

    Returns:
        The lowest value.
    """
    eigenvalues, vectors = np.linalg.eigh(problem.hessian(point)[0])
    level = 1e-5 * max(float(np.abs(eigenvalues).max()), 1e-12 * problem.scale)
    flat = vectors[:, eigenvalues <= level]
    origin = flatten(point)
    directions = _unit(rng.standard_normal((_DIRECTIONS, flat.shape[1])))
    lowest = np.inf
    for turn in range(_TURNS):
        around = unflatten(_float64(origin + radius * directions @ flat.T), problem.widths)
        lowest = min(lowest, float(problem.value(around).min()))
        steepest = _unit(-flatten(problem.gradient(around)) @ flat)
        directions = _unit(directions + steepest / (1 + turn / 10))
    return lowest


def _unit(vectors: Array) -> Array:
    size = np.linalg.norm(vectors, axis=1, keepdims=True)
    return _float64(vectors / np.maximum(size, np.finfo(float).tiny))


def _after(weights: Weights, layer: int) -> Array:
    if layer == len(weights) - 1:
        return product((), like=weights[layer])
    return product(weights[layer + 1 :])


def _before(weights: Weights, layer: int) -> Array:
    if layer == 0:
        return product((), like=_transpose(weights[0]))
    return product(weights[:layer])


def _float64(array: NDArray[np.floating]) -> Array:
    """For the type checker: NumPy's solvers are annotated to return any floating numbers."""
    return cast(Array, array)


def _transpose(stack: Array) -> Array:
    return np.swapaxes(stack, -1, -2)
