"""Exponentially many local minima of a single neuron (Auer, Herbster & Warmuth 1996).

A logistic neuron with d weights is fitted to n examples of one and the same target y by squared
error, E(w) = Σ_t (y − σ(w·x_t))². Each example is a pattern on one axis. Along that axis, as a
function of log w, it contributes a pit of fixed shape at log w = log(σ⁻¹(y) / x), since its error
depends on the product w·x alone, is bounded, and becomes constant on both sides. Patterns of
sizes far apart make pits far apart, m = n/d on each axis; and as E is a sum of functions of one
weight each, every combination of pits is a local minimum: ⌊n/d⌋^d of them (Theorem 3.4).
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from thalweg.errors import InputError
from thalweg.theory.statement import Chart, Finding, Series, Statement

Array = NDArray[np.float64]

# As far from σ(0) as from σ(∞), so that the rims of a pit have one height.
TARGET = 0.75
TOLERANCE = 1e-10
_MOST_MINIMA = 100_000
# Where critical points are looked for: so many points to one factor of e in the weight.
_POINTS_PER_E = 50
_MARGIN = 4.0


def patterns(n: int, d: int, ratio: float) -> Array:
    """The patterns of the construction, all with the target :data:`TARGET`.

    Args:
        n: how many.
        d: axes; examples left over go to the first of them.
        ratio: of the sizes of neighbours on one axis.

    Returns:
        `[n, d]`: one entry of each row is not zero.

    Example:
        >>> patterns(3, 2, 10.0)
        array([[ 1.,  0.],
               [10.,  0.],
               [ 0.,  1.]])
    """
    result = np.zeros((n, d))
    row = 0
    for axis, count in enumerate(_counts(n, d)):
        result[row : row + count, axis] = ratio ** np.arange(count)
        row += count
    return result


def error(weights: Array, inputs: Array) -> Array:
    """E at each of several weights.

    Args:
        weights: `[r, d]`.
        inputs: `[n, d]`.

    Returns:
        `[r]`.
    """
    return ((TARGET - expit(weights @ inputs.T)) ** 2).sum(1)


def derivatives(weights: Array, inputs: Array) -> tuple[Array, Array]:
    """Gradient and Hessian of E as a function of the logarithms of positive weights.

    Weights of the minima differ by many orders of magnitude, their logarithms do not; that a
    gradient vanishes, and a Hessian there is positive definite, does not depend on the coordinates.

    Args:
        weights: `[r, d]`, positive.
        inputs: `[n, d]`.

    Returns:
        `[r, d]` and `[r, d, d]`.
    """
    output = expit(weights @ inputs.T)
    slope = output * (1 - output)
    residual = output - TARGET
    first = 2 * residual * slope
    second = 2 * slope * (slope + residual * (1 - 2 * output))
    scaled = weights[:, None, :] * inputs  # ∂(w·x)/∂ log w, [r, n, d]
    gradient = np.einsum("rn,rnd->rd", first, scaled)
    hessian = np.einsum("rn,rnd,rne->rde", second, scaled, scaled)
    diagonal = np.arange(weights.shape[1])
    hessian[:, diagonal, diagonal] += gradient  # ∂²(w·x)/∂(log w)² = w·x again
    return gradient, hessian


def minima_on_axis(sizes: Array) -> Array:
    """All local minima of the error of one weight, between the smallest and the largest pit.

    E' is looked at on a grid of log w; between two points where it changes from falling to
    rising lies a minimum. For w <= 0 the error falls towards w = 0, and there are none.

    Args:
        sizes: `[m]` of the patterns, positive.

    Returns:
        The weights at the minima.

    Example:
        >>> len(minima_on_axis(np.array([1.0, 10.0, 100.0])))
        3
    """
    inputs = sizes[:, None]

    def slope(log_weight: float) -> float:
        return float(derivatives(np.exp([[log_weight]]), inputs)[0][0, 0])

    pits = np.log(math.log(TARGET / (1 - TARGET)) / sizes)
    low, high = pits.min() - _MARGIN, pits.max() + _MARGIN
    grid = np.linspace(low, high, math.ceil((high - low) * _POINTS_PER_E))
    slopes = derivatives(np.exp(grid)[:, None], inputs)[0][:, 0]
    return np.array(
        [
            math.exp(cast(float, brentq(slope, grid[i], grid[i + 1], xtol=1e-15)))
            for i in np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
        ]
    )


def check(
    n: Annotated[int, "Examples."] = 12,
    d: Annotated[int, "Weights of the neuron."] = 2,
    ratio: Annotated[float, "Of the sizes of neighbouring patterns on one axis."] = 10.0,
) -> Finding:
    """Find the local minima of the construction, and certify each.

    Args:
        n: examples.
        d: weights.
        ratio: of the sizes of neighbouring patterns.

    Returns:
        Whether there are ⌊n/d⌋^d minima or more, each with a vanishing gradient and a positive
        definite Hessian.

    Raises:
        InputError: if there are fewer examples than weights, the ratio is not above 1, sizes do
            not fit into floating-point numbers, or the minima are too many to list.

    Example:
        >>> check(n=6, d=3).values["minima"]
        8
    """
    if d < 1 or n < d:
        raise InputError(f"expected at least one weight and as many examples, got {n} for {d}")
    if not ratio > 1 or math.ceil(n / d) * math.log10(ratio) > 150:
        raise InputError(
            f"expected a ratio above 1 whose power {math.ceil(n / d)} is below 1e150, got {ratio}"
        )
    promised = (n // d) ** d
    if promised > _MOST_MINIMA:
        raise InputError(
            f"expected at most {_MOST_MINIMA} minima to list, got {promised}: take fewer examples"
        )
    inputs = patterns(n, d, ratio)
    axes = [minima_on_axis(column[column > 0]) for column in inputs.T]
    weights = np.array(list(itertools.product(*axes))).reshape(-1, d)
    gradient, hessian = derivatives(weights, inputs)
    norms = np.linalg.norm(gradient, axis=1)
    least = np.linalg.eigvalsh(hessian)[:, 0]
    certified = (norms <= TOLERANCE) & (least > 0)
    values = error(weights, inputs)
    return Finding(
        holds=bool(certified.all()) and len(weights) >= promised,
        sentence=(
            f"n = {n} examples, d = {d} weights: {len(weights)} local minima found, "
            f"{int(certified.sum())} of them certified, where the theorem promises {promised}."
        ),
        values={
            "n": n,
            "d": d,
            "ratio": ratio,
            "promised": promised,
            "minima": len(weights),
            "certified": int(certified.sum()),
            "minima_on_axes": [len(axis) for axis in axes],
            "greatest_gradient_norm": float(norms.max()) if len(norms) else None,
            "least_eigenvalue": float(least.min()) if len(least) else None,
            "values": [float(values.min()), float(values.max())] if len(values) else [],
            "weights": [axis.tolist() for axis in axes],
        },
        charts=(_chart(inputs, axes[0]),),
    )


def _counts(n: int, d: int) -> list[int]:
    return [n // d + (axis < n % d) for axis in range(d)]


def _chart(inputs: Array, minima: Array) -> Chart:
    sizes = inputs[:, 0][inputs[:, 0] > 0]
    pits = math.log(TARGET / (1 - TARGET)) / sizes
    along = np.geomspace(pits.min() / 50, pits.max() * 50, 800)
    return Chart(
        title=f"Error of the {len(sizes)} examples on the first axis",
        x_label="first weight",
        y_label="error",
        log_x=True,
        series=(
            Series(
                label="error",
                x=tuple(along.tolist()),
                y=tuple(error(along[:, None], sizes[:, None]).tolist()),
            ),
            Series(
                label="local minima",
                x=tuple(minima.tolist()),
                y=tuple(error(minima[:, None], sizes[:, None]).tolist()),
                points=True,
            ),
        ),
    )


AUER_1996 = Statement(
    name="auer-1996",
    source="Auer, Herbster & Warmuth 1996, Theorem 3.4",
    claim="For every n >= d there are n examples for which the squared error of a logistic neuron "
    "with d weights has at least ⌊n/d⌋^d local minima.",
    check=check,
)
